# SPDX-License-Identifier: Apache-2.0
"""Reading ``metrics.json``: values with types, and errors that name file and key."""

from pathlib import Path

import pytest

from m3net_tf.system.errors import ModelError
from m3net_tf.training.run_metrics import RunMetrics

PATH = Path("runs/mine/metrics.json")
VALUES = {
    "dataset": {"name": "synth", "labels": ["a", "b"], "protocol": "generated-split"},
    "parameters": 12,
    "macs": 34,
    "validation": {"accuracy": 0.5},
    "test": {"accuracy": 0.25},
}


def test_values_and_all_that_is_recorded():
    metrics = RunMetrics.from_dict(VALUES, PATH)
    assert (metrics.parameters, metrics.macs) == (12, 34)
    assert metrics.dataset.labels == ("a", "b") and metrics.dataset.clip_list_sha256 == {}
    assert metrics.test["accuracy"] == 0.25 and metrics.values == VALUES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"metrics\.json: content is \[\].*delete runs/mine"),
        ({**VALUES, "dataset": {"name": "synth"}}, r"metrics\.json: key 'labels' is miss"),
        ({**VALUES, "macs": "many"}, r"metrics\.json: macs is 'many': .*restore it"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(values, message):
    with pytest.raises(ModelError, match=message) as caught:
        RunMetrics.from_dict(values, PATH)
    assert "\n" not in str(caught.value)
