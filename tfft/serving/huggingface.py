"""A Hugging Face folder in PyTorch's layout, with a model card: for transformers 4 and 5, vLLM and what reads them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tfft.data.encoding import tokenize
from tfft.errors import ParityError
from tfft.models.run_folder import RunFolder
from tfft.models.tokenization import load_tokenizer
from tfft.models.tuned_model import TunedModel, save_tuned
from tfft.models.weight_files import read_weights
from tfft.models.weights import portable_weights
from tfft.serving.model_card import write_card
from tfft.serving.parity import PROBES
from tfft.whole_files import write_text

CARD_FILE = "README.md"


def write_huggingface(tuned: TunedModel, folder: Path) -> int:
    """Writes weights, tokenizer and card, reads them back and compares.

    Args:
        tuned: Any model.
        folder: A new folder.

    Returns:
        The number of tensors and texts that were compared.

    Raises:
        ParityError: A weight or a token is not what it was.
    """
    save_tuned(replace(tuned, folder=folder))
    manifest = RunFolder(tuned.folder.parent).read_manifest() if tuned.folder.name == "model" else {}
    write_text(folder / CARD_FILE, write_card(tuned, manifest))
    expected, written = portable_weights(tuned.model), read_weights(folder)
    wrong = [name for name, array in expected.items() if not np.array_equal(array, written.get(name))]
    if wrong or expected.keys() != written.keys():
        raise ParityError(f"The folder does not hold the model's weights: {wrong or 'others'}. Nothing was published.")
    if tokenize(load_tokenizer(folder), PROBES) != tokenize(tuned.tokenizer, PROBES):
        raise ParityError("The folder's tokenizer is not the model's. Nothing was published.")
    return len(expected) + len(PROBES)
