import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfft.commands.main import tfft
from tfft.config import FinetuneConfig
from tfft.training import range_test
from tfft.training.range_test import ExponentialRise, find_learning_rate, suggest


def test_the_rate_rises_by_the_same_factor():
    rise = ExponentialRise(1e-6, 1.0, 4)
    np.testing.assert_allclose(
        [float(rise(tf.constant(step))) for step in range(4)], [1e-6, 1e-4, 1e-2, 1.0], rtol=1e-4
    )
    assert float(ExponentialRise(0.0, 0.0, 4)(tf.constant(2))) == 0.0


def test_a_tenth_of_the_rate_with_the_lowest_loss_is_suggested(caplog):
    rows = [
        {"learning_rate": 10.0**-place, "smoothed_loss": loss}
        for place, loss in ((5, 2.0), (4, 1.5), (3, 1.2), (2, 1.9))
    ]
    assert suggest(rows, 0.5) == 1e-4
    assert not caplog.messages
    assert suggest([rows[0], {"learning_rate": 1e-4, "smoothed_loss": 2.1}], 0.5) == suggest([], 0.5) == 0.5
    assert "fell at no rate" in caplog.text


def test_a_range_test_finds_where_the_loss_falls_and_leaves_no_run(architecture, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(range_test, "STEPS", 40)
    output = tmp_path / "run"
    arguments = [str(reviews), "--output", str(output), "--model", "scratch", "--model-config", str(architecture)]
    done = CliRunner().invoke(
        tfft, ["finetune", *arguments, "--batch-size", "4", "--find-learning-rate", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0
    result = json.loads(done.stdout.splitlines()[-1])
    folder = tmp_path / "run.learning-rates"
    assert result["folder"] == str(folder)
    assert not output.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["learning_rates.csv", "learning_rates.html"]
    with (folder / "learning_rates.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows[0]["learning_rate"] == pytest.approx(5e-7, rel=1e-3)
    lowest = min(rows, key=lambda row: row["smoothed_loss"])
    assert 1e-5 < result["learning_rate"] == pytest.approx(lowest["learning_rate"] / 10, rel=0.06)
    assert lowest["smoothed_loss"] < 0.98 * rows[0]["smoothed_loss"]
    page = (folder / "learning_rates.html").read_text(encoding="utf-8")
    assert f"suggested: {result['learning_rate']:g}" in page
    assert "://" not in page
    # At rates that change nothing the rows differ, and what is shown does not.
    assert np.ptp([row["loss"] for row in rows[:8]]) > 1e-2
    assert np.ptp([row["smoothed_loss"] for row in rows[:8]]) < 1e-3


def test_a_range_test_packs_as_the_run_would(architecture, reviews, monkeypatch):
    monkeypatch.setattr(range_test, "STEPS", 2)
    config = FinetuneConfig(task="text", model="scratch", model_config=str(architecture), packing=True, batch_size=2)
    assert len(find_learning_rate(str(reviews), config).rows) == 2
