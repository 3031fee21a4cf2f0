import tensorflow as tf

from tfft.training.precision import choose_precision, fastest, time_product


def test_a_named_precision_is_taken_as_it_is():
    assert choose_precision("float16", before="float32") == "float16"


def test_a_run_goes_on_in_the_precision_it_began_in():
    assert choose_precision("auto", before="bfloat16") == "bfloat16"


def test_auto_measures(monkeypatch):
    seconds = {tf.float32: 3.0, tf.bfloat16: 1.0, tf.float16: 0.5}
    monkeypatch.setattr("tfft.training.precision.time_product", seconds.get)
    assert choose_precision("auto") == "bfloat16"


def test_the_fastest_must_be_worth_its_digits():
    assert fastest({"float32": 1.0, "bfloat16": 0.9, "float16": 0.95}) == "float32"
    assert fastest({"float32": 1.0, "bfloat16": 0.9, "float16": 0.5}) == "float16"
    assert fastest({"float32": 1.0, "bfloat16": 0.8, "float16": 0.1}) == "bfloat16"


def test_the_first_product_is_not_timed():
    ticks = iter([0.0, 100.0, *(number * 10.0 + end for number in range(20, 25) for end in (0.0, number / 10))])
    assert 1.9 < time_product(tf.float32, clock=lambda: next(ticks)) < 2.1
