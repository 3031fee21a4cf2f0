import logging
from dataclasses import dataclass

import pytest
import tiny_run
from click.testing import CliRunner


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self):
        """The one line that says what is wrong, after which nothing comes."""
        errors = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, self.stderr
        assert self.stderr.endswith(f"{errors[0]}\n")
        assert "Traceback" not in self.stderr
        assert self.stdout == ""
        return errors[0]


@pytest.fixture
def invoke():
    """Runs `tfft` with arguments; whatever escapes a command fails the test with its traceback."""
    from tfft.commands.main import tfft

    def invoke_tfft(*arguments):
        result = CliRunner().invoke(tfft, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return invoke_tfft


@pytest.fixture(autouse=True)
def talk_as_before():
    """Takes back what a command does to the log; a handler would go on writing to the output of a test that is over."""
    logger = logging.getLogger("tfft")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The run folder of a tiny classifier, which no test may change."""
    return tiny_run.classifier_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def language_model_run(tmp_path_factory):
    """The run folder of a tiny language model, which no test may change."""
    return tiny_run.language_model_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """The folder of versions that holds the classifier's export as version 1."""
    return tiny_run.exported(tmp_path_factory.getbasetemp())


@pytest.fixture
def records(tmp_path):
    """Twelve records of three classes."""
    return tiny_run.write_records(tmp_path / "records.csv", repeats=1)


@pytest.fixture
def write(tmp_path):
    """Writes a file of records, text or bytes; gives its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture(scope="session")
def completion_run(tmp_path_factory):
    """The run folder of a tiny model of completions, which no test may change."""
    return tiny_run.completion_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory):
    """The run folder of a tiny model of conversations, which no test may change."""
    return tiny_run.chat_run(tmp_path_factory.getbasetemp())
