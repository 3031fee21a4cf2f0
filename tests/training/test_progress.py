import logging
import re

import numpy as np

from tfft.data.plans import BucketedPlan
from tfft.training.progress import Progress


def progress(model, seconds, start=0):
    plan = BucketedPlan(np.array([3, 5, 7, 9]), batch_size=2, seed=0)
    progress = Progress(plan, total_steps=40, seconds=seconds)
    progress.set_model(model)
    model.optimizer.iterations.assign(start)
    progress.on_train_begin()
    return progress, plan


def test_progress_without_a_terminal_says_a_line_now_and_then(model, at, caplog, capfd):
    with caplog.at_level(logging.INFO, logger="tfft"):
        callback, _ = progress(model, seconds=0.0, start=10)
        at(callback, 11, loss=1.25)
        at(callback, 12, loss=1.125)
        callback.on_train_end()
    assert len(caplog.messages) == 2
    assert re.fullmatch(r"Step 12 of 40, loss 1\.1250, [\d,]+ tokens/s, [\d:]+ left\.", caplog.messages[1])
    assert capfd.readouterr().err == ""


def test_progress_is_silent_between_its_lines(model, at, caplog):
    with caplog.at_level(logging.INFO, logger="tfft"):
        callback, _ = progress(model, seconds=3600.0)
        for step in range(1, 5):
            at(callback, step)
    assert caplog.messages == []


def test_progress_counts_the_tokens_of_each_step(model, at):
    callback, plan = progress(model, seconds=3600.0, start=1)
    for step in (2, 3, 4):
        at(callback, step)
    assert callback.tokens == sum(plan.lengths[plan.batch(step).rows].sum() for step in (1, 2, 3))
    assert callback.tokens == 24 + plan.lengths[plan.batch(1).rows].sum()
