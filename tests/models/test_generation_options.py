import dataclasses

import pytest
import tensorflow as tf

from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions

FIELDS = dataclasses.fields(GenerationOptions)
BAD = [
    ({"max_new_tokens": 0}, "--max-new-tokens cannot be that. Expected a number of at least 1."),
    ({"max_new_tokens": 2**31}, "--max-new-tokens cannot be that. Expected a number of at most 2147483647."),
    ({"min_new_tokens": -1}, "--min-new-tokens cannot be that. Expected a number of at least 0."),
    ({"temperature": -0.1}, "--temperature cannot be that. Expected a number of at least 0."),
    ({"temperature": float("nan")}, "--temperature cannot be that. Expected a finite number."),
    ({"top_k": -1}, "--top-k cannot be that. Expected a number of at least 0."),
    ({"top_k": 2**31}, "--top-k cannot be that. Expected a number of at most 2147483647."),
    ({"top_p": 0.0}, "--top-p cannot be that. Expected a number above 0."),
    ({"top_p": 1.1}, "--top-p cannot be that. Expected a number of at most 1."),
    ({"min_p": 1.5}, "--min-p cannot be that. Expected a number of at most 1."),
    ({"repetition_penalty": 0.0}, "--repetition-penalty cannot be that. Expected a number above 0."),
    ({"no_repeat_ngram_size": -2}, "--no-repeat-ngram-size cannot be that. Expected a number of at least 0."),
    ({"num_beams": 0}, "--num-beams cannot be that. Expected a number of at least 1."),
    ({"length_penalty": float("inf")}, "--length-penalty cannot be that. Expected a finite number."),
    ({"seed": 2**31}, "--seed cannot be that. Expected a number of at most 2147483647."),
    ({"max_new_tokens": 3, "min_new_tokens": 4}, "--min-new-tokens=4 --max-new-tokens=3. Change one of the two."),
    ({"num_beams": 2, "temperature": 1.0}, "--num-beams=2 --temperature=1.0. Leave one of the two out."),
    ({"top_p": 0.9}, "--top-p=0.9 --temperature=0. Pass --temperature 1, or leave --top-p out."),
    ({"top_k": 5, "min_p": 0.1}, "--top-k=5 --temperature=0. Pass --temperature 1, or leave --top-k out."),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=str)
def test_what_cannot_work_is_refused_in_the_words_of_the_command_line(settings, message):
    with pytest.raises(UsageError) as error:
        GenerationOptions(**settings)
    assert message in str(error.value)
    assert "Received: --" in str(error.value)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_says_what_it_means(field):
    assert field.metadata["help"].endswith(".")
    assert type(field.default) is field.type


def test_a_field_may_hold_a_tensor():
    options = GenerationOptions(temperature=tf.constant(-1.0), top_p=tf.constant(0.5), max_new_tokens=tf.constant(3))
    assert dataclasses.replace(options, min_new_tokens=200).min_new_tokens == 200
