"""The documentation names what there is, and only that."""

import json
import re
import textwrap
from pathlib import Path

import click
import pytest

from tfft.commands.command import INTERRUPTED
from tfft.commands.main import COMMANDS, tfft
from tfft.errors import TfftError
from tfft.tasks.registry import TASKS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("*/*.md"))]


def sections():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## tfft (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))


def documented_options(name):
    """The options of a command's table and their defaults, and those of the table that its section points to."""
    section = sections()[name]
    rows = [re.split(r"(?<!\\)\|", line) for line in section.splitlines() if line.startswith("| `--")]
    own = {re.match(r" `(--[\w-]+)", row[1])[1]: row[2].strip() for row in rows}
    shared = re.search(r"all options of \[tfft (\w+)\]\(#tfft-\1\) but `(--[\w-]+)` and\n?\s?`(--[\w-]+)`", section)
    if not shared:
        return own
    return {option: of for option, of in documented_options(shared[1]).items() if option not in shared.groups()} | own


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_with_its_default(name):
    command = tfft.get_command(click.Context(tfft), name)
    documented = documented_options(name)
    options = {parameter.opts[0]: parameter for parameter in command.params if isinstance(parameter, click.Option)}
    assert documented.keys() == options.keys()
    for option, parameter in options.items():
        if isinstance(parameter.default, str | int | float) and not parameter.is_flag:
            assert documented[option] == str(parameter.default), option


def test_every_command_is_documented_and_in_the_readme():
    assert sections().keys() == COMMANDS.keys()
    readme = PAGES[0].read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `tfft (\w+)", readme, flags=re.MULTILINE)) == COMMANDS.keys()


def test_every_exit_code_is_documented():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE)}
    assert documented == {0, INTERRUPTED, *(error.exit_code for error in [TfftError, *TfftError.__subclasses__()])}


LAYOUT = re.compile(r"^### (\S+)\n\n    (\{.*\})\n\nis (?:laid out|read) as\n\n((?:    .*\n|\n)+)", flags=re.MULTILINE)


def test_every_layout_is_documented_as_it_is():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    layouts = {name: (json.loads(record), textwrap.dedent(text).strip()) for name, record, text in LAYOUT.findall(page)}
    assert layouts.keys() == TASKS.keys()
    for name, (record, text) in layouts.items():
        segments = [
            f"\u27e6{segment.text}<|endoftext|>\u27e7" if segment.trained else segment.text
            for segment in TASKS[name].make_example(record).segments
        ]
        assert "".join(segments) == text


def test_every_column_of_a_task_is_documented():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in page.splitlines() if re.match(r"\| `[\w-]+` \|.*\|.*\|.*\|$", row)]
    documented = {row[1].strip("` "): [set(re.findall(r"`(\w+)`", cell)) for cell in row[2:4]] for row in rows}
    for name, task in TASKS.items():
        assert documented[name] == [{*task.columns, *task.aliases}, {*task.optional}], name


def test_the_readme_opens_with_the_demo_and_the_tests():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert re.findall(r"make \w+", readme)[:2] == ["make demo", "make test"]


def test_the_readmes_tree_is_the_tree():
    tree = PAGES[0].read_text(encoding="utf-8").split("## The tree")[1].split("##")[0]
    inside = set(re.findall(r"^      (\w+)/", tree, flags=re.MULTILINE))
    assert inside == {path.parent.name for path in (ROOT / "tfft").glob("*/*") if path.parent.name != "__pycache__"}
    for name in re.findall(r"[\w.]+\.py", tree):
        assert (ROOT / "tfft" / name).is_file(), name
    for name in re.findall(r"^    (\w[\w/ ]*/)(?: |$)", tree, flags=re.MULTILINE):
        for folder in name.split():
            assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link
