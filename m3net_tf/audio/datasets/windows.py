# SPDX-License-Identifier: Apache-2.0
"""Windows of clips that are longer than the delivered length.

Windows overlap by half. Those without sound are omitted: a pause between two barks is not an
example of a bark, and a classifier leaves it out of the scores of a whole clip, too.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.audio.datasets.audio import Audio, NoSamplesError, audio_chunks, header_of
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.dataset import READERS
from m3net_tf.audio.frontend.windows import (
    SILENCE_RMS,
    TAIL_S,
    counting,
    is_silent,
    window_starts,
)
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import map_ahead

ROUNDING_S = 0.005
DRAWS = 8
"""Positions that are drawn for a part with sound."""
_FIRST_SAMPLES = 4096


def length_s(clip: Clip) -> float:
    """Length of a clip's sound; 0 without a file or with a broken one, which reading reports."""
    if clip.path is None or clip.synthetic:
        return 0.0
    if clip.duration_s is not None:
        return clip.duration_s
    try:
        return float(header_of(clip.path).duration) - clip.start_s
    except (soundfile.LibsndfileError, RuntimeError):
        return 0.0


def silent_files(paths: Sequence[Path], log: Log = silent) -> set[Path]:
    """Files without samples, or whose averaged channels are zero; reading reports broken ones."""

    def is_zero(path: Path) -> bool:
        try:
            facts = path.stat()
        except OSError:
            return False
        return _is_zero(path, facts.st_size, facts.st_mtime_ns)

    with track(log, "starts of sounds", len(paths), "files") as task:
        zeros = set()
        for path, zero in zip(paths, map_ahead(is_zero, iter(paths), READERS), strict=True):
            if zero:
                zeros.add(path)
            task.advance()
    return zeros


@functools.lru_cache(1 << 17)
def _is_zero(path: Path, size_bytes: int, time_ns: int) -> bool:
    """Whether a file of this size and time is silent; folds load the same files again and again."""
    try:
        # Most files have sound at their start.
        chunks = itertools.chain(audio_chunks(path, most=_FIRST_SAMPLES), audio_chunks(path))
        return all(np.abs(chunk).max() < SILENCE_RMS for chunk in chunks)
    except DataError as error:
        return isinstance(error, NoSamplesError)


def levels_of(
    chunks: Iterable[Audio], starts: Sequence[int], window: int
) -> npt.NDArray[np.float64]:
    """Root mean square of windows of a sound that comes in chunks, shape (windows,)."""
    points = np.concatenate([starts, np.asarray(starts) + window])
    energy = np.zeros(len(points))  # of the sound before each point
    read, total = 0, 0.0
    for chunk in chunks:
        sums = np.cumsum(np.concatenate([[total], np.square(chunk, dtype=np.float64)]))
        inside = points >= read
        energy[inside] = sums[np.minimum(points[inside] - read, len(chunk))]
        read = read + len(chunk)
        total = sums[-1]
    power = (energy[len(starts) :] - energy[: len(starts)]) / window
    return np.asarray(np.sqrt(np.maximum(power, 0.0)))


def loudest_windows(clips: Sequence[Clip], load: Callable[[Clip], Audio]) -> tuple[Clip, ...]:
    """The clips with only the loudest of each longer clip's windows, which has its event."""
    best: dict[str, tuple[float, Clip]] = {}
    for clip in clips:
        level = float(np.square(load(clip), dtype=np.float64).mean()) if clip.whole else 0.0
        whole = clip.whole or clip.clip_id
        if whole not in best or level > best[whole][0]:
            best[whole] = level, clip
    return tuple(clip for _, clip in best.values())


def start_with_sound(audio: Audio, drawn: npt.NDArray[np.integer], window: int) -> int:
    """The first of some drawn starts whose window has sound; else the start of the loudest window.

    Args:
        audio: samples, shape (samples,), at least one window.
        drawn: first samples of windows, shape (draws,).
    """
    regular = window_starts(len(audio), window, 1)
    starts = [*drawn.tolist(), *regular]
    levels = levels_of([audio], starts, window)
    sounding = np.flatnonzero(~is_silent(levels)[: len(drawn)])
    return int(starts[sounding[0] if len(sounding) else levels.argmax()])


def in_windows(clips: Sequence[Clip], window_s: float, log: Log = silent) -> list[Clip]:
    """The clips; each one longer than ``window_s`` is replaced by its windows with sound.

    Of a clip without any sound, training omits all windows; validation and test keep them.

    Args:
        clips: clips with their splits. Clips whose files cannot be read stay as they are.
    """
    windows: list[Clip] = []
    with track(log, "windows of sounds", len(clips), "clips") as task:
        for of_clip in map_ahead(lambda clip: _windows(clip, window_s), iter(clips), READERS):
            windows += of_clip
            task.advance()
    return windows


def _windows(clip: Clip, window_s: float) -> list[Clip]:
    if clip.path is None or length_s(clip) <= window_s + ROUNDING_S:
        return [clip]
    rate_hz = header_of(clip.path).samplerate
    window = round(window_s * rate_hz)
    samples = int(length_s(clip) * rate_hz)
    starts = window_starts(samples, window, round(TAIL_S * rate_hz))
    kept = [True] * len(starts)
    with contextlib.suppress(DataError):  # reading the windows reports a broken file
        chunks = audio_chunks(clip.path, start_s=clip.start_s, duration_s=clip.duration_s)
        levels = levels_of(chunks, starts, window)
        kept = list(~is_silent(levels) if clip.split == "train" else counting(levels))
    return [
        dataclasses.replace(
            clip,
            clip_id=f"{clip.clip_id}@{start / rate_hz:.3f}s",
            whole=clip.clip_id,
            start_s=clip.start_s + start / rate_hz,
            duration_s=window_s,
        )
        for start, keep in zip(starts, kept, strict=True)
        if keep
    ]
