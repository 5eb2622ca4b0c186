# SPDX-License-Identifier: Apache-2.0
"""Scenes: reproducible, with the truth that they were mixed from."""

import dataclasses
import itertools

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import AudioDataset, Clip, load_dataset
from m3net_tf.audio.datasets.loudness import active_part_s
from m3net_tf.evaluation.scenes import Scene, SceneSettings, make_scenes
from m3net_tf.system.errors import ConfigError, DataError

RATE_HZ = 16_000
SETTINGS = SceneSettings(hours=4 * 20 / 3600, scene_s=20.0, seed=5)


@pytest.fixture(scope="module")
def dataset() -> AudioDataset:
    return load_dataset("synth", clips_per_class=12)


def beeps(labels: tuple[str, ...], dataset: AudioDataset) -> AudioDataset:
    """A data set of half a second of tone in the middle of a second of nothing."""
    info = dataclasses.replace(dataset.info, labels=labels)
    clips = tuple(
        Clip(f"{split}/{label}/{i}", label, split, f"{split}{label}{i}")
        for split in ("train", "validation", "test")
        for label in labels
        for i in range(3)
    )
    time_s = np.arange(RATE_HZ) / RATE_HZ
    shape = (time_s >= 0.25) & (time_s < 0.75)

    def make(clip: Clip) -> np.ndarray:
        tone_hz = 400 + 300 * labels.index(clip.label)
        return (0.25 * shape * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.float32)

    return AudioDataset(info, clips, make)


def test_same_seed_same_bytes_and_another_seed_or_split_others(dataset):
    events = frozenset(dataset.info.labels)

    def mix(split: str, seed: int) -> tuple[bytes, tuple]:
        settings = dataclasses.replace(SETTINGS, seed=seed)
        scenes = list(make_scenes(dataset, split, events, settings))
        return b"".join(s.pcm.tobytes() for s in scenes), tuple(s.events for s in scenes)

    first = mix("validation", 5)
    assert mix("validation", 5) == first
    assert mix("validation", 6)[0] != first[0]
    assert mix("test", 5)[0] != first[0]


def test_length_gaps_and_even_classes(dataset):
    scenes = list(make_scenes(dataset, "test", frozenset(dataset.info.labels), SETTINGS))
    assert SETTINGS.count == len(scenes) == 4
    assert SETTINGS.total_hours == pytest.approx(80 / 3600)
    truth = [event for scene in scenes for event in scene.events]
    assert {scene.pcm.shape for scene in scenes} == {(20 * RATE_HZ,)}
    assert {scene.pcm.dtype for scene in scenes} == {np.dtype(np.int16)}
    assert len(truth) >= 8
    for before, after in itertools.pairwise(truth):
        assert before.start_s < before.end_s
        assert before.end_s + SETTINGS.gap_s[0] <= after.start_s
    counts = np.bincount([event.label for event in truth], minlength=10)
    assert counts.max() - counts.min() <= 1


def heard_samples(scene: Scene, index: int) -> np.ndarray:
    """Where a scene of 20 s has a clip's sound, by its truth."""
    audible = np.zeros(len(scene.pcm), bool)
    for event in scene.events:
        first, last = (round((t - 20 * index) * RATE_HZ) for t in (event.start_s, event.end_s))
        audible[first:last] = True
    return audible


def test_truth_stands_where_the_sound_is(dataset):
    made = beeps(("low", "high"), dataset)
    settings = dataclasses.replace(SETTINGS, quiet_share=1.0)
    for index, scene in enumerate(make_scenes(made, "test", frozenset({"low", "high"}), settings)):
        power = np.square(scene.pcm.astype(float))
        audible = heard_samples(scene, index)
        for event in scene.events:
            assert event.end_s - event.start_s == pytest.approx(0.5, abs=0.041)
            first, last = (round((t - 20 * index) * RATE_HZ) for t in (event.start_s, event.end_s))
            tone = np.abs(np.fft.rfft(scene.pcm[first + 640 : last - 640]))
            peak_hz = tone.argmax() * RATE_HZ / (last - first - 1280)
            assert peak_hz == pytest.approx(400 + 300 * event.label, abs=5)
        assert power[audible].mean() > 1e4 * power[~audible].mean()


def test_background_has_the_requested_ratio(dataset):
    made = beeps(("low", "high"), dataset)
    settings = dataclasses.replace(
        SETTINGS, quiet_share=0.0, snr_db=(10.0, 10.0), gain_db=(0.0, 0.0)
    )
    scenes = make_scenes(made, "test", frozenset({"low", "high"}), settings)
    for index, scene in enumerate(scenes):
        power = np.square(scene.pcm / 32768)
        audible = heard_samples(scene, index)
        tone_db = 10 * np.log10(0.25**2 / 2)
        assert tone_db - 10 * np.log10(power[~audible].mean()) == pytest.approx(10, abs=0.5)
        assert 10 * np.log10(power[audible].mean()) == pytest.approx(tone_db + 0.4, abs=0.4)


def test_other_sounds_are_between_and_silence_is_background(dataset):
    labels = ("_silence_", "_unknown_", "yes", "no")
    made = beeps(labels, dataset)
    scenes = list(make_scenes(made, "validation", frozenset({"yes", "no"}), SETTINGS))
    seen = {labels[event.label] for scene in scenes for event in scene.events}
    assert seen == {"_unknown_", "yes", "no"}
    none = dataclasses.replace(SETTINGS, other_share=0.0)
    scenes = list(make_scenes(made, "validation", frozenset({"yes", "no"}), none))
    assert {labels[event.label] for scene in scenes for event in scene.events} == {"yes", "no"}
    # The silence clips are the background: their tone is always audible.
    tone = np.abs(np.fft.rfft(scenes[0].pcm[:RATE_HZ].astype(float)))
    assert abs(int(tone.argmax()) - 400) <= 4


def test_active_part():
    sound = np.zeros(RATE_HZ, np.float32)
    sound[4000:8000] = 0.5
    sound[12_000:12_320] = 0.04  # 22 dB below: not part of it
    assert active_part_s(sound, RATE_HZ) == pytest.approx((0.24, 0.5), abs=0.021)
    assert active_part_s(np.zeros(500, np.float32), RATE_HZ) == (0.0, 500 / RATE_HZ)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": 0}, "scenes.hours is 0"),
        ({"hours": float("nan")}, "scenes.hours is nan"),
        ({"scene_s": 601}, "scenes.scene_s is 601"),
        ({"gap_s": (-1, 2)}, r"scenes.gap_s is \(-1, 2\)"),
        ({"snr_db": (9, 3)}, r"scenes.snr_db is \(9, 3\)"),
        ({"quiet_share": 1.5}, "scenes.quiet_share is 1.5: .* at most 1"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_what_cannot_be_mixed(dataset):
    with pytest.raises(DataError, match="no test clip of a class with events"):
        next(make_scenes(dataset, "test", frozenset(), SETTINGS))
    long = dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, clip_s=30.0))
    with refuses(DataError, "30", "scenes.scene_s"):
        next(make_scenes(long, "test", frozenset({"siren"}), SETTINGS))
