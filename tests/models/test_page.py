import numpy as np
import pytest
import tensorflow as tf

from tfft.models.page import lay_out, loop_shapes, pad_left


@tf.function(input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)])
def pad_in_a_graph(prompts):
    return pad_left(prompts, 9)


@pytest.mark.parametrize("pad", [lambda prompts: pad_left(prompts, 9), pad_in_a_graph], ids=["eager", "graph"])
def test_prompts_end_in_one_slot(pad):
    ids, mask = pad(tf.ragged.constant([[1, 2, 3], [], [4], [5, 9]], tf.int32))
    assert ids.numpy().tolist() == [[1, 2, 3], [9, 9, 9], [9, 9, 4], [9, 5, 9]]
    assert mask.numpy().tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 1], [0, 1, 1]]
    # There is always a slot.
    ids, mask = pad(tf.ragged.constant([[], []], tf.int32, ragged_rank=1))
    assert (ids.numpy().tolist(), mask.numpy().tolist()) == ([[9], [9]], [[0], [0]])
    assert pad(tf.ragged.constant([], tf.int32, ragged_rank=1))[0].shape == (0, 1)


@pytest.fixture
def page():
    ids, mask = pad_left(tf.ragged.constant([[1, 2, 3], [4]], tf.int32), 0)
    return lay_out(ids, mask, max_new_tokens=4, n_positions=5)


def test_a_page_knows_its_slots(page):
    assert (int(page.prompt_slots), int(page.new_slots)) == (3, 4)
    assert page.prompt_lengths.numpy().tolist() == [3, 1]


def test_a_row_has_room_to_the_end_of_the_context(page):
    assert page.limits.numpy().tolist() == [2, 4]


def test_more_tokens_than_the_context_holds_have_no_slots():
    page = lay_out(*pad_left(tf.ragged.constant([[1, 2, 3], [4]], tf.int32), 0), 2**31 - 1, n_positions=5)
    assert int(page.new_slots) == 5
    assert page.limits.numpy().tolist() == [2, 4]


@pytest.mark.parametrize("num_new", [0, 1, 4])
def test_generated_tokens_fill_the_slots_behind_the_prompt(page, num_new):
    new = [1] * num_new + [0] * (4 - num_new)
    assert page.filled(tf.constant(num_new)).numpy().astype(int).tolist() == [[1, 1, 1, *new], [0, 0, 1, *new]]


def test_loop_shapes_leave_the_rows_open():
    shapes = loop_shapes((tf.constant(1), {"ids": tf.zeros([1, 3])}, tf.constant(np.zeros((1, 2, 5)))))
    assert [shape.as_list() for shape in tf.nest.flatten(shapes)] == [[], [None, 3], [None, 2, 5]]
