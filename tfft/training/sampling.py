"""What a language model writes while it learns: a few prompts, continued after every evaluation."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np

from tfft.config import FinetuneConfig
from tfft.data.prompts import encode_prompts
from tfft.data.records import Records
from tfft.data.rows import read_numbers
from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator, lay_out_prompts, longest_prompt, read_prompts
from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt, read_references
from tfft.tasks.task import Record, Segment, Task
from tfft.training.averaging import averaged
from tfft.training.recorders import Sample

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 32  # enough to see what is learned; all samples together cost about as much as one step
FIRST_WORDS = re.compile(r"\s*(?:\S+\s+){0,7}\S+")  # of a text, which has no prompt

Prompt = tuple[Sequence[Segment], str | None]  # its layout, and what its record says


class Samples:
    """Continues prompts with a model as it stands, the average of its weights where one is kept.

    Greedy, so that what is written is a function of the weights alone; the graph is traced once.

    Args:
        tuned: A language model that learns.
        prompts: At least one.
    """

    def __init__(self, tuned: TunedModel, prompts: Sequence[Prompt]) -> None:
        self.tuned, self.prompts = tuned, prompts
        length = longest_prompt(tuned.model.config.n_positions, MAX_NEW_TOKENS)
        encoded = encode_prompts(tuned.tokenizer, [segments for segments, _ in prompts], length)
        self.rows = [input_ids for input_ids, _ in encoded]
        self.generator = TextGenerator(tuned, GenerationOptions(max_new_tokens=MAX_NEW_TOKENS))

    def take(self) -> list[Sample]:
        """Returns what the model makes of each prompt."""
        with averaged(self.tuned.model):
            completions = self.generator.complete_rows(self.rows)
        return [
            Sample("".join(segment.text for segment in segments), found.completion, reference)
            for (segments, reference), found in zip(self.prompts, completions, strict=True)
        ]


def choose_prompts(config: FinetuneConfig, task: Task, rows: datasets.Dataset, records: Records) -> list[Prompt]:
    """Chooses what to continue: the prompts of a file, or those of a few records that are not learned from.

    Args:
        config: The settings.
        task: What is learned.
        rows: Encoded rows to validate on.
        records: The records that those rows are of.

    Returns:
        None at all for a classifier.

    Raises:
        UsageError: The file is not there, or a classifier is given one.
        DataError: The file holds no prompt.
    """
    if config.sample_prompts:
        return _read_file(Path(config.sample_prompts), task)
    if task.head != "language-model" or not config.samples or not len(rows):
        return []
    numbers = np.unique(read_numbers(rows, "record"))
    places = np.linspace(0, len(numbers) - 1, min(config.samples, len(numbers))).round().astype(int)
    return [_read_record(records.rows[int(numbers[place])], task) for place in places]


def _read_record(record: Record, task: Task) -> Prompt:
    prompt = make_prompt(task, record)
    if task.completion_columns or task.name == "chat":
        return prompt, next(iter(read_references(task, record)), None)
    words = FIRST_WORDS.match("".join(segment.text for segment in prompt))
    return [Segment(words[0] if words else "", shrinks="start")], None


def _read_file(path: Path, task: Task) -> list[Prompt]:
    if task.head != "language-model":
        raise UsageError(
            f"A classifier writes no text. Received: --sample-prompts={str(path)!r} --task={task.name}. Leave it out."
        )
    if not path.is_file():
        raise UsageError(f"{path} is no file. Expected prompts, one a line. Pass another --sample-prompts.")
    return [(segments, None) for segments in lay_out_prompts(task, read_prompts(path), {})]
