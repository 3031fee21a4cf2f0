"""Two real processes that tune one model over the loopback, against one process; stopped, killed and started again."""

import json

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tfft.errors import PreemptedError, UsageError
from tfft.models.run_folder import RunFolder
from tfft.training.workers import Workers, check_alike

# It forks workers before TensorFlow has threads: one import serves them all.
SCRIPT = """
import json, os, signal, socket, sys
from tfft.commands.finetune import finetune
from tfft.evaluation import reporting
from tfft.training import attempts, finetuning, progress

records, architecture, folder = sys.argv[1:]
OPTIONS = ["--model", "scratch", "--model-config", architecture, "--batch-size", "7", "--max-steps", "4", "--task",
    "text", "--save-every", "2", "--keep", "9", "--learning-rate", "1e-3", "--validation-fraction", "0", "--json"]
WATCHED = ["--validation", records, "--allow", "leakage", "--evaluate-every", "3", "--samples", "1"]

class Interrupted(progress.Progress):
    stop_at, number = None, None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self.stop_at:
            os.kill(os.getpid(), self.number)

def work(name, index, ports, options):
    if ports:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    if index == 1:
        attempts.Progress = Interrupted
    for descriptor, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}.{index}.{stream}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    # As on another machine, what is the chief's is out of the reach of all others.
    output = f"{folder}/{name}" if index == 0 else f"{folder}/nowhere/{name}"
    finetune.main([records, "--output", output, *OPTIONS, *options])

def run(name, num_workers, options=()):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(num_workers if num_workers > 1 else 0)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    children = {}
    for index in range(num_workers):
        child = os.fork()
        if not child:
            work(name, index, ports, options)
        children[child] = index
    codes = {}
    for _ in children:
        child, status = os.wait()
        codes[children[child]] = os.waitstatus_to_exitcode(status)
    print(*(codes[index] for index in sorted(codes)), flush=True)

run("one", 1, WATCHED)
run("two", 2, WATCHED)
Interrupted.stop_at, Interrupted.number = 3, signal.SIGKILL
run("again", 2)
os.rename(f"{folder}/again.0.err", f"{folder}/lost.0.err")
Interrupted.stop_at, Interrupted.number = 4, signal.SIGTERM
run("again", 2)
"""
CODES = ["0", "0 0", "75 -9", "75 75"]


@pytest.fixture(scope="module")
def runs(run_script, tmp_path_factory):
    """The folder of all runs, and of what each of their workers said."""
    folder = tmp_path_factory.mktemp("runs")
    done = run_script(SCRIPT, folder)
    assert done.stdout.splitlines() == CODES, (done, [file.read_text()[-2000:] for file in folder.glob("*.err")])
    return folder


def weights(folder):
    return np.concatenate([array.ravel() for _, array in sorted(load_file(folder / "model.safetensors").items())])


def test_two_processes_learn_what_one_does(runs):
    one, two = RunFolder(runs / "one"), RunFolder(runs / "two")
    for expected, found in ((one.model, two.model), (one.checkpoint(4), two.checkpoint(4))):
        expected, found = weights(expected), weights(found)
        assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)
    assert np.abs(weights(one.checkpoint(4)) - weights(one.checkpoint(2))).max() > 1e-4
    for expected, found in zip(one.read_history(), two.read_history(), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    assert two.read_manifest()["metrics"] == pytest.approx(one.read_manifest()["metrics"], rel=1e-5)


def test_the_chief_alone_writes_and_talks(runs):
    assert not (runs / "nowhere").exists()
    assert (runs / "two.1.out").read_text() == ""
    assert "Step 4: loss" not in (runs / "two.1.err").read_text()
    assert "Step 4: loss" in (runs / "two.0.err").read_text()
    assert json.loads((runs / "two.0.out").read_text())["run"] == str(runs / "two")
    assert {path.name for path in (runs / "two").iterdir()} == {path.name for path in (runs / "one").iterdir()}


def test_the_loss_of_a_worker_is_one_line(runs):
    *_, told = (runs / "lost.0.err").read_text().splitlines()
    assert told == (
        "Error: Another worker is gone, and the training cannot go on without it. Every checkpoint is whole. "
        "Start all workers again with the same command to go on."
    )


def test_a_run_that_lost_a_worker_and_was_started_again_has_the_bytes_of_one_left_alone(runs):
    for name in ("model.safetensors", "state.safetensors"):
        again, two = (RunFolder(runs / name_).checkpoint(4) / name for name_ in ("again", "two"))
        assert again.read_bytes() == two.read_bytes(), name
    events = [json.loads(line) for line in (runs / "again" / "logs" / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "started"] == [0, 2]


def test_a_signal_to_one_worker_is_answered_by_all_at_the_same_step(runs):
    saved = f"after step 4, which is saved in {runs}/again/checkpoints/step-00000004. Run the same command again to go"
    causes = ("a signal to another worker", "SIGTERM")
    for index, cause in enumerate(causes):
        *_, told = (runs / f"again.{index}.err").read_text().splitlines()
        assert told.startswith(f"Error: Stopped by {cause} {saved}")


# What they tell one another


class Second(Workers):
    """The second of two, whose chief says this."""

    def __init__(self, told):
        super().__init__(tf.distribute.get_strategy())
        self.are_several, self.is_chief = True, False
        self.text = np.frombuffer(json.dumps(told).encode(), np.uint8)

    def _broadcast(self, value):
        return np.asarray(self.text if np.ndim(value) else len(self.text))


def test_what_fails_on_the_chief_fails_on_all():
    with pytest.raises(UsageError, match=r"^It is a file\.$"):
        Second({"error": "UsageError", "message": "It is a file."}).from_chief(None)
    assert Second({"value": [1, "ß"]}).from_chief(None) == [1, "ß"]


def test_a_worker_of_other_settings_or_files_is_refused():
    chief = {"value": [{"seed": 0, "keep": 1, "records_sha256": "a"}, {"records": {"a.csv": "a"}}]}
    files = {"records": {"a.csv": "b"}}
    told = "Received: a.csv has changed; --seed 0 -> 1. Give all workers the same command"
    with pytest.raises(UsageError, match=told):
        check_alike(Second(chief), {"seed": 1, "keep": 2, "records_sha256": "b"}, files)
    check_alike(Second(chief), {**chief["value"][0], "keep": 2}, chief["value"][1])


def test_one_process_decides_by_itself():
    workers = Workers(tf.distribute.get_strategy())
    assert workers.is_chief
    assert not workers.are_several
    assert [workers.any(True), workers.any(False)] == [True, False]
    with pytest.raises(tf.errors.UnavailableError), workers.loss_told():
        raise tf.errors.UnavailableError(None, None, "gone")


@pytest.mark.parametrize("error", [tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError])
def test_the_loss_of_another_worker_can_be_gone_on_from(error):
    with pytest.raises(PreemptedError, match="^Another worker is gone"), Second(None).loss_told():
        raise error(None, None, "gone")
