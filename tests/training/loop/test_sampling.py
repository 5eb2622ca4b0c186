# SPDX-License-Identifier: Apache-2.0
"""Class re-balancing: the share of each class in an epoch's clips."""

import numpy as np
import pytest

from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loop.batches import (
    TrainingClips,
    balanced_shares,
    epoch_order,
    stored_batches,
)

COUNTS = (800, 150, 50)
LABELS = np.repeat(np.arange(3), COUNTS).astype(np.int32)


@pytest.fixture
def clips() -> FeatureSet:
    features = LABELS[None, :, None, None].astype(np.int8)  # a map holds its class
    return FeatureSet((), LABELS, features)


def test_uniform_sampling_takes_each_clip_once(clips):
    order = epoch_order(clips, "uniform", np.random.default_rng(3))
    np.testing.assert_array_equal(order, np.random.default_rng(3).permutation(1000))


def test_balanced_sampling_draws_all_classes_equally(clips):
    rng = np.random.default_rng(0)
    drawn = [LABELS[epoch_order(clips, "balanced", rng)] for _ in range(20)]
    assert all(len(epoch) == 1000 for epoch in drawn)
    shares = np.bincount(np.concatenate(drawn)) / 20_000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.012)  # three standard deviations


def test_balanced_batches(clips):
    batches = list(
        stored_batches(TrainingClips(clips, sampling="balanced"), 50, np.random.default_rng(0))
    )
    labels = np.concatenate([batch["labels"].numpy() for batch in batches])
    assert len(batches) == 20
    np.testing.assert_allclose(np.bincount(labels) / 1000, 1 / 3, atol=0.05)
    maps = np.concatenate([batch["features"].numpy().ravel() for batch in batches])
    np.testing.assert_array_equal(maps, labels)


def test_several_labels_add_their_weights():
    matrix = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], np.uint8)
    shares = balanced_shares(np.zeros(4, np.int32), matrix)
    weights = np.array([1 / 3, 1 / 3, 1 / 3 + 1, 0])
    np.testing.assert_allclose(shares, weights / weights.sum())
