"""What a run's settings say of its loss, once the task is known."""

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.objective import Objective
from tfft.tasks.task import Task


def make_objective(config: FinetuneConfig, task: Task) -> Objective:
    """Makes what a step descends.

    Raises:
        UsageError: A setting of classifiers is given for a language model.
    """
    if config.language_modeling_weight and task.head != "classifier":
        raise UsageError(
            "Only a classifier learns its texts beside its classes; a language model learns nothing else. Received: "
            f"--language-modeling-weight={config.language_modeling_weight} --task={task.name}. Leave it out."
        )
    return Objective(language_modeling_weight=config.language_modeling_weight)
