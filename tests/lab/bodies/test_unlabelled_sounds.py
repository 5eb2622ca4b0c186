# SPDX-License-Identifier: Apache-2.0
"""Unlabelled sound: patches, sources, and mixtures of them."""

import shutil

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets.audio import from_pcm16
from m3net_tf.lab.bodies.kinds import kinds_of, shares_of
from m3net_tf.lab.bodies.mixing import Mixer
from m3net_tf.lab.bodies.sounds import PATCH_SAMPLES, read_sources
from m3net_tf.system.errors import DataError

pytestmark = pytest.mark.usefixtures("private_cache")


def by_name(sources):
    return {each.name: each for part in sources.splits.values() for each in part}


def test_each_subfolder_is_a_source_and_some_are_held_out(sounds, tmp_path):
    log: list[str] = []
    sources = read_sources([sounds], 1, log.append)
    assert {split: len(part) for split, part in sources.splits.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    found = by_name(sources)
    assert sorted(found) == ["birds", "cars", "rain", "voices"]
    for source in found.values():
        assert source.patches.shape == (4, PATCH_SAMPLES)  # three of the tone, one of the noise
        assert source.patches.dtype == np.int16
    assert any("rain: 1 file left out" in line for line in log)
    copy = by_name(read_sources([shutil.copytree(sounds, tmp_path / "copy")], 1, log.append))
    for name, source in found.items():
        np.testing.assert_array_equal(source.patches, copy[name].patches)


@pytest.mark.slow
def test_rare_kinds_are_drawn_more_often(sounds, teacher):
    sources = read_sources([sounds], 0, str).splits["train"]
    kinds = kinds_of(sources, teacher, str)
    assert [each.shape for each in kinds] == [(4,), (4,)]
    for first, again in zip(kinds, kinds_of(sources, teacher, str), strict=True):
        np.testing.assert_array_equal(first, again)
    many, rare = np.zeros(900, np.int16), np.array([7, 0], np.int16)
    shares = shares_of([many, rare])
    assert shares.sum() == pytest.approx(1) and len(shares) == 902
    assert shares[900] > 20 * shares[0] and shares[901] > shares[0]


def test_a_patch_is_drawn_as_often_as_its_share_says(sounds):
    sources = read_sources([sounds], 0, str).splits["train"]
    shares = np.zeros(8)
    shares[[1, 6]] = 0.25, 0.75
    mixer = Mixer(sources, shares)
    plain = np.random.default_rng(0)
    drawn = [mixer.patch(plain) for _ in range(200)]
    expected = [from_pcm16(sources[0].patches[1]), from_pcm16(sources[1].patches[2])]
    counts = [sum(np.array_equal(each, one) for each in drawn) for one in expected]
    assert sum(counts) == 200 and counts[1] == pytest.approx(150, abs=25)


def test_too_few_sources_and_no_folder(sounds, tmp_path):
    with refuses(DataError, "2 folders with sound", "3 are needed"):
        read_sources([sounds / "rain"], 0, str)
    with refuses(DataError, "--sounds", "nowhere"):
        read_sources([tmp_path / "nowhere"], 0, str)


def test_equal_generators_give_equal_mixtures_of_many_levels(sounds):
    sources = read_sources([sounds], 0, str).splits["train"]
    mixer = Mixer(sources, np.full(8, 1 / 8))
    waves = [mixer.draw(np.random.default_rng([0, index])) for index in range(40)]
    assert {wave.shape for wave in waves} == {(PATCH_SAMPLES,)}
    assert {wave.dtype for wave in waves} == {np.dtype(np.float32)}
    levels_db = 20 * np.log10([wave.std() for wave in waves])
    assert levels_db.min() > -46 and levels_db.max() < -10 and np.ptp(levels_db) > 20
    again = mixer.draw(np.random.default_rng([0, 7]))
    np.testing.assert_array_equal(again, waves[7])
    assert len({wave.tobytes() for wave in waves}) == 40
