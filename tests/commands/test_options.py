import dataclasses
import json

import click
import pytest
from click.testing import CliRunner

from tfft.commands.finetune import finetune
from tfft.commands.options import config_option, read_config, records_options, settings_options
from tfft.config import FinetuneConfig
from tfft.errors import UsageError

FIELDS = dataclasses.fields(FinetuneConfig)
# A value other than the default for every field, as typed and as the config holds it.
VALUES = {
    "task": ("text", "text"),
    "column": ("text=review", {"text": "review"}),
    "text_records": ("line", "line"),
    "mix": ("b.csv=2", ("b.csv=2",)),
    "template": ("layout.yaml", "layout.yaml"),
    "separator": ("->", "->"),
    "train_turns": ("last", "last"),
    "role_marker": ("user=Kundin>", {"user": "Kundin>"}),
    "overflow": ("drop", "drop"),
    "model": ("runs/one", "runs/one"),
    "model_config": ("tiny.json", "tiny.json"),
    "adapter_rank": ("8", 8),
    "adapter_alpha": ("4", 4.0),
    "adapter_targets": ("c_attn, mlp.c_proj", ("c_attn", "mlp.c_proj")),
    "train_layers": ("last:2", "last:2"),
    "freeze": ("embeddings,mlp", ("embeddings", "mlp")),
    "validation": ("held.csv", "held.csv"),
    "validation_fraction": ("0.25", 0.25),
    "sequence_length": ("64", 64),
    "epochs": ("1.5", 1.5),
    "max_steps": ("7", 7),
    "batch_size": ("3", 3),
    "micro_batch_size": ("4", "4"),
    "recompute": ("true", True),
    "packing": ("true", True),
    "learning_rate": ("1e-5", 1e-5),
    "schedule": ("cosine", "cosine"),
    "final_learning_rate_fraction": ("0.1", 0.1),
    "warmup_fraction": ("0.5", 0.5),
    "optimizer": ("sgd", "sgd"),
    "adam_beta_1": ("0.8", 0.8),
    "adam_beta_2": ("0.999", 0.999),
    "adam_epsilon": ("1e-8", 1e-8),
    "momentum": ("0.8", 0.8),
    "weight_decay": ("0", 0.0),
    "clip_norm": ("0", 0.0),
    "dropout": ("0.3", 0.3),
    "embedding_dropout": ("0.1", 0.1),
    "attention_dropout": ("0.2", 0.2),
    "residual_dropout": ("0.25", 0.25),
    "classifier_dropout": ("0.1", 0.1),
    "label_smoothing": ("0.1", 0.1),
    "class_weights": ("bad=2", ("bad=2",)),
    "language_modeling_weight": ("0.5", 0.5),
    "average_decay": ("0.999", 0.999),
    "precision": ("bfloat16", "bfloat16"),
    "xla": ("true", True),
    "strategy": ("mirrored", "mirrored"),
    "evaluate_every": ("9", 9),
    "save_every": ("10min", "10min"),
    "keep": ("4", 4),
    "monitor": ("f1", "f1"),
    "samples": ("5", 5),
    "sample_prompts": ("prompts.txt", "prompts.txt"),
    "allow": ("empty", ("empty",)),
    "patience": ("2", 2),
    "max_skipped": ("5", 5),
    "spike_factor": ("2.5", 2.5),
    "max_rollbacks": ("1", 1),
    "resume": ("never", "never"),
    "seed": ("12", 12),
}
# Only a model from scratch takes an architecture.
BESIDE, BESIDE_TYPED = {"model_config": {"model": "scratch"}}, {"model_config": ["--model", "scratch"]}


@pytest.fixture
def configure(tmp_path):
    """Gives the config that arguments and the content of a --config file make, or the result where there is none."""

    def make(*arguments, content=None):
        configs = []

        @click.command()
        @config_option
        @settings_options
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json, **settings):
            configs.append((FinetuneConfig(**settings), as_json))

        if content is not None:
            path = tmp_path / "options.yaml"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            arguments = ("--config", str(path), *arguments)
        result = CliRunner().invoke(command, arguments)
        return configs[0][0] if configs else result

    return make


def refused(result):
    """The message of a usage error, which is one line after click's own."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_has_an_option_of_its_name_default_and_help(field):
    (option,) = [parameter for parameter in finetune.params if parameter.name == field.name]
    assert option.opts == ["--" + field.name.replace("_", "-")]
    assert option.help == field.metadata["help"]
    if "metavar" in field.metadata:
        assert option.multiple
        assert option.metavar == field.metadata["metavar"]
    else:
        assert option.default == field.default
    if "choices" in field.metadata and not option.multiple:
        assert tuple(option.type.choices) == field.metadata["choices"]


def test_options_without_arguments_make_the_default_config(configure):
    assert configure() == FinetuneConfig()


def test_values_of_this_test_cover_every_setting():
    assert list(VALUES) == [field.name for field in FIELDS]
    assert all(getattr(FinetuneConfig(), name) != value for name, (_, value) in VALUES.items())


@pytest.mark.parametrize("name", VALUES)
def test_an_option_sets_its_field_alone(configure, name):
    typed, value = VALUES[name]
    arguments = [] if value is True else [typed]  # a switch takes none
    expected = FinetuneConfig(**BESIDE.get(name, {}), **{name: value})
    assert configure(*BESIDE_TYPED.get(name, []), "--" + name.replace("_", "-"), *arguments) == expected


@pytest.mark.parametrize("separator", ["-", "_"])
@pytest.mark.parametrize("name", VALUES)
def test_a_config_file_sets_the_same_field(configure, name, separator):
    typed, value = VALUES[name]
    expected = FinetuneConfig(**BESIDE.get(name, {}), **{name: value})
    content = f"{name.replace('_', separator)}: {typed}\n"
    assert configure(*BESIDE_TYPED.get(name, []), content=content) == expected


def test_the_command_line_wins_over_the_config_file(configure):
    config = configure(
        "--epochs", "2", "--column", "label=stars", content="epochs: 5\nseed: 3\ncolumn: {text: review}\n"
    )
    assert config == FinetuneConfig(epochs=2.0, seed=3, column={"label": "stars"})


@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_wins_wherever_it_stands(configure, first, tmp_path):
    (tmp_path / "c.yaml").write_text("seed: 3")
    arguments = [("--seed", "9"), ("--config", str(tmp_path / "c.yaml"))]
    assert configure(*(part for pair in arguments[:: 1 if first else -1] for part in pair)).seed == 9


@pytest.mark.parametrize(
    "content",
    [
        "column: {text: review, label: stars}",
        "column:\n  text: review\n  label: stars",
        "column: [text=review, label=stars]",
        "column:\n- text=review\n- label=stars",
    ],
)
def test_columns_stand_in_a_config_file_as_a_mapping_or_a_list(configure, content):
    assert configure(content=content).column == {"text": "review", "label": "stars"}


def test_a_column_may_have_any_name(configure):
    assert configure("--column", "text=a=b c").column == {"text": "a=b c"}
    assert configure(content="column: {text: 3, label: true}").column == {"text": "3", "label": "True"}


@pytest.mark.parametrize("typed", ["text", "=review", "text=", ""])
def test_a_column_that_is_no_pair_is_refused(configure, typed):
    message = refused(configure("--column", typed))
    assert message.endswith(f"expected NAME=COLUMN. Received: {typed!r}.")


@pytest.mark.parametrize(
    ("content", "typed"),
    [("column: {text: }", "text="), ("column: 3", "3"), ("column: [{text: review}]", "{'text': 'review'}")],
)
def test_a_column_of_a_config_file_that_is_no_pair_is_refused(configure, content, typed):
    assert f"expected NAME=COLUMN. Received: {typed!r}." in refused(configure(content=content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: many", "Invalid value for '--epochs': 'many' is not a valid float."),
        ("epochs: true", "Invalid value for '--epochs': 'True' is not a valid float."),
        ("epochs: [1, 2]", "Invalid value for '--epochs': '[1, 2]' is not a valid float."),
        ("epochs: {a: 1}", "Invalid value for '--epochs'"),
        ("batch-size: 2.7", "Invalid value for '--batch-size': '2.7' is not a valid integer."),
        ("seed: 2020-01-01", "Invalid value for '--seed': '2020-01-01' is not a valid integer."),
        ("seed: yes", "Invalid value for '--seed': 'True' is not a valid integer."),
        ("task: 3", "Invalid value for '--task': '3' is not one of 'auto', 'chat', 'instruction', 'completion', "),
        ("json: perhaps", "Invalid value for '--json': 'perhaps' is not a valid boolean."),
    ],
)
def test_a_value_of_the_wrong_type_in_a_config_file_is_refused(configure, content, message):
    assert message in refused(configure(content=content))


def test_numbers_of_a_config_file_mean_what_they_mean_on_the_command_line(configure):
    config = configure(content="learning-rate: 1e-3\nweight-decay: 1.0e-5\nepochs: 2\nseed: 0x10\nclip-norm: 1_0.5")
    assert config == FinetuneConfig(learning_rate=1e-3, weight_decay=1e-5, epochs=2.0, seed=16, clip_norm=10.5)


def test_a_key_without_a_value_leaves_the_default(configure):
    assert configure(content="epochs:\nmax-steps: null\ncolumn:\nseed: 3\n") == FinetuneConfig(seed=3)


def test_a_config_file_may_hold_every_option_but_itself(configure, tmp_path):
    assert isinstance(configure(content="json: true"), FinetuneConfig)
    assert "options.yaml has a key that is no option. Received: config." in refused(configure(content="config: x.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batch_sizes: 8", "Received: batch_sizes. Did you mean batch-size? See --help for all of them."),
        ("learningrate: 1", "Received: learningrate. Did you mean learning-rate? See --help for all of them."),
        ("bogus:", "Received: bogus. See --help for all of them."),
        ("3: 4", "Received: 3. See --help for all of them."),
    ],
)
def test_an_unknown_key_is_refused_with_its_neighbour(configure, content, message):
    line = refused(configure(content=content))
    assert line.endswith(f"options.yaml has a key that is no option. {message}")


@pytest.mark.parametrize("content", ["", "# nothing", "- epochs", "epochs", "3"])
def test_a_config_file_without_options_is_refused(configure, content):
    line = refused(configure(content=content))
    assert line.endswith("options.yaml holds no options. Expected lines such as 'epochs: 3'. Mend the file.")


@pytest.mark.parametrize(
    "content", ["a: b: c", "epochs: [1", "\tx", b"epochs: caf\xe9", "x: !!python/object:os.system {}"]
)
def test_a_config_file_that_is_not_yaml_is_refused_in_one_line(configure, content):
    line = refused(configure(content=content))
    assert "options.yaml cannot be read: " in line
    assert line.endswith("Expected YAML. Mend the file.")


def test_a_config_file_that_is_not_there_is_refused(configure, tmp_path):
    line = refused(configure("--config", str(tmp_path / "none.yaml")))
    assert "none.yaml cannot be read: [Errno 2] No such file or directory" in line
    assert "is a directory" in refused(configure("--config", str(tmp_path)))


def test_a_config_file_may_begin_with_a_byte_order_mark(configure):
    assert configure(content="\ufeffseed: 3").seed == 3


def test_reading_a_config_gives_values_as_typed(tmp_path):
    (tmp_path / "c.yaml").write_text("batch-size: 8\nquiet: true\ncolumn: {text: a}\npatience:\n")
    values = read_config(tmp_path / "c.yaml", ["batch_size", "quiet", "column", "patience"])
    assert values == {"batch_size": "8", "quiet": "True", "column": ["text=a"]}
    with pytest.raises(UsageError, match="c.yaml has a key that is no option. Received: quiet."):
        read_config(tmp_path / "c.yaml", ["batch_size", "column"])


@pytest.mark.parametrize(
    ("content", "mix"),
    [
        ("mix: {b.csv: 2, c: 0.5}", ("b.csv=2", "c=0.5")),
        ("mix: [b.csv=2, c]", ("b.csv=2", "c")),
        ("mix: b.csv", ("b.csv",)),
    ],
)
def test_a_mix_stands_in_a_config_file_as_a_mapping_or_a_list(configure, content, mix):
    assert configure(content=content).mix == mix
    assert configure(*(part for source in mix for part in ("--mix", source))).mix == mix


@pytest.mark.parametrize(
    "content", ['role-marker: {user: "Customer:"}', 'role-marker: ["user=Customer:"]', 'role_marker: "user=Customer:"']
)
def test_a_marker_may_end_with_a_colon(configure, content):
    assert configure(content=content).role_marker == {"user": "Customer:"}
    assert configure("--role-marker", "user=Customer:").role_marker == {"user": "Customer:"}


@pytest.mark.parametrize("typed", ["user", "=Customer:", "user="])
def test_a_marker_that_is_no_pair_is_refused(configure, typed):
    assert refused(configure("--role-marker", typed)).endswith(f"expected ROLE=LINE. Received: {typed!r}.")


@pytest.mark.parametrize("separator", ["", "\n", " -> "])
def test_a_separator_may_be_white_space_or_nothing(configure, separator):
    assert configure("--separator", separator).separator == separator
    assert configure(content=f"separator: {json.dumps(separator)}").separator == separator


def test_commands_that_tune_nothing_share_the_options_of_records():
    @click.command()
    @records_options
    def command(column, text_records):
        click.echo(f"{column} {text_records}")

    result = CliRunner().invoke(command, ["--column", "text=review", "--text-records", "line"])
    assert result.output == "{'text': 'review'} line\n"
    assert [parameter.help for parameter in command.params] == [FIELDS[index].metadata["help"] for index in (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--learning-rate", "nan"],
            "--learning-rate cannot be that. Expected a finite number. Received: --learning-r",
        ),
        (["--epochs", "inf"], "--epochs cannot be that. Expected a finite number. Received: --epochs=inf."),
        (["--epochs", "0"], "--epochs cannot be that. Expected a number above 0. Received: --epochs=0.0."),
        (
            ["--batch-size", "0"],
            "--batch-size cannot be that. Expected a number of at least 1. Received: --batch-size=0",
        ),
        (["--seed", "-1"], "--seed cannot be that. Expected a number of at least 0. Received: --seed=-1."),
        (
            ["--validation-fraction", "1"],
            "--validation-fraction cannot be that. Expected a number of at most 0.9. Recei",
        ),
        (["--model", "runs/one", "--model-config", "x.json"], "Only a model from scratch takes an architecture."),
    ],
)
def test_a_value_outside_its_limits_is_one_line_and_nothing_is_made(invoke, tmp_path, arguments, message):
    answer = invoke("finetune", tmp_path / "none.csv", "--output", tmp_path / "run", *arguments)
    assert answer.exit_code == 2
    assert answer.error.startswith(f"Error: {message}")
    assert answer.stderr == answer.error + "\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--epochs", "many"], ["--task", "chat-bot"], ["--batch-size", "2.5"], ["--bogus"]]
)
def test_a_value_that_cannot_be_read_is_a_usage_error(invoke, tmp_path, arguments):
    answer = invoke("finetune", tmp_path / "none.csv", "--output", tmp_path / "run", *arguments)
    assert answer.exit_code == 2
    assert arguments[0] in answer.error
    assert list(tmp_path.iterdir()) == []
