import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tfft
from tfft.commands.main import COMMANDS

PACKAGE = Path(tfft.__file__).parent
SCRIPTS = PACKAGE.parent / "scripts"
FLOORS = {
    "errors": 1,
    "metrics": 1,
    "tasks": 2,
    "config": 2,
    "runtime": 2,
    "whole_files": 2,
    "data": 3,
    "models": 4,
    "training": 5,
    "evaluation": 5,
    "serving": 5,
    "commands": 6,
}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
PACKAGES = {name.removesuffix(".__init__"): tree for name, tree in MODULES.items() if name.endswith(".__init__")}
LIGHT = [name for name in MODULES if name.split(".")[1] in ("commands", "tasks", "config", "metrics", "errors")]
BANNED = {"keras", "tensorflow.keras", "tensorflow.python.keras", "pickle", "cPickle", "dill", "joblib", "torch"}
BANNED |= {"tensorflow_text", "keras_hub", "keras_nlp"}


def imports(tree):
    """Every dotted name a file imports, those inside functions too; `from a import b` counts as a and as a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def own_imports(name):
    """The files of the package that a file imports."""
    return sorted(imports(MODULES[name]) & MODULES.keys() - {name})


def room(name):
    return name.split(".")[1]


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES} - {"__init__"} == FLOORS.keys()


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__init__")])
def test_imports_run_downward(name):
    for other in own_imports(name):
        same = room(other) == room(name)
        assert same or FLOORS[room(other)] < FLOORS[room(name)], f"{name} imports {other}"


def test_the_rooms_of_the_fifth_floor_are_siblings():
    rooms = {name for name, floor in FLOORS.items() if floor == 5}
    seen = {(room(name), room(other)) for name in MODULES if room(name) in rooms for other in own_imports(name)}
    assert not {(one, other) for one, other in seen if other in rooms and one != other}


def test_no_circle_of_imports():
    walked = set()

    def walk(name, path):
        assert name not in path, " -> ".join([*path, name])
        if name in walked:
            return
        for other in own_imports(name):
            walk(other, [*path, name])
        walked.add(name)

    for name in MODULES:
        walk(name, [])


def test_scripts_import_the_package_and_no_script():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")}
    for path in SCRIPTS.glob("*.py"):
        assert not imports(ast.parse(path.read_text(encoding="utf-8"))) & scripts


def test_package_files_hold_a_docstring_alone():
    assert PACKAGES
    for name, tree in PACKAGES.items():
        rest = [ast.unparse(statement) for statement in tree.body[1:]]
        if name == "tfft":
            rest.remove(f"__version__ = {tfft.__version__!r}")
            assert rest == ["import os", "os.environ['TF_USE_LEGACY_KERAS'] = '1'"]
        else:
            assert rest == [], name


@pytest.mark.parametrize("name", MODULES)
def test_a_file_begins_with_a_docstring(name):
    assert ast.get_docstring(MODULES[name])
    assert ast.get_docstring(MODULES[name]).splitlines()[0].endswith((".", ",", ":"))


@pytest.mark.parametrize("name", MODULES)
def test_a_file_uses_nothing_that_is_banned(name):
    tree = MODULES[name]
    assert not imports(tree) & BANNED
    attributes = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "tf.keras" not in attributes
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"print", "eval", "exec", "__import__", "pickle.load", "np.load", "numpy.load"}
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def test_light_files_name_tensorflow_only_inside_functions():
    heavy = {"tensorflow", "tf_keras", "transformers", "datasets", "tokenizers"}
    for name in LIGHT:
        at_the_top = ast.Module([node for node in MODULES[name].body if not isinstance(node, ast.FunctionDef)], [])
        assert not {imported.split(".")[0] for imported in imports(at_the_top)} & heavy, name


def test_help_and_light_files_load_without_tensorflow():
    """In a process where TensorFlow and all that is slow to load cannot be imported."""
    program = f"""
import importlib, sys
for name in ("tensorflow", "tf_keras", "keras", "transformers", "datasets", "tokenizers", "yaml"):
    sys.modules[name] = None
for name in {LIGHT!r}:
    importlib.import_module(name.removesuffix(".__init__"))
from click.testing import CliRunner
from tfft.commands.main import tfft
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in {list(COMMANDS)!r})]:
    result = CliRunner().invoke(tfft, arguments)
    assert result.exit_code == 0, (arguments, result.exception)
    assert result.output.startswith(("Usage: tfft", "tfft, version")), arguments
result = CliRunner().invoke(tfft, ["finetune", "x.csv", "--output", "run", "--epochs", "0"])
assert result.exit_code == 2 and "Expected a number above 0" in result.output, result.exception
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_importing_the_package_makes_tensorflow_use_keras_2():
    program = (
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = '0'; import tfft; print(os.environ['TF_USE_LEGACY_KERAS'])"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout == "1\n"
