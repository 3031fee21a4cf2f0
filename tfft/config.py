"""The settings of a finetune: names, defaults, meanings and limits, each in this one place."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from tfft.errors import UsageError

# As `tfft.tasks.registry` has them; a test holds the two together, so that `--help` need not build the tasks.
TASK_NAMES = ("chat", "instruction", "completion", "question-answering", "classification", "text")

# What --adapter-targets and --freeze may name; a test holds the second to `tfft.models.freezing`.
ADAPTER_TARGETS = ("all-linear", "c_attn", "c_proj", "c_fc", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
FREEZABLE = ("embeddings", "token-embeddings", "position-embeddings", "attention", "mlp", "layer-norms", "head")


def setting(default: Any, help: str, **limits: Any) -> Any:
    """Declares a field: its default, one line of meaning with its unit, and what values it may take.

    Args:
        default: The field's default and the option's default.
        help: What the option's `--help` says.
        limits: `choices`, or numeric `above` (exclusive), `least` and `most` (inclusive), or `interval` for what
            `parse_interval` reads; `metavar` where pairs are given.
    """
    metadata = {"help": help, **limits}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What `tfft finetune` does with its records. Every field is an option of the same name.

    Raises:
        UsageError: A value is outside what its field allows.
    """

    task: str = setting("auto", "What to learn; auto decides by the columns.", choices=("auto", *TASK_NAMES))
    column: dict[str, str] = setting(
        {}, "A column of the records under another name: text=review. Repeatable.", metavar="NAME=COLUMN"
    )
    text_records: str = setting(
        "file", "What a record of a TXT file is: the whole file, or each line of it.", choices=("file", "line")
    )
    mix: tuple[str, ...] = setting(
        (),
        "Further records, or the weight of some: b.jsonl=2 is learned from twice an epoch. Repeatable.",
        metavar="RECORDS[=WEIGHT]",
    )
    template: str | None = setting(
        None, "FILE.yaml with a prompt and a completion of your own, columns in braces; the task is completion."
    )
    separator: str | None = setting(
        None, "What stands between prompt and completion; default: a line end, or nothing where they bring white space."
    )
    train_turns: str = setting("all", "Which turns of the assistant a chat learns.", choices=("all", "last"))
    role_marker: dict[str, str] = setting(
        {}, "The line that stands before a turn: user=Customer:. Repeatable.", metavar="ROLE=LINE"
    )
    overflow: str = setting(
        "auto",
        "What becomes of an example too long for a row; auto: split for text, truncate for every other task.",
        choices=("auto", "truncate", "split", "drop", "error"),
    )
    model: str = setting(
        "base", "Weights to start from: base (built in), a folder, a run folder, a hub name, or scratch (random)."
    )
    model_config: str | None = setting(None, "FILE.json with the GPT-2 architecture that scratch builds.")
    adapter_rank: int = setting(0, "Rank of the adapters (LoRA) that learn; 0: the model itself learns.", least=0)
    adapter_alpha: float | None = setting(
        None, "Adapters count alpha / rank times; default: twice the rank, as in TRL.", above=0
    )
    adapter_targets: tuple[str, ...] = setting(
        ("all-linear",),
        "Kernels that get one, named as in PEFT: all-linear (default), c_attn, attn.c_proj, c_fc, mlp.c_proj.",
        choices=ADAPTER_TARGETS,
        metavar="NAME",
    )
    train_layers: str = setting(
        "all", "Blocks that learn: all, last:N, first:N or numbers such as 0,2-3; but with all, no embeddings do."
    )
    freeze: tuple[str, ...] = setting(
        (),
        "A part that does not learn, such as embeddings or layer-norms. Repeatable.",
        choices=FREEZABLE,
        metavar="PART",
    )
    validation: str | None = setting(None, "The records to validate on: a file, a folder, a pattern or a hub name.")
    validation_fraction: float = setting(
        0.1, "Share of the records held out to validate on without --validation.", least=0, most=0.9
    )
    sequence_length: int | None = setting(
        None, "Tokens in a row, at most; by default 512 or the model's context if that is shorter.", least=2
    )
    epochs: float = setting(3.0, "Passes over the records.", above=0)
    max_steps: int | None = setting(None, "Optimizer updates, at most; default: what the epochs need.", least=1)
    batch_size: int = setting(16, "Rows an optimizer update learns from, packed ones with --packing.", least=1)
    micro_batch_size: str = setting(
        "auto", "Rows of an update that a device works on at once, at most; auto: what fits in its memory."
    )
    recompute: bool = setting(
        False, "Keeps fewer activations for the gradient and computes them again: less memory, a third more time."
    )
    packing: bool = setting(False, "Lays short texts side by side in packed rows, none seeing another.")
    learning_rate: float | None = setting(
        None,
        "Peak learning rate; by default 5e-4 from scratch, 3e-4 from base, 1e-4 from gpt2; for adapters x10.",
        above=0,
    )
    schedule: str = setting(
        "linear",
        "Decay of the learning rate after warm-up.",
        choices=("constant", "linear", "cosine", "stable-decay", "inverse-sqrt"),
    )
    final_learning_rate_fraction: float = setting(
        0.0, "Share of the peak that the learning rate does not fall below.", least=0, most=1
    )
    warmup_fraction: float = setting(0.1, "Share of all steps that warm up.", least=0, most=1)
    optimizer: str = setting("adamw", "What makes updates of gradients.", choices=("adamw", "adafactor", "sgd"))
    # Gradients of few tokens are noisy: a memory of 50 steps, not of 1,000.
    adam_beta_1: float = setting(0.9, "Share that AdamW keeps of its mean gradient a step.", least=0, most=0.9999)
    adam_beta_2: float = setting(0.98, "Share that AdamW keeps of its mean square a step.", least=0, most=0.9999)
    adam_epsilon: float = setting(1e-6, "What AdamW adds to the root of its mean square.", above=0)
    momentum: float = setting(0.9, "Share of its last update that SGD makes again.", least=0, most=0.9999)
    weight_decay: float = setting(0.01, "Decay a step as a share of the learning rate, on kernels only.", least=0)
    clip_norm: float = setting(1.0, "Largest global norm of a gradient; 0 does not clip.", least=0)
    dropout: float | None = setting(
        None, "Dropout rate where no other option says one; default: the model's own.", least=0, most=0.9
    )
    embedding_dropout: float | None = setting(None, "Dropout rate of the embeddings.", least=0, most=0.9)
    attention_dropout: float | None = setting(None, "Dropout rate of the attention's weights.", least=0, most=0.9)
    residual_dropout: float | None = setting(
        None, "Dropout rate of what attention and MLP add to the stream.", least=0, most=0.9
    )
    classifier_dropout: float = setting(0.0, "Dropout rate of what a classifier judges a text by.", least=0, most=0.9)
    label_smoothing: float = setting(
        0.0, "Share of the right answer's weight that all answers get in training; 0.1 is usual.", least=0, most=0.9
    )
    class_weights: tuple[str, ...] = setting(
        (),
        "What a class weighs in training: balanced, or NAME=WEIGHT, repeatable; others weigh 1.",
        metavar="balanced|NAME=WEIGHT",
    )
    language_modeling_weight: float = setting(
        0.0, "Share of its texts' own loss, token by token, that a classifier learns from besides; 0.5 suits.", least=0
    )
    average_decay: float = setting(
        0.0,
        "Share that a running average of the weights keeps a step, which is evaluated and saved; 0 keeps none.",
        least=0,
        most=0.99999,
    )
    precision: str = setting(
        "float32",
        "Number format of the matrix products; auto: the one that the device is fast at.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    xla: bool = setting(False, "Compiles the steps with XLA, once for each shape of a batch.")
    strategy: str = setting(
        "auto",
        "What a step's rows are shared out over; auto: a cluster's workers, this machine's GPUs or one device.",
        choices=("auto", "one", "mirrored", "multi-worker", "tpu"),
    )
    evaluate_every: int | None = setting(None, "Steps between evaluations; default: every epoch.", least=1)
    save_every: str | None = setting(
        None, "Steps or minutes between checkpoints, as 500 or 10min; default: every epoch.", interval=True
    )
    keep: int = setting(2, "Newest checkpoints kept, besides the best one.", least=1)
    monitor: str = setting(
        "auto",
        "What makes an evaluation the best; auto: a classifier's accuracy, a language model's loss; see docs/runs.md.",
    )
    samples: int = setting(
        3, "Prompts of validation records that a language model continues at each evaluation; 0 for none.", least=0
    )
    sample_prompts: str | None = setting(None, "FILE of prompts to continue instead, one a line.")
    allow: tuple[str, ...] = setting(
        (),
        "A finding of tfft check that would stop the run, and is to be passed over: empty. Repeatable.",
        metavar="FINDING",
    )
    patience: int | None = setting(
        None, "Evaluations without a better one before the run stops; default: never.", least=1
    )
    max_skipped: int = setting(
        3, "Updates of 100 in a row that may be skipped for a gradient that is not finite; more roll back.", least=0
    )
    spike_factor: float = setting(
        3.0, "A loss so many times its running median for 5 steps, and a nat above it, rolls back; 0 never.", least=0
    )
    max_rollbacks: int = setting(
        2, "How often the run goes back to a checkpoint and on with half the learning rate; then it ends.", least=0
    )
    resume: str = setting(
        "auto", "Where a run in --output goes on: auto (its last checkpoint), never, or one of its checkpoints."
    )
    seed: int = setting(0, "Decides order, split, dropout and random weights.", least=0, most=2**31 - 1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_limits(field, getattr(self, field.name))
        size = str(self.micro_batch_size)
        if size != "auto" and not (size.isdecimal() and int(size)):
            raise UsageError(
                "--micro-batch-size cannot be that. Expected auto, or a number of at least 1. "
                f"Received: --micro-batch-size={self.micro_batch_size!r}."
            )
        if self.model_config and self.model != "scratch":
            raise UsageError(
                f"Only a model from scratch takes an architecture. Received: --model={self.model!r} "
                f"--model-config={self.model_config!r}. Pass --model scratch, or leave --model-config out."
            )
        self._check_adapters()

    def _check_adapters(self) -> None:
        if self.adapter_rank and self.model == "scratch":
            problem = "Adapters beside random weights learn little. Expected weights that are pretrained"
            received, remedy = f"--model={self.model!r} --adapter-rank={self.adapter_rank}", "Leave one of the two out"
        elif self.adapter_rank and self.freeze:
            problem = "With adapters all weights but a classifier's head are frozen already"
            received = f"--adapter-rank={self.adapter_rank} --freeze={','.join(self.freeze)!r}"
            remedy = "Leave --freeze out; --train-layers says which blocks get adapters"
        else:
            return
        raise UsageError(f"{problem}. Received: {received}. {remedy}.")


def check_limits(field: dataclasses.Field, value: Any) -> None:
    """Refuses a value outside its field's limits, in the words of the command line.

    Raises:
        UsageError: The value is outside the limits.
    """
    if value is None:
        return
    expected = _expectation(field.metadata, value)
    if expected:
        option = "--" + field.name.replace("_", "-")
        raise UsageError(f"{option} cannot be that. Expected {expected}. Received: {option}={value!r}.")


def parse_interval(text: str | int) -> tuple[int | None, float | None]:
    """Reads an interval: steps, as 500, or minutes, as 10min.

    Returns:
        Steps and None, or None and seconds.

    Raises:
        ValueError: It is neither, or not above 0.
    """
    number, minutes, rest = str(text).partition("min")
    steps, seconds = (None, 60 * float(number)) if minutes else (int(number), None)
    if rest or not 0 < (steps or seconds or 0) < math.inf:
        raise ValueError(f"{text!r} is no interval")
    return steps, seconds


def _expectation(limits: dict[str, Any], value: Any) -> str | None:
    if "choices" in limits and not {*(value if isinstance(value, tuple) else [value])} <= {*limits["choices"]}:
        return "one of " + ", ".join(limits["choices"])
    if "interval" in limits:
        return _expected_interval(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if "above" in limits and not value > limits["above"]:
        return f"a number above {limits['above']}"
    if "least" in limits and value < limits["least"]:
        return f"a number of at least {limits['least']}"
    if "most" in limits and value > limits["most"]:
        return f"a number of at most {limits['most']}"
    return None


def _expected_interval(value: Any) -> str | None:
    try:
        parse_interval(value)
    except ValueError:
        return "steps, as 500, or minutes, as 10min"
    return None
