# SPDX-License-Identifier: Apache-2.0
"""Features of a data set's clips: computed once, in parallel, and kept.

Each feature map has a key of its own (see :func:`row_keys`), made of what its clip sounds like and
of the front end, so that runs, splits and folds share what they have in common. Varied copies are
keyed by the settings and the seed of their variation as well; nothing that changes a waveform can
meet a map of another one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.datasets import AudioDataset, Clip
from m3net_tf.datasets.audio import fit_length, header_of
from m3net_tf.errors import DataError
from m3net_tf.frontend import FrontendConfig, graph
from m3net_tf.frontend.store import (
    KEY_BYTES,
    FeatureRows,
    RowStore,
    RowWriter,
    content_hashes,
)
from m3net_tf.progress import Log, silent
from m3net_tf.training.augmentation import cut_at_random, vary_waveform
from m3net_tf.training.checks import input_shape
from m3net_tf.training.rooms import read_rooms, room_paths
from m3net_tf.training.sections import AugmentationSection

_T = TypeVar("_T")
_R = TypeVar("_R")
WORKERS = os.cpu_count() or 1
_IN_GRAPH = ("time_", "frequency_", "mixup_", "cutmix_", "between_class_", "fresh")
_LAYOUT = 1  # counts up when the same settings come to mean other features
_TASK_WAVES = 128
_TASK_SAMPLES = 2**22
_SHORT_SAMPLES = 2**15


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of one split.

    Attributes:
        clips: the clips, in order.
        labels: class indices, shape (clips,); of several labels the first.
        features: int8, shape (copies, clips, bins, frames); copy 0 is the clean clip. They stay
            on disk and are read where they are indexed.
        matrix: 1 where a clip has a class, else 0, shape (clips, classes); None where each has
            one label.
        lengths: frames of the clips' own, before zeros lengthen them, shape (2, clips): as
            recorded, and the most that an augmented copy has. None = all, see :func:`with_lengths`.
    """

    clips: tuple[Clip, ...]
    labels: npt.NDArray[np.int32]
    features: FeatureRows | npt.NDArray[np.int8]
    matrix: npt.NDArray[np.uint8] | None = None
    lengths: npt.NDArray[np.int32] | None = None

    @property
    def clean(self) -> npt.NDArray[np.int8]:
        """Features of the clips as recorded, shape (clips, bins, frames, 1)."""
        return self.features[0][..., None]


def compute_features(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
    seed: int = 0,
    log: Log = silent,
) -> FeatureSet:
    """Features of a split, from the cache where the same ones were computed before.

    Args:
        dataset: where the clips come from.
        split: ``train``, ``validation`` or ``test``.
        config: front-end settings.
        augmentation: adds ``copies`` augmented copies of each clip.
        seed: seed of that variation; each copy of each clip has a stream of its own.
        log: takes lines of progress.

    Returns:
        The features, (copies + 1) of each clip.

    Raises:
        DataError: the split is empty or a clip cannot be read.
        ConfigError: data set and front end do not fit together.
    """
    bins, frames, _ = input_shape(dataset.info, config)
    clips = dataset.split(split)
    if not clips:
        raise DataError(
            f"{dataset.info.name} has no {split} clips under protocol {dataset.info.protocol}: "
            "choose another protocol or fold, or complete the copy"
        )
    copies = augmentation.copies if augmentation else 0
    keys = row_keys(dataset, split, config, augmentation, seed)
    name = hashlib.sha256(f"{_LAYOUT} {config.fingerprint()} {frames}".encode()).hexdigest()[:16]
    store = RowStore(name, (bins, frames))
    rows = store.rows(keys)
    if rows is None:
        with store.writing(log) as writer:
            missing = store.missing(key for copy in keys for key in copy)
            if missing:  # another process may have made them while this one waited
                log(f"features of {len(clips)} {split} clips, {copies} augmented copies each")
                _fill(writer, dataset, clips, keys, missing, config, augmentation, seed, log)
        rows = store.rows(keys)
    if rows is None:
        raise DataError(f"{store.folder} loses what is written to it: check that disk")
    index = {label: i for i, label in enumerate(dataset.info.labels)}
    labels = np.array([index[clip.label] for clip in clips], np.int32)
    several = dataset.info.multi_label
    matrix = dataset.label_matrix(clips).astype(np.uint8) if several else None
    return FeatureSet(clips, labels, rows, matrix)


def with_lengths(
    features: FeatureSet,
    dataset: AudioDataset,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
) -> FeatureSet:
    """The same features with each clip's own number of frames, for networks that take it.

    Args:
        features: features of some clips of the data set.
        dataset: where they come from; only its rule ``pad`` puts zeros behind a clip, under the
            others all frames count.
        config: front end.
        augmentation: of the copies.

    Raises:
        DataError: a file cannot be read.
    """
    info, clips = dataset.info, features.clips
    own = np.full(len(clips), info.clip_samples, float)
    if info.fit == "pad":
        with ThreadPoolExecutor(WORKERS) as pool:
            own = np.array(list(pool.map(lambda clip: _samples(dataset, clip), clips)), float)
    augmented = own
    if augmentation:
        tempo = min(1.0, augmentation.stretch[0]) if augmentation.stretch_probability else 1.0
        speed = min(1.0, augmentation.speed[0]) if augmentation.speed_probability else 1.0
        augmented = own / (tempo * speed) + augmentation.shift_s * info.sample_rate_hz
    samples = np.minimum(np.ceil([own, augmented]), info.clip_samples).astype(int)
    frames = [[max(1, config.frame_count(count)) for count in row] for row in samples.tolist()]
    return dataclasses.replace(features, lengths=np.array(frames, np.int32))


def _samples(dataset: AudioDataset, clip: Clip) -> float:
    """Samples of a clip as delivered, before any are added or cut."""
    info = dataset.info
    if clip.path is None:
        return info.clip_samples
    duration_s = clip.duration_s
    if duration_s is None:
        try:
            duration_s = header_of(clip.path).duration - clip.start_s
        except (soundfile.LibsndfileError, RuntimeError):
            raise DataError(
                f"{clip.path}: cannot be decoded as sound (broken, truncated or not an audio "
                "file); replace the file or leave it out"
            ) from None
    return round(duration_s * info.sample_rate_hz)


def _fill(
    writer: RowWriter,
    dataset: AudioDataset,
    clips: Sequence[Clip],
    keys: Sequence[Sequence[bytes]],
    missing: set[bytes],
    config: FrontendConfig,
    augmentation: AugmentationSection | None,
    seed: int,
    log: Log,
) -> None:
    """Compute the missing maps: sounds are read side by side while this thread transforms.

    Threads, not processes: decoding, resampling and TensorFlow work outside Python's lock, and
    a process would have to load TensorFlow first. A map does not depend on its batch.
    """
    samples = dataset.info.clip_samples
    noises, rooms = [], []
    if augmentation and len(keys) > 1:
        if augmentation.room_probability and augmentation.room_folder:
            rooms = read_rooms(Path(augmentation.room_folder), config.sample_rate_hz)
        noises = [dataset.read(clip) for clip in dataset.noise_clips()]
        noises = [noise for noise in noises if noise.size >= samples]

    def decode(task: list[tuple[int, list[int]]]) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        waves, names = [], []
        for index, copies in task:
            sound = dataset.read(clips[index])
            for copy in copies:
                rng = np.random.default_rng([seed, copy, index])
                changes = augmentation if copy else None
                wave = (
                    cut_at_random(sound, samples, rng) if changes and changes.random_crop else sound
                )
                wave = fit_length(wave, samples, dataset.info.fit)
                if changes:
                    wave = vary_waveform(wave, changes, noises, config.sample_rate_hz, rng, rooms)
                waves.append(wave)
                names.append(keys[copy][index])
        return names, np.stack(waves)

    done, shown, total = 0, 0, len(missing)
    tasks = _tasks(keys, missing, max(1, min(_TASK_WAVES, _TASK_SAMPLES // samples)))
    # Short clips are mostly Python's work: more threads would only wait for its lock.
    readers = WORKERS if samples > _SHORT_SAMPLES else max(1, WORKERS - 1)
    for names, waves in _side_by_side(decode, tasks, readers):
        writer.add(names, graph.batch_features_int8(config, waves))
        done += len(names)
        if done * 10 // total > shown:
            shown = done * 10 // total
            log(f"  {done}/{total}")


def _tasks(
    keys: Sequence[Sequence[bytes]], missing: set[bytes], waves: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Pieces of work of about ``waves`` maps: clips with the copies that they still need."""
    left, task, size = set(missing), [], 0
    for index, of_clip in enumerate(zip(*keys, strict=True)):
        copies = [copy for copy, key in enumerate(of_clip) if key in left]
        left.difference_update(of_clip)  # clips that sound alike have one map
        if copies:
            task.append((index, copies))
            size += len(copies)
        if size >= waves:
            yield task
            task, size = [], 0
    if task:
        yield task


def _side_by_side(function: Callable[[_T], _R], tasks: Iterator[_T], threads: int) -> Iterator[_R]:
    """``map`` in threads, in the order of the tasks, a few of them ahead."""
    pool = ThreadPoolExecutor(threads)
    try:
        ahead: deque[Future[_R]] = deque()
        for task in tasks:
            ahead.append(pool.submit(function, task))
            if len(ahead) > 2 * WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def row_keys(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
    seed: int = 0,
) -> list[list[bytes]]:
    """Names of a split's feature maps, copies x clips: equal only where the maps are.

    A clean map's key holds the content of the clip's file (or the code and seed that synthesise
    it), the piece of it, its length and the front end. An augmented one's also holds the settings
    of augmentation, its seed, the clip's number in the split (with the seed it starts the
    random stream) and all noise that could have been mixed in.

    Raises:
        DataError: a file cannot be read.
    """
    clips = dataset.split(split)
    copies = augmentation.copies if augmentation else 0
    noise = dataset.noise_clips() if copies else ()
    sounds = _sound_keys(dataset, (*clips, *noise))
    base = hashlib.sha256(f"{_LAYOUT} {config.fingerprint()}".encode())
    keys = [[_key(base, sound) for sound in sounds[: len(clips)]]]
    if not copies:
        return keys
    values = dataclasses.asdict(augmentation) if augmentation else {}
    settings = {k: v for k, v in values.items() if k != "copies" and not k.startswith(_IN_GRAPH)}
    parts = [json.dumps(settings, sort_keys=True), str(seed), *map(bytes.hex, sounds[len(clips) :])]
    if augmentation and augmentation.room_probability and augmentation.room_folder:
        parts += content_hashes(room_paths(Path(augmentation.room_folder)), WORKERS).values()
    augmented = base.copy()
    augmented.update("\n".join(parts).encode())
    for copy in range(1, copies + 1):
        numbered = enumerate(sounds[: len(clips)])
        keys.append([_key(augmented, sound, b"%d %d" % (copy, i)) for i, sound in numbered])
    return keys


def _key(base: hashlib._Hash, *parts: bytes) -> bytes:
    state = base.copy()
    for part in parts:
        state.update(part)
    return state.digest()[:KEY_BYTES]


def _sound_keys(dataset: AudioDataset, clips: Sequence[Clip]) -> list[bytes]:
    """Keys of the clips' sounds as delivered, 32 bytes each."""
    info = dataset.info
    contents = content_hashes((clip.path for clip in clips if clip.path), WORKERS)
    delivered = f"{info.sample_rate_hz} {info.clip_samples} {info.fit}"
    recipe = ""
    if any(clip.path is None for clip in clips) and dataset.synthesise is not None:
        recipe = f"{info.name} {info.notes} {_code_stamp(dataset.synthesise)}"
    keys = []
    for clip in clips:
        source = contents[clip.path] if clip.path else f"{recipe} {clip.clip_id} {clip.label}"
        text = f"{delivered}|{source}|{clip.start_s!r} {clip.duration_s!r} {clip.gain!r}"
        keys.append(hashlib.sha256(text.encode()).digest())
    return keys


def _code_stamp(function: Callable[..., object]) -> str:
    """Arguments and module source of a function that makes sounds: all that they depend on."""
    arguments = ""
    while isinstance(function, functools.partial):
        arguments += f"{function.args} {sorted(function.keywords.items())}"
        function = function.func
    try:
        source = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):
        source = b""
    return f"{function.__qualname__} {arguments} {hashlib.sha256(source).hexdigest()}"
