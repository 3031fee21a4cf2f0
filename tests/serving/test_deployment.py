import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
import tiny_run
import yaml

from tfft.models.generation_options import GenerationOptions
from tfft.serving.deployment import TEMPLATES, name_service, write_deployment

FILES = ["README.md", "batching.config", "compose.yaml", "kubernetes.yaml", "models.config", "query_grpc.py"]


@pytest.fixture(params=["versions", "chat_versions"])
def exported(request):
    """The folder of versions of a classifier and of a model of conversations."""
    return request.getfixturevalue(request.param)


def test_there_is_a_file_of_every_template(exported):
    assert sorted(path.name for path in (exported / "serving").iterdir()) == FILES
    assert len([*TEMPLATES.iterdir()]) == len(FILES)
    for name in FILES:
        assert not re.search(r"\$[a-z]", (exported / "serving" / name).read_text(encoding="utf-8"))


def test_the_server_is_told_where_the_model_stands(exported):
    text = (exported / "serving" / "models.config").read_text(encoding="utf-8")
    assert f'name: "{exported.name}"' in text
    assert f'base_path: "/models/{exported.name}"' in text
    assert text.count("{") == text.count("}") == 2
    batching = (exported / "serving" / "batching.config").read_text(encoding="utf-8").splitlines()
    values = dict(re.fullmatch(r"(\w+) \{ value: (\w+) \}", line).groups() for line in batching if line[0] != "#")
    assert values.pop("enable_large_batch_splitting") == "true"
    sizes = {name: int(value) for name, value in values.items()}
    assert sizes.keys() == {
        "max_batch_size",
        "max_execution_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
    assert (sizes["max_batch_size"], sizes["max_execution_batch_size"]) == (4096, 32)
    # The longest request has room in the queue.
    assert sizes["max_enqueued_batches"] * sizes["max_execution_batch_size"] >= sizes["max_batch_size"]


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("Reviews_2", "reviews-2"),
        ("2024", "model-2024"),
        ("größer", "gr-er"),
        ("日本", "model"),
        ("a" * 62 + "_b", "a" * 62),
        ("7" * 70, "model-" + "7" * 57),
    ],
)
def test_a_service_has_a_name_that_kubernetes_takes(name, service):
    assert name_service(name) == service
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service)
    assert len(service) <= 63


def test_a_model_in_the_folder_one_stands_in_has_its_name(versions, tuned, served, tmp_path, monkeypatch):
    shutil.copytree(versions, tmp_path / versions.name)
    monkeypatch.chdir(tmp_path / versions.name)
    write_deployment(Path(), "1", tuned, served.signatures, GenerationOptions())
    again, before = (tiny_run.hash_folder(folder / "serving") for folder in (Path(), versions))
    # A loaded model lists its outputs in another order.
    assert {name: again[name] for name in FILES[1:]} == {name: before[name] for name in FILES[1:]}


def test_services_are_told_the_model_and_whether_to_batch(exported):
    folder, name = exported / "serving", exported.name
    [service] = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    assert f"..:/models/{name}:ro" in service["volumes"]
    deployment, address = yaml.safe_load_all((folder / "kubernetes.yaml").read_text(encoding="utf-8"))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{name}"
    assert address["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    batches = name == "reviews"
    for arguments in (service["command"], container["args"]):
        assert "--model_config_file=/config/models.config" in arguments
        assert ("--enable_batching=true" in arguments) == batches


def test_the_card_names_every_signature_and_label(exported):
    card = (exported / "serving" / "README.md").read_text(encoding="utf-8")
    loaded = tf.saved_model.load(str(exported / "1"))
    rows = re.findall(r"^\| `(\w+)` \|", card, flags=re.MULTILINE)
    assert sorted(rows) == sorted(loaded.signatures)
    if "labels" in loaded.signatures:
        for label in loaded.signatures["labels"]()["labels"].numpy():
            assert f"`{label.decode()}`" in card


def test_every_request_of_the_card_is_answered(exported):
    card = (exported / "serving" / "README.md").read_text(encoding="utf-8")
    signatures = tf.saved_model.load(str(exported / "1")).signatures
    asked = [shlex.split(line) for line in card.splitlines() if line.startswith("    curl ")]
    assert {json.loads(body)["signature_name"] for *_, body in asked} == {*signatures} - {"labels"}
    for _, url, _, body in asked:
        assert url == f"http://localhost:8501/v1/models/{exported.name}:predict"
        request = json.loads(body)
        function = signatures[request["signature_name"]]
        types = {name: spec.dtype for name, spec in function.structured_input_signature[1].items()}
        assert function(**{name: tf.constant(value, types[name]) for name, value in request["inputs"].items()})


def test_the_program_for_grpc_asks_what_the_model_takes(exported):
    program = (exported / "serving" / "query_grpc.py").read_text(encoding="utf-8")
    compile(program, "query_grpc.py", "exec")
    assert f'name = "{exported.name}"' in program
    function = tf.saved_model.load(str(exported / "1")).signatures["serving_default"]
    inputs = json.loads(re.search(r"in (\{.*\})\.items", program)[1])
    assert inputs.keys() == function.structured_input_signature[1].keys()
