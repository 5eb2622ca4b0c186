# SPDX-License-Identifier: Apache-2.0
"""Long recordings with known events, mixed from held-out clips and noise.

A scene is about a minute of background with clips at random intervals. Classes with events occur
equally often. Clips of other classes (unknown words) are mixed in and must not trigger events.
Equal seeds give equal bytes.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from m3net_tf.audio.datasets import AudioDataset, Clip, to_pcm16
from m3net_tf.audio.datasets.loudness import active_part_s, at_level, decibels, loud_power
from m3net_tf.audio.datasets.noise import coloured_noise
from m3net_tf.audio.datasets.windows import loudest_windows
from m3net_tf.audio.labels import is_silence
from m3net_tf.system.conversion import Share, check_values
from m3net_tf.system.errors import ConfigError, DataError

Audio = npt.NDArray[np.float32]
Rng = np.random.Generator

_LEVEL_CLIPS = 64  # clips for the median level, to which the background is relative
_SILENT_DB = -90.0
_FADE_S = 0.05  # cross-fade between excerpts of background


@dataclasses.dataclass(frozen=True)
class SceneSettings:
    """Settings of the scenes.

    Attributes:
        hours: total length of all scenes, rounded up to whole scenes.
        scene_s: length of a scene; each has its own background and level.
        gap_s: shortest and longest time from one clip to the next.
        snr_db: lowest and highest median level of a scene's clips relative to its background.
        gain_db: lowest and highest gain of a clip.
        quiet_share: share of the scenes with almost no background (-90 dBFS).
        other_share: share of clips without an event, if the data set has such.

    Raises:
        ConfigError: a value is out of range.
    """

    hours: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    scene_s: Annotated[float, Meta(gt=1, le=600)] = 60.0
    gap_s: tuple[float, float] = (1.0, 8.0)
    snr_db: tuple[float, float] = (5.0, 25.0)
    gain_db: tuple[float, float] = (-6.0, 6.0)
    quiet_share: Share = 0.2
    other_share: Share = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_values(self, "scenes")
        for name, limit in (("gap_s", 600.0), ("snr_db", 100.0), ("gain_db", 100.0)):
            low, high = getattr(self, name)
            if not (0.0 if name == "gap_s" else -limit) <= low <= high <= limit:
                raise ConfigError(
                    f"scenes.{name} is {(low, high)}: give its lower and upper limit, up to "
                    f"{limit:g}"
                )

    @property
    def count(self) -> int:
        """Number of scenes."""
        return math.ceil(self.hours * 3600 / self.scene_s - 1e-9)

    @property
    def total_hours(self) -> float:
        """Length of all scenes."""
        return self.count * self.scene_s / 3600


@dataclasses.dataclass(frozen=True, slots=True)
class TrueEvent:
    """One clip in a scene.

    Attributes:
        start_s: start of its sound, from the start of the first scene.
        end_s: end of its sound, from the start of the first scene.
    """

    label: int
    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """A part of a long recording.

    Attributes:
        pcm: int16 samples, shape (samples,).
        events: its clips in order of time, including those without an event; of a clip with several
            labels one for each.
    """

    pcm: npt.NDArray[np.int16]
    events: tuple[TrueEvent, ...]


def make_scenes(
    dataset: AudioDataset, split: str, events: frozenset[str], settings: SceneSettings
) -> Iterator[Scene]:
    """Mix scenes that form one continuous recording.

    Args:
        dataset: data set of the clips and the background: the split's silence clips, or else the
            data set's noise, or else synthetic noise.
        split: ``validation`` or ``test``.

    Raises:
        DataError: the split has no clip of an event, or its clips are longer than a scene.
    """
    clips = loudest_windows(dataset.split(split), dataset.load)
    quiet = [clip for clip in clips if all(map(is_silence, clip.all_labels))]
    event_clips = [clip for clip in clips if events.intersection(clip.all_labels)]
    others = [c for c in clips if not events.intersection(c.all_labels) and c not in quiet]
    if not event_clips:
        raise DataError(
            f"{dataset.info.name} has no {split} clip of a class with events: choose "
            "another split, protocol or fold"
        )
    if dataset.info.clip_s > settings.scene_s:
        raise DataError(
            f"clips of {dataset.info.name} last {dataset.info.clip_s:g} s: give a longer "
            "scenes.scene_s"
        )
    rng = np.random.default_rng([settings.seed, ("validation", "test", "train").index(split)])
    rate_hz = dataset.info.sample_rate_hz
    background = _background(rng, dataset, tuple(quiet) or dataset.noise)
    median_db = _median_level_db(dataset, [*event_clips, *others])
    next_event, next_other = _evenly(rng, event_clips, events), _evenly(rng, others)
    labels = {label: i for i, label in enumerate(dataset.info.labels)}
    samples = round(settings.scene_s * rate_hz)
    for index in range(settings.count):
        is_quiet = rng.random() < settings.quiet_share
        level_db = _SILENT_DB if is_quiet else median_db - rng.uniform(*settings.snr_db)
        mix = at_level(background(samples), level_db).astype(np.float64)
        true_events = []
        at = round(rng.uniform(*settings.gap_s) * rate_hz)
        while at + dataset.info.clip_samples <= samples:
            is_other = bool(others) and rng.random() < settings.other_share
            clip = next(next_other if is_other else next_event)
            sound = dataset.load(clip)
            mix[at : at + len(sound)] += sound * 10 ** (rng.uniform(*settings.gain_db) / 20)
            start_s = index * settings.scene_s + at / rate_hz
            first_s, last_s = active_part_s(sound, rate_hz)
            true_events += [
                TrueEvent(labels[label], start_s + first_s, start_s + last_s)
                for label in clip.all_labels
            ]
            at += len(sound) + round(rng.uniform(*settings.gap_s) * rate_hz)
        yield Scene(to_pcm16(mix), tuple(true_events))


def _median_level_db(dataset: AudioDataset, clips: list[Clip]) -> float:
    """Median over clips of the level of their loudest third, in dBFS."""
    indices = np.linspace(0, len(clips) - 1, min(len(clips), _LEVEL_CLIPS)).astype(int)
    rate_hz = dataset.info.sample_rate_hz
    powers = [loud_power(dataset.load(clips[i]), rate_hz) for i in indices]
    return decibels(float(np.median(powers)))


def _evenly(rng: Rng, clips: list[Clip], events: frozenset[str] | None = None) -> Iterator[Clip]:
    """Endless clips: classes in turn, each class's clips in random order.

    Args:
        events: the classes to take; None takes all.
    """
    by_label: dict[str, list[Clip]] = {}
    for clip in clips:
        for label in clip.all_labels:
            if events is None or label in events:
                by_label.setdefault(label, []).append(clip)
    remaining: dict[str, list[Clip]] = {label: [] for label in by_label}
    while by_label:
        for label in rng.permutation(sorted(by_label)).tolist():
            if not remaining[label]:
                members = by_label[label]
                remaining[label] = [members[i] for i in rng.permutation(len(members))]
            yield remaining[label].pop()


def _background(rng: Rng, dataset: AudioDataset, clips: tuple[Clip, ...]) -> Callable[[int], Audio]:
    """A function that creates background of some samples from a recording's clips or noise."""
    if not clips:
        return functools.partial(coloured_noise, rng)
    by_group: dict[str, list[Clip]] = {}
    for clip in clips:
        by_group.setdefault(clip.group, []).append(clip)
    groups = [by_group[name] for name in sorted(by_group)]

    def joined(samples: int) -> Audio:
        group = groups[int(rng.integers(len(groups)))]
        mix = np.zeros(samples, np.float32)
        at = 0
        while at < samples:
            excerpt = at_level(dataset.read(group[int(rng.integers(len(group)))]), 0.0)
            fade = min(round(_FADE_S * dataset.info.sample_rate_hz), len(excerpt) // 2)
            ramp = np.sqrt(np.arange(1, fade + 1, dtype=np.float32) / (fade + 1))
            excerpt = excerpt.copy()
            excerpt[:fade] *= ramp
            excerpt[len(excerpt) - fade :] *= ramp[::-1]
            mix[at : at + len(excerpt)] += excerpt[: samples - at]
            at += len(excerpt) - fade
        return mix

    return joined
