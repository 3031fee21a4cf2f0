import json
import re

import pytest

from tfft.errors import UsageError
from tfft.training.cluster import Cluster, expand_counts, expand_nodes, read_cluster

SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NODELIST": "gpu[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def tf_config(cluster, kind="worker", index=0):
    return {
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})
    }


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TF_CONFIG": ""}, None),
        ({"TF_CONFIG": "{}"}, None),
        (tf_config({"worker": ["a:1"]}), None),
        (tf_config({"chief": ["a:1"]}, "chief"), None),
        (tf_config({"worker": ["a:1", "b:1"]}, index=1), Cluster(("a:1", "b:1"), 1)),
        (tf_config({"worker": ["b:1", "c:1"], "chief": ["a:1"]}, index=1), Cluster(("a:1", "b:1", "c:1"), 2)),
        (tf_config({"worker": ["b:1"], "chief": ["a:1"]}, "chief"), Cluster(("a:1", "b:1"), 0)),
        (tf_config({"worker": ["b:1"], "master": ["a:1"]}, index="0"), Cluster(("a:1", "b:1"), 1)),
        (tf_config({"worker": ["a:1", "b:1"], "ps": ["p:1"]}), Cluster(("a:1", "b:1"), 0)),
        ({**tf_config({"worker": ["a:1"]}), **SLURM}, None),
        (SLURM, Cluster(("gpu9:23456", "gpu9:23457", "gpu10:23456", "gpu10:23457"), 2)),
        ({**SLURM, "SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "1"}, None),
        # As in a batch script outside of srun.
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_NODELIST": "n[1-4]"}, None),
    ],
)
def test_the_environment_says_who_trains_together(environment, expected):
    assert read_cluster(environment) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("n1", ["n1"]),
        ("n1,m2", ["n1", "m2"]),
        ("gpu[01-03,7],login", ["gpu01", "gpu02", "gpu03", "gpu7", "login"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("rack[1-2]-n[01,03].site", ["rack1-n01.site", "rack1-n03.site", "rack2-n01.site", "rack2-n03.site"]),
    ],
)
def test_nodes_are_listed_in_slurms_order(names, expected):
    assert expand_nodes(names) == expected


def test_counts_are_listed():
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {"worker": 1}}', '{"task": {"index": "first"}}'])
def test_a_broken_tf_config_is_one_line(text):
    told = re.escape(f"Received: TF_CONFIG={text!r}. Mend it, or leave it out.")
    with pytest.raises(UsageError, match=f"^TF_CONFIG cannot be read. Expected .*{told}$"):
        read_cluster({"TF_CONFIG": text})


@pytest.mark.parametrize(("kind", "index"), [("ps", 0), ("evaluator", 0), ("worker", 2)])
def test_who_has_no_part_in_the_training_is_told(kind, index):
    cluster = {"worker": ["a:1", "b:1"], "ps": ["p:1"]}
    with pytest.raises(UsageError, match=f"no part in the training.*Received: type='{kind}' index={index}"):
        read_cluster(tf_config(cluster, kind, index))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_STEP_TASKS_PER_NODE", "many"),
        ("SLURM_STEP_TASKS_PER_NODE", "2"),
        ("SLURM_STEP_NODELIST", "n[a-b]"),
        ("SLURM_PROCID", "first"),
        ("SLURM_JOB_ID", None),
    ],
)
def test_what_slurm_says_badly_is_one_line(name, value):
    environment = {key: text for key, text in {**SLURM, name: value}.items() if text is not None}
    with pytest.raises(UsageError, match=r"^What Slurm says of this step cannot be read: .*Start tfft with srun"):
        read_cluster(environment)
