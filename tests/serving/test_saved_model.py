import ast
import io
import json
import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfft.serving import saved_model
from tfft.serving.parity import classify_texts
from tfft.serving.saved_model import ask

TEXTS = ["The soup was hot and good 1.", "", "größer 👍🏽", "x " * 400]


def operations(folder):
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    functions = [node for function in graph.library.function for node in function.node_def]
    return {node.op for node in [*graph.node, *functions]}


def test_asking_gives_python_values(versions, tuned):
    answers = ask(str(versions / "1"), "serving_default", {"text": TEXTS})
    np.testing.assert_allclose(answers["probabilities"], classify_texts(tuned, TEXTS), atol=1e-6)
    assert answers["label"] == [tuned.labels[int(np.argmax(row))] for row in answers["probabilities"]]
    assert json.loads(json.dumps(answers)) == answers
    assert ask(str(versions / "1"), "labels", {}) == {"labels": list(tuned.labels)}


def test_asking_about_no_texts_gives_no_answers(versions):
    assert ask(str(versions / "1"), "serving_default", {"text": []}) == {
        "label": [],
        "probability": [],
        "probabilities": [],
    }


def test_the_program_answers_in_a_process_that_knows_nothing_of_tfft(versions, tuned, tmp_path):
    program = tmp_path / "program.py"  # elsewhere, so that no import can find tfft beside it
    program.write_text(Path(saved_model.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    run = "import sys, runpy; sys.modules['tfft'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    asked = {"signature": "serving_default", "inputs": {"text": TEXTS}}
    request = {"folder": str(versions / "1"), "requests": [asked]}
    process = subprocess.run(
        [sys.executable, "-c", run, str(program)], input=json.dumps(request), capture_output=True, text=True, check=True
    )
    [answers] = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(answers["probabilities"], classify_texts(tuned, TEXTS), atol=1e-6)


def test_the_program_writes_its_answer_as_the_last_line(versions, tuned, monkeypatch, capsys):
    request = {"folder": str(versions / "1"), "requests": [{"signature": "labels", "inputs": {}}]}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    runpy.run_path(saved_model.__file__, run_name="__main__")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == [{"labels": list(tuned.labels)}]


def test_the_program_imports_nothing_of_tfft():
    tree = ast.parse(Path(saved_model.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert names == {"json", "sys", "collections.abc", "typing", "tensorflow"}


@pytest.mark.parametrize("folder", ["versions", "chat_versions"])
def test_the_graph_holds_core_operations_only(request, folder):
    names = operations(request.getfixturevalue(folder) / "1")
    assert {"MatMul", "LookupTableFindV2", "UnicodeEncode"} <= names
    assert not [name for name in names if re.search("PyFunc|NumpyFunction", name)]
    # TensorFlow's own operations have a function of their name here; those of other packages do not.
    assert not [name for name in names if not hasattr(tf.raw_ops, name)]


def test_an_export_has_no_assets_but_its_warmup_and_no_hidden_files(versions):
    files = sorted(str(path.relative_to(versions)) for path in (versions / "1").rglob("*") if path.is_file())
    assert files == [
        "1/assets.extra/tf_serving_warmup_requests",
        "1/fingerprint.pb",
        "1/saved_model.pb",
        "1/variables/variables.data-00000-of-00001",
        "1/variables/variables.index",
    ]


@pytest.mark.parametrize(("folder", "model"), [("versions", "tuned"), ("chat_versions", "tuned_chat")])
def test_an_export_names_no_path_of_the_run(request, folder, model):
    versions, tuned = map(request.getfixturevalue, (folder, model))
    contents = b"".join(path.read_bytes() for path in versions.rglob("*") if path.is_file())
    run = tuned.folder.parent
    assert str(run).encode() not in contents
    assert str(run.parent).encode() not in contents


@pytest.mark.parametrize(("folder", "model"), [("versions", "tuned"), ("chat_versions", "tuned_chat")])
def test_an_export_holds_the_weights_once_and_no_optimizer(request, folder, model):
    versions, tuned = map(request.getfixturevalue, (folder, model))
    stored = tf.train.list_variables(str(versions / "1" / "variables" / "variables"))
    # Counted in numbers: a matrix of a language model is stored in shards.
    num_stored = sum(math.prod(shape) for name, shape in stored if "VARIABLE_VALUE" in name)
    assert num_stored == sum(variable.shape.num_elements() for variable in tuned.model.variables)
    size = sum(path.stat().st_size for path in (versions / "1" / "variables").iterdir())
    assert size < 1.2 * 4 * tuned.model.count_params() + 10_000


def test_signatures_have_the_promised_names_types_and_shapes(served, tuned):
    def specs(structure):
        return {name: (spec.dtype, spec.shape.as_list()) for name, spec in structure.items()}

    signatures = dict(served.signatures)
    text = {"text": (tf.string, [None])}
    inputs = {name: function.structured_input_signature for name, function in signatures.items()}
    assert {name: (positional, specs(named)) for name, (positional, named) in inputs.items()} == {
        "serving_default": ((), text),
        "labels": ((), {}),
        "tokenize": ((), text),
    }
    assert {name: specs(function.structured_outputs) for name, function in signatures.items()} == {
        "serving_default": {
            "label": (tf.string, [None]),
            "probability": (tf.float32, [None]),
            "probabilities": (tf.float32, [None, len(tuned.labels)]),
        },
        "labels": {"labels": (tf.string, [len(tuned.labels)])},
        "tokenize": {"input_ids": (tf.int32, [None, None]), "num_tokens": (tf.int32, [None])},
    }
