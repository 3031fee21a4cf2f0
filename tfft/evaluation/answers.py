"""How near what a model writes behind a prompt comes to what its record accepts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tfft.data.records import Records
from tfft.errors import DataError, UsageError
from tfft.metrics import answer_metrics
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator
from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt, read_references
from tfft.tasks.task import RecordError


def evaluate_answers(
    tuned: TunedModel, records: Records, options: GenerationOptions, stop: Sequence[str] = ()
) -> dict[str, Any]:
    """Lets a model write behind the prompt of every record, and compares.

    Args:
        tuned: A language model of a task with prompts.
        records: Records with the task's columns.
        options: How completions are written.
        stop: Texts that end a completion.

    Returns:
        As `answer_metrics` of `tfft.metrics`.

    Raises:
        UsageError: The model is none of a task with prompts.
        DataError: A record cannot be read.
    """
    if not tuned.task.completion_columns and tuned.task.name != "chat":
        raise UsageError(
            f"A model of task '{tuned.task.name}' has no prompts to answer. Expected one of another task. "
            "Leave --completions out."
        )
    prompts, references = [], []
    for index, record in enumerate(records.rows):
        try:
            prompts.append(make_prompt(tuned.task, record))
            references.append(read_references(tuned.task, record))
        except RecordError as error:
            raise DataError(f"{records.where(index)} {error}") from None
    found = TextGenerator(tuned, options, stop).complete_prompts(prompts)
    return answer_metrics([completion.completion for completion in found], references)


def stand_in(tuned: TunedModel, other: TunedModel) -> TunedModel:
    """Puts another language model in the place of a tuned one, to be asked in the same layout.

    Raises:
        UsageError: One of the two is a classifier, and they do not know the same classes.
    """
    if (tuned.task.head, tuned.labels) != (other.task.head, other.labels):
        raise UsageError(
            f"{other.folder} does not answer what {tuned.folder} does. Expected a language model for a language model, "
            f"or a classifier of the same classes. Received: labels={list(other.labels)}. Pass another --against."
        )
    return replace(other, task=tuned.task, sequence_length=min(tuned.sequence_length, other.model.config.n_positions))
