import pytest
import tiny_run


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """A tiny classifier, loaded from its run folder."""
    from tfft.models.tuned_model import load_tuned

    return load_tuned(str(tiny_run.classifier_run(tmp_path_factory.getbasetemp())))


@pytest.fixture(scope="session")
def tuned_language_model(tmp_path_factory):
    """A tiny language model, loaded from its run folder."""
    from tfft.models.tuned_model import load_tuned

    return load_tuned(str(tiny_run.language_model_run(tmp_path_factory.getbasetemp())))


@pytest.fixture(scope="session")
def tuned_completion(tmp_path_factory):
    """A tiny model of completions, loaded from its run folder."""
    from tfft.models.tuned_model import load_tuned

    return load_tuned(str(tiny_run.completion_run(tmp_path_factory.getbasetemp())))
