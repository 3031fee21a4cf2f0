"""The tokenizer of a model: read from its folder, or trained on the records of a model from scratch."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2TokenizerFast

from tfft.errors import UsageError

END_OF_TEXT, PADDING = "<|endoftext|>", "<|pad|>"
SMALLEST_VOCABULARY = 256 + 2  # every byte, and the two above
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")


def load_tokenizer(folder: Path) -> GPT2TokenizerFast:
    """Reads the tokenizer of a Hugging Face GPT-2 folder.

    Args:
        folder: Holds `tokenizer.json`, or `vocab.json` and `merges.txt`.

    Returns:
        A byte-level BPE tokenizer with an end-of-text token; where it has no padding token, that is the
        end-of-text token too.

    Raises:
        UsageError: The folder holds no tokenizer, or one that cannot be read.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UsageError(
            f"{folder} holds no tokenizer. Expected {' or '.join(TOKENIZER_FILES)} with merges.txt. "
            "Copy the tokenizer's files beside the weights."
        )
    try:
        tokenizer = GPT2TokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing more particular
        raise UsageError(
            f"The tokenizer of {folder} cannot be read: {' '.join(str(error).split())[:200]}. Expected "
            "tokenizer.json, or vocab.json and merges.txt, of a byte-level BPE. Copy the tokenizer's files again."
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, sequence_length: int) -> GPT2TokenizerFast:
    """Trains a byte-level BPE tokenizer, the kind GPT-2 has; every UTF-8 text can be told in its tokens.

    Args:
        texts: What it learns from, in a fixed order: the result is a function of it.
        vocabulary_size: Tokens at most, the two special ones and the 256 bytes among them.
        sequence_length: The model's context, in tokens.

    Returns:
        A tokenizer with `<|endoftext|>` as id 0 and `<|pad|>` as id 1.

    Raises:
        UsageError: The vocabulary has no room for the bytes and the special tokens.

    Source:
        Radford et al. 2019, section 2.2; Sennrich et al. 2016, Neural Machine Translation of Rare Words.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise UsageError(
            f"The architecture's vocabulary is too small to spell all text. Expected at least {SMALLEST_VOCABULARY} "
            f"tokens. Received: vocab_size={vocabulary_size}. Raise it in --model-config."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,  # a pair seen once says nothing about other texts
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return GPT2TokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=sequence_length,
    )
