"""The layers that hold a GPT-2's weights, by the names PyTorch has for them."""

from operator import attrgetter

import tf_keras as keras
from transformers import TFPreTrainedModel

BODY_LAYERS = ("wte", "wpe", "ln_f")
KERNELS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
BLOCK_LAYERS = ("ln_1", *KERNELS[:2], "ln_2", *KERNELS[2:])
HEAD = "score"  # a classifier's; a language model's are its token embeddings


def layer_names(num_layers: int, head: str) -> list[str]:
    """Lists the names of a model's layers, such as "transformer.h.0.attn.c_attn".

    Args:
        num_layers: Blocks of the model.
        head: "language-model" or "classifier".
    """
    blocks = [f"transformer.h.{index}.{name}" for index in range(num_layers) for name in BLOCK_LAYERS]
    return [*(f"transformer.{name}" for name in BODY_LAYERS), *blocks, *([HEAD] if head == "classifier" else [])]


def named_layers(model: TFPreTrainedModel) -> dict[str, keras.layers.Layer]:
    """Returns a built model's layers by name."""
    head = "classifier" if hasattr(model, HEAD) else "language-model"
    return {name: find_layer(model, name) for name in layer_names(len(model.transformer.h), head)}


def find_layer(model: TFPreTrainedModel, name: str) -> keras.layers.Layer:
    """Finds a layer by its name."""
    owner, attribute = _find_owner(model, name)
    return getattr(owner, attribute)


def replace_layer(model: TFPreTrainedModel, name: str, layer: keras.layers.Layer) -> None:
    """Puts another layer in the place of one."""
    owner, attribute = _find_owner(model, name)
    setattr(owner, attribute, layer)


def block_number(name: str) -> int | None:
    """Tells which block a layer stands in; None for one that stands in none."""
    parts = name.split(".")
    return int(parts[2]) if parts[1:2] == ["h"] else None


def _find_owner(model: TFPreTrainedModel, name: str) -> tuple[keras.layers.Layer, str]:
    path, _, attribute = name.rpartition(".")
    index = block_number(name)
    if index is None:
        return (attrgetter(path)(model) if path else model), attribute
    path = ".".join(path.split(".")[3:])
    block = model.transformer.h[index]
    return (attrgetter(path)(block) if path else block), attribute
