import dataclasses
import json

import click
import pytest
import tiny_run
from click.testing import CliRunner

from tfft.commands.generate import generate
from tfft.commands.main import tfft
from tfft.models.generation_options import GenerationOptions

SHORT = ("--max-new-tokens", 6)


def completions(answer):
    assert answer.exit_code == 0, answer.stderr
    result = json.loads(answer.stdout.splitlines()[-1])
    assert list(result) == ["completions"]
    return result["completions"]


@pytest.mark.parametrize("field", dataclasses.fields(GenerationOptions), ids=lambda field: field.name)
def test_every_setting_has_an_option_of_its_name_default_and_help(field):
    option = next(parameter for parameter in generate.params if parameter.name == field.name)
    assert option.opts == ["--" + field.name.replace("_", "-")]
    assert (option.default, option.help) == (field.default, field.metadata["help"])
    assert option.type is click.types.convert_type(field.type)


def test_generate_continues_prompts(invoke, language_model_run, tmp_path):
    before = tiny_run.hash_folder(language_model_run)
    answer = invoke("generate", language_model_run, "The soup", "We", *SHORT, "--json", "--quiet")
    found = completions(answer)
    assert [item["prompt"] for item in found] == ["The soup", "We"]
    for item in found:
        assert list(item) == ["prompt", "completion", "finish_reason", "num_tokens"]
        assert item["finish_reason"] in ("stop", "length")
        assert 1 <= item["num_tokens"] <= 6
    assert answer.stderr == ""
    shown = invoke("generate", language_model_run, "The soup", "We", *SHORT)
    assert shown.stdout == "\n\n".join(item["prompt"] + item["completion"] for item in found) + "\n"
    assert tiny_run.hash_folder(language_model_run) == before
    assert list(tmp_path.iterdir()) == []


def test_generate_reads_standard_input_where_there_is_no_prompt(invoke, language_model_run):
    arguments = ["generate", str(language_model_run), "--max-new-tokens", "6", "--json"]
    result = CliRunner().invoke(tfft, arguments, input=b"The soup\nwas\n" + b"\xff\n")
    [item] = json.loads(result.stdout.splitlines()[-1])["completions"]
    assert item["prompt"] == "The soup\nwas\n\ufffd"


def test_generate_reads_a_file_of_prompts(invoke, language_model_run, write):
    path = write("prompts.txt", "The soup\n\nWe\n")
    found = completions(invoke("generate", language_model_run, "caf\udce9", "--file", path, *SHORT, "--json"))
    assert [item["prompt"] for item in found] == ["caf\ufffd", "The soup", "We"]
    alone = completions(invoke("generate", language_model_run, "We", *SHORT, "--json"))
    assert alone == found[2:]


def test_generate_draws_by_its_seed(invoke, language_model_run):
    def draw(seed):
        options = ("--temperature", 2, "--top-k", 200, "--top-p", 0.99, "--min-p", 0.001, "--seed", seed)
        return completions(invoke("generate", language_model_run, "The soup", *SHORT, *options, "--json"))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_generate_searches_and_stops(invoke, language_model_run):
    options = ("--num-beams", 3, "--repetition-penalty", 1.2, "--no-repeat-ngram-size", 2, "--length-penalty", 0.5)
    [whole] = completions(invoke("generate", language_model_run, "The soup", *SHORT, *options, "--json"))
    [item] = completions(invoke("generate", language_model_run, "The soup", "--stop", "\udcff", *SHORT, "--json"))
    assert whole["num_tokens"] <= 6 >= item["num_tokens"]


def test_generate_says_that_a_prompt_is_cut(invoke, language_model_run):
    answer = invoke("generate", language_model_run, "bad " * 60, *SHORT, "--quiet")
    assert answer.exit_code == 0
    assert answer.stderr.startswith("Prompt 1 is too long: of its ")


def test_generate_refuses_a_classifier(invoke, run):
    answer = invoke("generate", run, "The soup")
    assert answer.exit_code == 2
    assert f"The model of {run / 'model'} is a classifier and writes no text." in answer.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", -1], "--temperature cannot be that."),
        (["--top-p", 0.5], "Pass --temperature 1, or leave --top-p out."),
        (["--num-beams", 2, "--temperature", 1], "Leave one of the two out."),
        (["--max-new-tokens", "many"], "'many' is not a valid integer"),
        (["--stop", ""], "An empty text stands everywhere."),
        (["--file", "nowhere.txt"], "'nowhere.txt' does not exist"),
    ],
)
def test_generate_refuses_what_cannot_work(invoke, language_model_run, arguments, message):
    answer = invoke("generate", language_model_run, "The soup", *arguments)
    assert answer.exit_code == 2
    assert message in answer.error


def test_generate_refuses_a_file_without_prompts(invoke, language_model_run, write):
    answer = invoke("generate", language_model_run, "--file", write("prompts.txt", "\n"))
    assert answer.exit_code == 3
    assert "holds no prompt. Expected one a line." in answer.error


def test_generate_refuses_what_is_no_model(invoke, tmp_path):
    answer = invoke("generate", tmp_path / "none" / "at" / "all", "The soup")
    assert answer.exit_code == 2
    assert "is not a model." in answer.error


def test_generate_lays_a_prompt_out_as_its_task_does(invoke, completion_run):
    arguments = ("--json", "--quiet", *SHORT, "--temperature", 3)
    [laid_out] = completions(invoke("generate", completion_run, "The soup", *arguments))
    [as_it_stands] = completions(invoke("generate", completion_run, "The soup", "--raw", *arguments))
    [by_hand] = completions(invoke("generate", completion_run, "The soup\n", "--raw", *arguments))
    assert laid_out == {**by_hand, "prompt": "The soup"}
    assert as_it_stands != laid_out
    assert invoke("generate", completion_run, "The soup", *arguments[2:]).stdout == laid_out["completion"] + "\n"
    both = invoke("generate", completion_run, "The soup", "We", *arguments[2:]).stdout
    assert both.startswith(f"The soup\n{laid_out['completion']}\n\nWe\n")


def test_generate_refuses_a_field_the_task_does_not_have(invoke, completion_run):
    answer = invoke("generate", completion_run, "The soup", "--field", "context=x")
    assert answer.exit_code == 2
    assert "A prompt has a field that the prompts of task 'completion' do not have." in answer.error
