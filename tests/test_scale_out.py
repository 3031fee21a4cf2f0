"""The manifests of docs/scale-out.md: parsed, their commands checked, their scripts run with programs that stand in."""

import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tfft.commands.finetune import finetune

PAGE = (Path(__file__).parents[1] / "docs" / "scale-out.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
TFJOB, VERTEX = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
(SLURM,) = (text for kind, text in BLOCKS if kind == "bash")
(CONTAINER,) = TFJOB["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
SCRIPTS = {
    "kubernetes": CONTAINER["args"][0],
    "slurm": SLURM,
    "vertex": VERTEX["workerPoolSpecs"][0]["containerSpec"]["args"][0],
}


@pytest.fixture
def start(tmp_path):
    """Starts a script, `tfft` and what else it calls being these lines of shell."""

    def start_script(name, **programs):
        programs |= {"srun": 'while [ "$1" != tfft ]; do shift; done; "$@"'}
        for program, text in programs.items():
            (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / program).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "17"}
        return subprocess.Popen(
            ["bash", "-c", SCRIPTS[name]], env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE
        )

    return start_script


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_commands_are_those_of_tfft(name):
    line = re.search(r"tfft finetune (.*?)( &)?$", SCRIPTS[name].replace("\\\n", " "), flags=re.MULTILINE)
    settings = finetune.make_context("finetune", shlex.split(line[1])).params
    assert (settings["strategy"], settings["save_every"]) == ("multi-worker", "10min")
    assert settings["output"].is_absolute()


def test_the_jobs_have_the_shape_that_their_services_ask_for():
    assert (TFJOB["apiVersion"], TFJOB["kind"], CONTAINER["name"]) == ("kubeflow.org/v1", "TFJob", "tensorflow")
    assert TFJOB["spec"]["tfReplicaSpecs"]["Worker"]["restartPolicy"] == "ExitCode"
    chief, workers = VERTEX["workerPoolSpecs"]
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 3)
    assert chief["containerSpec"] == workers["containerSpec"]
    assert {"command", "args"} <= chief["containerSpec"].keys()


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 2), (75, 138)])
def test_kubernetes_tries_again_after_75_alone(start, code, expected):
    job = start("kubernetes", tfft=f"exit {code}")
    assert (job.communicate()[0], job.returncode) == ("", expected)


def test_kubernetes_lets_a_worker_save_before_its_pod_goes(start):
    # It comes up when the shell waits for it.
    steps = "for n in {1..200}; do sleep 0.05; done"
    job = start("kubernetes", tfft=f"trap 'echo saved; exit 75' TERM; sleep 0.3; echo up; {steps}")
    assert job.stdout.readline() == "up\n"
    job.send_signal(signal.SIGTERM)
    assert (job.communicate()[0], job.returncode) == ("saved\n", 138)


@pytest.mark.parametrize(("code", "requeued"), [(0, ""), (2, ""), (75, "requeue 17\n"), (137, "requeue 17\n")])
def test_slurm_puts_a_run_that_can_go_on_back_into_the_queue(start, code, requeued):
    job = start("slurm", tfft=f"exit {code}", scontrol='echo "$@"')
    assert (job.communicate()[0], job.returncode) == (requeued, code)


def test_vertex_starts_again_after_75_alone(start):
    job = start("vertex", tfft="echo started; echo >> starts; [ $(wc -l < starts) = 3 ] && exit 2; exit 75")
    assert (job.communicate()[0], job.returncode) == (3 * "started\n", 2)
