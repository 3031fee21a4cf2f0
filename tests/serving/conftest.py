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
def tuned_chat(tmp_path_factory):
    """A tiny model of conversations, loaded from its run folder."""
    from tfft.models.tuned_model import load_tuned

    return load_tuned(str(tiny_run.chat_run(tmp_path_factory.getbasetemp())))


@pytest.fixture(scope="session")
def chat_versions(tmp_path_factory):
    """The folder of versions that holds the export of the model of conversations as version 1."""
    return tiny_run.exported_chat(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """The folder of versions that holds the classifier's export as version 1."""
    return tiny_run.exported(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def served(versions):
    """The export as a server loads it."""
    import tensorflow as tf

    return tf.saved_model.load(str(versions / "1"))
