import signal
import subprocess
import sys
import threading

import pytest

from tfft.errors import PreemptedError
from tfft.models.checkpoints import Checkpoints
from tfft.training.guards import Guard
from tfft.training.history import History
from tfft.training.saving import SaveCheckpoints
from tfft.training.signals import StopOnSignal, StoppedError, left_on_signal


@pytest.fixture
def stopper(model):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopper = StopOnSignal()
    stopper.set_model(model)
    with stopper:
        yield stopper
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.fixture
def saver(model, tmp_path):
    history = History(tmp_path / "history.csv", 0)
    saver = SaveCheckpoints(Checkpoints(tmp_path / "c", keep=9), history, Guard(3, 3.0), lambda step: False)
    saver.set_model(model)
    return saver


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_after_the_step_in_hand(stopper, at, number):
    at(stopper, 3)
    signal.raise_signal(number)
    with pytest.raises(StoppedError):
        at(stopper, 4)


def test_a_signal_is_answered_after_the_batch_of_an_evaluation(stopper, model, batches):
    class Signal(StopOnSignal):
        seen = 0

        def on_test_batch_end(self, batch, logs=None):
            self.seen += 1
            signal.raise_signal(signal.SIGTERM)

    watcher = Signal()
    with pytest.raises(StoppedError):
        model.evaluate(batches(), verbose=0, callbacks=[watcher, stopper])
    assert watcher.seen == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_leaving_saves_the_step_and_says_how_to_go_on(stopper, saver, at, number):
    signal.raise_signal(number)
    with pytest.raises(StoppedError):
        at(stopper, 4)
    with pytest.raises(PreemptedError) as caught:
        stopper.save_and_leave(saver)
    (saved,) = saver.checkpoints.all()
    assert (saved.step, saved.anchor) == (4, False)
    assert caught.value.exit_code == 75
    assert (
        str(caught.value) == f"Stopped by {number.name} after step 4, which is saved in {saved.folder}. "
        "Run the same command again to go on."
    )


def test_a_step_that_is_saved_already_keeps_its_metrics(stopper, saver, model, at):
    model.optimizer.iterations.assign(5)
    saver.checkpoints.save(model, {"validation_loss": 1.0})
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(PreemptedError):
        stopper.save_and_leave(saver)
    assert saver.checkpoints.newest().metrics == {"validation_loss": 1.0}


def test_a_second_ctrl_c_ends_the_process_at_once():
    program = """
import signal
from tfft.training.signals import StopOnSignal
with StopOnSignal() as stopper:
    signal.raise_signal(signal.SIGINT)
    print(stopper.received.name, flush=True)
    signal.raise_signal(signal.SIGINT)
    print("still here")
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (-signal.SIGINT, "SIGINT\n")


def test_outside_the_main_thread_the_signals_are_left_alone(at):
    before, stopper = signal.getsignal(signal.SIGTERM), StopOnSignal()
    thread = threading.Thread(target=stopper.__enter__)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    stopper.__exit__()
    at(stopper, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_the_last_step_a_signal_leaves_at_once_and_can_be_gone_on_from(number):
    before = signal.getsignal(number)
    told = f"Stopped by {number.name} after the last step, which is saved"
    with pytest.raises(PreemptedError, match=told), left_on_signal():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before
