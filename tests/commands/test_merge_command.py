import json

import numpy as np
import pytest


@pytest.fixture(scope="session")
def adapter(run, tmp_path_factory):
    """An adapter on the tiny classifier, which no test may change, and what the two answer together."""
    from tfft.models.adapter_files import save_adapter
    from tfft.models.adapters import adapted_layers, start_adapters
    from tfft.models.tuned_model import load_tuned

    model, folder = load_tuned(str(run)).model, tmp_path_factory.mktemp("merge") / "adapter"
    start_adapters(model, rank=2, alpha=4, targets=("c_attn", "c_fc"), blocks=frozenset({0, 1}), seed=0)
    random = np.random.default_rng(0)
    for layer in adapted_layers(model).values():
        layer.lora_B.assign(random.normal(size=layer.lora_B.shape))
    save_adapter(model, folder, str(run / "model"))
    return folder, answer(model)


def answer(model):
    input_ids = np.arange(2, 14, dtype=np.int32).reshape(2, 6)
    return model({"input_ids": input_ids, "segment_ids": np.ones_like(input_ids)}).numpy()


def test_merge_writes_a_whole_model_that_answers_as_base_and_adapter(invoke, adapter, run, tmp_path):
    from tfft.models.tuned_model import load_tuned

    folder, expected = adapter
    result = invoke("merge", folder, "--output", tmp_path / "merged", "--json")
    assert result.exit_code == 0
    said = {"adapter": str(folder), "model": str(tmp_path / "merged")}
    assert json.loads(result.stdout.splitlines()[-1]) == said
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {path.name for path in (run / "model").iterdir()}
    merged = load_tuned(str(tmp_path / "merged"))
    np.testing.assert_allclose(answer(merged.model), expected, rtol=0, atol=1e-5)
    assert merged.labels == load_tuned(str(run)).labels


def test_commands_that_take_a_run_take_an_adapter(invoke, adapter, tmp_path):
    from tiny_run import write_records

    records = write_records(tmp_path / "records.csv")
    alone = invoke("evaluate", adapter[0], records, "--json")
    assert alone.exit_code == 0
    invoke("merge", adapter[0], "--output", tmp_path / "merged")
    merged = invoke("evaluate", tmp_path / "merged", records, "--json")
    scores = [json.loads(found.stdout.splitlines()[-1])["metrics"]["loss"] for found in (alone, merged)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_merge_refuses_what_is_whole_already(invoke, run, tmp_path):
    result = invoke("merge", run, "--output", tmp_path / "merged")
    assert result.exit_code == 2
    assert f"{run} is a whole model: there is nothing to merge." in result.error
    assert not (tmp_path / "merged").exists()


def test_merge_overwrites_nothing(invoke, adapter, tmp_path):
    result = invoke("merge", adapter[0], "--output", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path} exists. Expected a new folder; nothing is overwritten." in result.error
