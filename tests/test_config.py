import dataclasses
import subprocess
import sys

import pytest

from tfft.config import ADAPTER_TARGETS, FREEZABLE, FinetuneConfig, check_limits, setting
from tfft.errors import UsageError

FIELDS = {field.name: field for field in dataclasses.fields(FinetuneConfig)}
REFUSED = [
    ("task", "chat-bot", "one of auto, chat, instruction, completion, question-answering, classification, text"),
    ("task", "", "one of auto, chat, instruction, completion, question-answering, classification, text"),
    ("text_records", "paragraph", "one of file, line"),
    ("train_turns", "first", "one of all, last"),
    ("overflow", "cut", "one of auto, truncate, split, drop, error"),
    ("validation_fraction", -0.01, "a number of at least 0"),
    ("validation_fraction", 0.91, "a number of at most 0.9"),
    ("validation_fraction", float("nan"), "a finite number"),
    ("sequence_length", 1, "a number of at least 2"),
    ("epochs", 0, "a number above 0"),
    ("epochs", -1.0, "a number above 0"),
    ("epochs", float("inf"), "a finite number"),
    ("epochs", float("nan"), "a finite number"),
    ("max_steps", 0, "a number of at least 1"),
    ("adapter_rank", -1, "a number of at least 0"),
    ("adapter_alpha", 0.0, "a number above 0"),
    ("adapter_targets", ("c_attn", "wte"), f"one of {', '.join(ADAPTER_TARGETS)}"),
    ("freeze", ("heads",), f"one of {', '.join(FREEZABLE)}"),
    ("batch_size", 0, "a number of at least 1"),
    ("batch_size", -3, "a number of at least 1"),
    ("learning_rate", 0.0, "a number above 0"),
    ("learning_rate", float("nan"), "a finite number"),
    ("learning_rate", float("-inf"), "a finite number"),
    ("schedule", "Linear", "one of constant, linear, cosine, stable-decay, inverse-sqrt"),
    ("final_learning_rate_fraction", -0.1, "a number of at least 0"),
    ("final_learning_rate_fraction", 1.1, "a number of at most 1"),
    ("optimizer", "adam", "one of adamw, adafactor, sgd"),
    ("adam_beta_1", -0.1, "a number of at least 0"),
    ("adam_beta_1", 1.0, "a number of at most 0.9999"),
    ("adam_beta_2", -0.1, "a number of at least 0"),
    ("adam_beta_2", 1.0, "a number of at most 0.9999"),
    ("adam_epsilon", 0.0, "a number above 0"),
    ("momentum", -0.1, "a number of at least 0"),
    ("momentum", 1.0, "a number of at most 0.9999"),
    ("warmup_fraction", -0.5, "a number of at least 0"),
    ("warmup_fraction", 1.5, "a number of at most 1"),
    ("weight_decay", -1e-9, "a number of at least 0"),
    ("weight_decay", float("inf"), "a finite number"),
    ("clip_norm", -1.0, "a number of at least 0"),
    ("clip_norm", float("nan"), "a finite number"),
    ("dropout", -0.1, "a number of at least 0"),
    ("dropout", 1.0, "a number of at most 0.9"),
    ("embedding_dropout", -0.1, "a number of at least 0"),
    ("embedding_dropout", 1.0, "a number of at most 0.9"),
    ("attention_dropout", -0.1, "a number of at least 0"),
    ("attention_dropout", 1.0, "a number of at most 0.9"),
    ("residual_dropout", -0.1, "a number of at least 0"),
    ("residual_dropout", 1.0, "a number of at most 0.9"),
    ("classifier_dropout", -0.1, "a number of at least 0"),
    ("classifier_dropout", 1.0, "a number of at most 0.9"),
    ("label_smoothing", -0.1, "a number of at least 0"),
    ("label_smoothing", 1.0, "a number of at most 0.9"),
    ("language_modeling_weight", -0.1, "a number of at least 0"),
    ("average_decay", -0.1, "a number of at least 0"),
    ("average_decay", 1.0, "a number of at most 0.99999"),
    ("precision", "float64", "one of auto, float32, bfloat16, float16"),
    ("strategy", "horovod", "one of auto, one, mirrored, multi-worker, tpu"),
    ("evaluate_every", 0, "a number of at least 1"),
    ("save_every", "0", "steps, as 500, or minutes, as 10min"),
    ("save_every", "10 hours", "steps, as 500, or minutes, as 10min"),
    ("save_every", "infmin", "steps, as 500, or minutes, as 10min"),
    ("keep", 0, "a number of at least 1"),
    ("samples", -1, "a number of at least 0"),
    ("patience", 0, "a number of at least 1"),
    ("max_skipped", -1, "a number of at least 0"),
    ("spike_factor", -0.5, "a number of at least 0"),
    ("max_rollbacks", -1, "a number of at least 0"),
    ("seed", -1, "a number of at least 0"),
    ("seed", 2**31, f"a number of at most {2**31 - 1}"),
]
ALLOWED = [
    ("validation_fraction", 0),
    ("validation_fraction", 0.9),
    ("sequence_length", 2),
    ("epochs", 1e-9),
    ("max_steps", 1),
    ("adapter_rank", 0),
    ("adapter_alpha", 0.5),
    ("batch_size", 1),
    ("learning_rate", 1e-12),
    ("warmup_fraction", 0),
    ("warmup_fraction", 1),
    ("weight_decay", 0),
    ("clip_norm", 0),
    ("dropout", 0),
    ("dropout", 0.9),
    ("language_modeling_weight", 0),
    ("evaluate_every", 1),
    ("save_every", 1),
    ("save_every", "500"),
    ("save_every", "0.5min"),
    ("keep", 1),
    ("patience", 1),
    ("max_skipped", 0),
    ("spike_factor", 0),
    ("max_rollbacks", 0),
    ("seed", 0),
    ("seed", 2**31 - 1),
]


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED)
def test_config_refuses_a_value_outside_its_limits(name, value, expected):
    option = "--" + name.replace("_", "-")
    with pytest.raises(UsageError) as error:
        FinetuneConfig(**{name: value})
    message = f"{option} cannot be that. Expected {expected}. Received: {option}={value!r}."
    assert str(error.value) == message


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_config_takes_the_last_value_within_a_limit(name, value):
    assert getattr(FinetuneConfig(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "scratch"},
            "random weights learn little.*--model='scratch' --adapter-rank=8. Leave",
        ),
        ({"freeze": ("mlp",)}, "frozen already. Received: --adapter-rank=8 --freeze='mlp'. Leave --freeze out"),
    ],
)
def test_config_refuses_what_adapters_make_no_sense_with(settings, message):
    with pytest.raises(UsageError, match=message):
        FinetuneConfig(adapter_rank=8, **settings)


def test_every_limit_is_tested():
    no_limits = {"help", "metavar"}
    limits = {(name, limit) for name, field in FIELDS.items() for limit in field.metadata if limit not in no_limits}
    words = {"interval": "minutes", "choices": "one of", "above": "above", "least": "least", "most": "most"}
    assert {limit for _, limit in limits} <= set(words)
    tested = {(name, limit) for name, _, expected in REFUSED for limit, word in words.items() if word in expected}
    assert limits == tested


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if "choices" in field.metadata])
def test_config_takes_every_choice(name):
    for choice in FIELDS[name].metadata["choices"]:
        assert getattr(FinetuneConfig(**{name: choice}), name) == choice


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_it_means(name):
    text = FIELDS[name].metadata["help"]
    assert text.endswith(".")
    assert text[0].isupper() or text.startswith("auto ")
    assert len(text) <= 120


def test_defaults_are_within_their_own_limits():
    config = FinetuneConfig()
    assert (config.task, config.model, config.batch_size, config.seed) == ("auto", "base", 16, 0)


def test_config_is_frozen():
    config = FinetuneConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 5


def test_config_takes_names_only():
    with pytest.raises(TypeError, match="positional"):
        FinetuneConfig("text")


def test_two_configs_share_no_columns():
    first, second = FinetuneConfig(), FinetuneConfig()
    first.column["text"] = "review"
    assert second.column == {}


@pytest.mark.parametrize("model", ["base", "gpt2", "", "runs/demo"])
def test_config_takes_an_architecture_only_from_scratch(model):
    with pytest.raises(UsageError) as error:
        FinetuneConfig(model=model, model_config="tiny.json")
    assert str(error.value) == (
        f"Only a model from scratch takes an architecture. Received: --model={model!r} "
        "--model-config='tiny.json'. Pass --model scratch, or leave --model-config out."
    )


def test_config_takes_an_architecture_from_scratch():
    assert FinetuneConfig(model="scratch", model_config="tiny.json").model_config == "tiny.json"


def test_check_limits_lets_an_unset_option_pass():
    @dataclasses.dataclass
    class Options:
        num_beams: int | None = setting(None, "Beams.", least=1)

    (field,) = dataclasses.fields(Options)
    check_limits(field, None)
    with pytest.raises(UsageError, match=r"^--num-beams cannot be that\. Expected a number of at least 1\."):
        check_limits(field, 0)


def test_light_modules_start_without_tensorflow():
    code = (
        "import sys, tfft.config, tfft.errors, tfft.metrics, tfft.tasks.registry;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'transformers', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", ["0", "-1", "four", "1.5", ""])
def test_a_micro_batch_size_is_auto_or_a_number(value):
    with pytest.raises(UsageError, match="Expected auto, or a number of at least 1. Received: --micro-batch-size='"):
        FinetuneConfig(micro_batch_size=value)
    assert FinetuneConfig().micro_batch_size == "auto"
    assert FinetuneConfig(micro_batch_size="1").micro_batch_size == "1"
