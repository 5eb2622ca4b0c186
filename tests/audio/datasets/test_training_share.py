# SPDX-License-Identifier: Apache-2.0
"""A share of a data set's training clips."""

from collections import Counter

import pytest

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.selection import with_training_share
from m3net_tf.training.run import load_section
from m3net_tf.training.sections import DatasetSection


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("synth", None, clips_per_class=20)


def test_each_class_keeps_its_share_of_training_clips(dataset):
    counts, half = dataset.counts(), with_training_share(dataset, 0.5).counts()
    assert half["train"] == {label: round(n / 2) for label, n in counts["train"].items()}
    assert half["validation"] == counts["validation"]
    assert half["test"] == counts["test"]


def test_a_smaller_share_is_a_part_of_a_larger_one(dataset):
    quarter, half = (with_training_share(dataset, share).split("train") for share in (0.25, 0.5))
    assert set(quarter) < set(half) < set(dataset.split("train"))


def test_a_share_below_one_clip_keeps_one(dataset):
    kept = with_training_share(dataset, 1e-6).split("train")
    assert set(Counter(clip.label for clip in kept).values()) == {1}


def test_another_seed_draws_other_clips(dataset):
    first, second = (with_training_share(dataset, 0.5, seed).split("train") for seed in (0, 1))
    assert set(first) != set(second)


def test_a_recipe_takes_its_share():
    section = DatasetSection("synth", options={"clips_per_class": 20}, training_share=0.5)
    everything = load_section(DatasetSection("synth", options={"clips_per_class": 20}), None)
    assert load_section(section, None).clips == with_training_share(everything, 0.5).clips
