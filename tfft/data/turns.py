"""A prompt and a completion that are both lists of turns, TRL's form of a conversation, become the one they are."""

from typing import Any

import datasets

from tfft.data.mapped_memory import release_pages
from tfft.data.rows import choose_batch_size
from tfft.runtime import hash_text

PARTS = ("prompt", "completion")
NAMES = {"messages", "conversations"}  # columns that hold a conversation already


def join_turns(rows: datasets.Dataset) -> datasets.Dataset:
    """Makes of `prompt` and `completion`, where neither is a column of texts, a column `messages`.

    What the assistant says in the prompt gets the weight 0: learned is the completion alone. A record of which a part
    is no list keeps both parts as one object, which no task takes for a conversation.

    Args:
        rows: Records whose columns have the names the tasks know.
    """
    features = rows.features
    if NAMES & {*features} or not all(_may_hold_turns(features.get(name)) for name in PARTS):
        return rows
    others = {name: feature for name, feature in features.items() if name not in PARTS}
    return rows.map(
        _join_batch,
        batched=True,
        batch_size=choose_batch_size(rows),
        remove_columns=[*PARTS],
        features=datasets.Features({**others, "messages": datasets.Json()}),
        new_fingerprint=hash_text(f"{rows._fingerprint} turns")[:32],
    )


def _may_hold_turns(feature: Any) -> bool:
    return isinstance(feature, datasets.Json | datasets.List)


def _join_batch(batch: dict[str, list]) -> dict[str, list]:
    release_pages()
    return {"messages": [_join(*parts) for parts in zip(*map(batch.get, PARTS), strict=True)]}


def _join(prompt: Any, completion: Any) -> Any:
    if not isinstance(prompt, list) or not isinstance(completion, list):
        return {"prompt": prompt, "completion": completion}
    return [*map(_weigh_nothing, prompt), *completion]


def _weigh_nothing(turn: Any) -> Any:
    return {**turn, "weight": 0} if isinstance(turn, dict) else turn
