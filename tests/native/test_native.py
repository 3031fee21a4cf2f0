"""The export in a program without Python: built against what the TensorFlow wheel holds, as a server is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
import tiny_run

COMPILER = shutil.which("g++") or shutil.which("clang++")
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
WHEEL = Path(tf.__file__).parent

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="No C++ compiler is here: neither g++ nor clang++."),
    pytest.mark.skipif(
        not all((WHEEL / name).is_file() for name in LIBRARIES), reason="This TensorFlow wheel holds no C library."
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "replay"
    source = Path(__file__).with_name("replay.cc")
    linked = ["-L", str(WHEEL), *(f"-l:{name}" for name in LIBRARIES), f"-Wl,-rpath,{WHEEL}"]
    command = [COMPILER, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", str(WHEEL / "include"), str(source)]
    subprocess.run([*command, "-o", str(path), *linked], check=True)
    return path


def replay(program, folder):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [str(program), str(folder)], capture_output=True, text=True, env=environment, check=False, timeout=300
    )


@pytest.mark.parametrize("export", [tiny_run.exported, tiny_run.exported_chat])
def test_an_export_answers_its_warmup_without_python(program, tmp_path_factory, export):
    process = replay(program, export(tmp_path_factory.getbasetemp()) / "1")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines.count("serving_default answers as it did.") == 2
    assert lines.count("tokenize answers as it did.") == 2


def test_another_answer_is_noticed(program, tmp_path_factory, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(tiny_run.exported(tmp_path_factory.getbasetemp()) / "1", folder)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(records[0].replace("groß".encode(), b"other").replace(b"fair", b"good").replace(b"bad", b"odd"))
    process = replay(program, folder)
    assert process.returncode == 1
    assert process.stdout == ""


def test_what_is_no_export_is_refused(program, tmp_path):
    process = replay(program, tmp_path)
    assert process.returncode == 1
    assert "The export has no warm-up requests." in process.stderr
