import pytest

from tfft.config import FinetuneConfig
from tfft.models.gpt2 import build_model
from tfft.training.memory import (
    ACTIVATIONS_ON_CPU,
    GIB,
    MemoryEstimate,
    advise,
    choose_micro_batch_size,
    estimate_memory,
    free_memory,
    free_memory_of_machine,
)


@pytest.fixture(scope="module")
def model(make_config):
    return build_model("language-model", make_config())


@pytest.mark.parametrize(
    ("free", "num_rows", "size"),
    [(100, 32, 32), (40, 32, 11), (21, 32, 4), (12, 32, 1), (0, 32, 1), (35, 6, 6), (21, 6, 3)],
)
def test_the_most_rows_that_fit_are_chosen_in_equal_parts(free, num_rows, size):
    assert choose_micro_batch_size(MemoryEstimate(10 * GIB, 2 * GIB), num_rows, free * GIB, on_cpu=False) == size


def test_a_cpu_takes_no_more_than_makes_it_faster():
    estimate = MemoryEstimate(GIB, ACTIVATIONS_ON_CPU / 4)
    assert choose_micro_batch_size(estimate, 32, 1000 * GIB, on_cpu=True) == 4
    assert choose_micro_batch_size(estimate, 32, float("inf"), on_cpu=False) == 32


def test_an_estimate_grows_with_what_takes_memory(model):
    def total(width=32, rows=4, **settings):
        return estimate_memory(model, FinetuneConfig(**settings), width).total(rows)

    assert total(rows=8) > total() > total(recompute=True)
    assert total(width=64) > 2 * total() - total(rows=0)
    assert total() > total(precision="bfloat16")
    assert total(average_decay=0.9) > total() > total(optimizer="sgd") > total(optimizer="adafactor")


def test_what_would_take_less_is_told_with_numbers(model):
    told = advise(model, FinetuneConfig(), 32)
    assert "One row of 32 tokens takes 0.7 GiB by estimate. Pass --recompute 0.7, --sequence-length 16 0.7" in told
    assert "--recompute" not in advise(model, FinetuneConfig(recompute=True), 32)
    assert "--precision" not in advise(model, FinetuneConfig(precision="bfloat16"), 32)


def test_the_device_of_the_tests_has_memory_left():
    free, _ = free_memory()
    assert 0 < free < 2**50


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return root


MEMINFO = {"proc/meminfo": "MemTotal:  9 kB\nMemAvailable:    4096 kB\n"}
V1 = "sys/fs/cgroup/memory/memory."


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, float("inf")),
        (MEMINFO, 4096 * 1024),
        (MEMINFO | {"sys/fs/cgroup/memory.max": "5000\n", "sys/fs/cgroup/memory.current": "3000\n"}, 2000),
        (MEMINFO | {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "3000\n"}, 4096 * 1024),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/job/one\n",
                "sys/fs/cgroup/job/one/memory.max": "5000",
                "sys/fs/cgroup/job/one/memory.current": "4500",
                "sys/fs/cgroup/job/one/memory.stat": "anon 4200\ninactive_file 300\n",
            },
            800,
        ),
        (MEMINFO | {V1 + "limit_in_bytes": "6000", V1 + "usage_in_bytes": "1000"}, 5000),
        (MEMINFO | {V1 + "limit_in_bytes": str(2**63 - 4096), V1 + "usage_in_bytes": "1000"}, 4096 * 1024),
    ],
)
def test_the_smallest_limit_of_machine_and_control_groups_counts(tmp_path, files, expected):
    assert free_memory_of_machine(write(tmp_path, files)) == expected
