import json

from tfft import __version__, runtime


def test_doctor_shows_versions_devices_and_that_all_is_well(invoke):
    answer = invoke("doctor")
    assert (answer.exit_code, answer.stderr) == (0, "")
    lines = dict(line.split(": ", 1) for line in answer.stdout.splitlines())
    assert lines["tfft"] == __version__
    assert lines["problems"] == "none"
    assert {"python", "tensorflow", "tf_keras", "transformers", "cpus", "gpus", "tpus"} <= lines.keys()


def test_doctor_says_all_as_json(invoke):
    answer = invoke("doctor", "--json", "--quiet")
    facts = json.loads(answer.stdout.splitlines()[-1])
    assert facts["problems"] == []
    assert facts["cpus"] >= 1
    assert isinstance(facts["gpus"], list)


def test_doctor_names_what_does_not_fit(invoke, monkeypatch):
    monkeypatch.setattr(runtime, "package_versions", lambda: {"tensorflow": "2.21.0", "tf_keras": "2.20.1"})
    answer = invoke("doctor", "--json")
    assert answer.exit_code == 2
    (problem,) = json.loads(answer.stdout)["problems"]
    assert problem.startswith("The minor versions of tensorflow and tf-keras differ: pip install")
    assert problem in invoke("doctor").stdout
