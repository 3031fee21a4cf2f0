"""Which layers of a model learn; the others have no optimizer slots, and cost no gradient."""

import re
from collections.abc import Collection

from transformers import TFPreTrainedModel

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.layers import HEAD, block_number, layer_names, named_layers

# What of a layer's name tells that it is a part of the model which --freeze knows.
PARTS = {
    "embeddings": r"\.w[tp]e$",
    "token-embeddings": r"\.wte$",
    "position-embeddings": r"\.wpe$",
    "attention": r"\.attn\.",
    "mlp": r"\.mlp\.",
    "layer-norms": r"\.ln_\w$",
    "head": f"^{HEAD}$",
}


def freeze_others(model: TFPreTrainedModel, learned: Collection[str]) -> None:
    """Freezes all layers of a built model but those of these names."""
    for name, layer in named_layers(model).items():
        layer.trainable = name in learned


def count_trained(model: TFPreTrainedModel) -> int:
    """Counts the parameters that learn."""
    return sum(int(variable.shape.num_elements()) for variable in model.trainable_variables)


def choose_layers(config: FinetuneConfig, num_layers: int, head: str) -> frozenset[str]:
    """Chooses which layers learn where there are no adapters.

    With --train-layers, the embeddings learn only if all blocks do: they lie below the first one, and a gradient for
    them would have to pass through every frozen block.

    Args:
        config: Its `train_layers` and `freeze`.
        num_layers: Blocks of the model.
        head: "language-model" or "classifier".

    Returns:
        Names as of `layer_names`.

    Raises:
        UsageError: There are no such blocks, a language model's head is to be frozen, or nothing would learn.
    """
    if "head" in config.freeze and head == "language-model":
        raise UsageError(
            "A language model has no head of its own to freeze: its token embeddings are its head. "
            "Received: --freeze=head. Pass --freeze token-embeddings."
        )
    blocks = choose_blocks(config.train_layers, num_layers)
    frozen = [PARTS[part] for part in config.freeze]
    if config.train_layers != "all":
        frozen.append(PARTS["embeddings"])
    learned = frozenset(
        name
        for name in layer_names(num_layers, head)
        if block_number(name) in (None, *blocks) and not any(re.search(pattern, name) for pattern in frozen)
    )
    if not learned or (config.adapter_rank and not blocks):
        raise UsageError(
            "Nothing would learn: no layer is left to. Expected one at least. Received: "
            f"--train-layers={config.train_layers!r} --freeze={','.join(config.freeze)!r}. Freeze less."
        )
    return learned


def choose_blocks(train_layers: str, num_layers: int) -> frozenset[int]:
    """Reads --train-layers: the numbers of the blocks that learn, counted from 0.

    Args:
        train_layers: "all", "last:4", "first:2", or a list such as "0,2,8-11".
        num_layers: Blocks of the model.

    Raises:
        UsageError: It is none of these, or the model has no such block.
    """
    numbers = range(num_layers)
    if train_layers == "all":
        return frozenset(numbers)
    if found := re.fullmatch(r"(first|last):(\d+)", train_layers):
        count = int(found[2])
        chosen = range(count) if found[1] == "first" else range(num_layers - count, num_layers)
    elif re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", train_layers):
        chosen = [number for part in train_layers.split(",") for number in _read_range(part)]
    else:
        chosen = [-1]
    if not set(chosen) <= set(numbers):
        raise UsageError(
            f"--train-layers names no blocks of this model. Expected all, last:N, first:N or numbers from 0 to "
            f"{num_layers - 1} such as 0,2-3. Received: --train-layers={train_layers!r}."
        )
    return frozenset(chosen)


def _read_range(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)
