# SPDX-License-Identifier: Apache-2.0
"""Features of a data set's clips, computed in parallel and cached.

Each feature map has a key (see :func:`row_keys`) that depends on the clip's sound and the front
end, so runs, splits and folds share maps. Keys of augmented copies also depend on the settings and
the seed of the augmentation. So different waveforms never share a key. Maps of another instruction
set, which rounds otherwise, are in another store.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.audio.datasets import AudioDataset, Clip
from m3net_tf.audio.datasets.audio import fit_length, header_of
from m3net_tf.audio.frontend import FrontendConfig, graph
from m3net_tf.audio.frontend.store import (
    KEY_BYTES,
    FeatureRows,
    Rows,
    RowStore,
    content_hashes,
)
from m3net_tf.system.errors import DataError
from m3net_tf.system.processor import arithmetic, machine
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.threads import WORKERS, map_ahead
from m3net_tf.system.words import counted
from m3net_tf.training.augmentation.reverberation import read_rooms, room_paths
from m3net_tf.training.augmentation.waveforms import augment_waveform, cut_at_random
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import AugmentationSection

_LAYOUT = 2  # incremented when the same settings give other features
_TASK_WAVES = 128
_TASK_SAMPLES = 2**22
_SHORT_SAMPLES = 2**15


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of one split.

    Attributes:
        labels: class indices, shape (clips,); the first if a clip has several labels.
        features: int8 or float32, shape (copies, clips, bins, frames); copy 0 is the original clip.
            They are stored on disk and read when indexed.
        matrix: 1 if a clip has a class, else 0, shape (clips, classes); None for single labels.
        lengths: frames of the clips before zero padding, shape (2, clips): of the original, and the
            longest of an augmented copy. None = all, see :func:`with_lengths`.
    """

    clips: tuple[Clip, ...]
    labels: npt.NDArray[np.int32]
    features: FeatureRows | npt.NDArray[Any]
    matrix: npt.NDArray[np.uint8] | None = None
    lengths: npt.NDArray[np.int32] | None = None

    @property
    def clean(self) -> npt.NDArray[Any]:
        """Features of the original clips, shape (clips, bins, frames, 1)."""
        return self.features[0][..., None]


def compute_features(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
    seed: int = 0,
    log: Log = silent,
    dtype: str = "int8",
) -> FeatureSet:
    """Features of a split, ``copies + 1`` of each clip, from the cache if it has them.

    Args:
        seed: seed of the augmentation; each copy of each clip has its own random stream.
        dtype: ``int8``, or ``float32`` for features without rounding.

    Raises:
        DataError: the split is empty or a clip cannot be read.
        ConfigError: data set and front end do not match.
    """
    bins, frames, _ = input_shape(dataset.info, config)
    clips = dataset.split(split)
    if not clips:
        raise DataError(
            f"{dataset.info.name} has no {split} clips under protocol {dataset.info.protocol}: "
            "choose another protocol or fold, or complete the copy"
        )
    labelled = labelled_clips(dataset, split)
    kind = f"{_LAYOUT} {config.fingerprint()} {frames} {dtype} {arithmetic([machine()])}"
    store = RowStore(hashlib.sha256(kind.encode()).hexdigest()[:16], (bins, frames), dtype)
    rows = stored_rows(
        store,
        dataset,
        split,
        row_keys(dataset, split, config, augmentation, seed),
        lambda waves: graph.batch_features(config, waves, dtype),
        augmentation,
        seed,
        "features",
        log,
    )
    return dataclasses.replace(labelled, features=rows)


def stored_rows(
    store: RowStore,
    dataset: AudioDataset,
    split: str,
    keys: Sequence[Sequence[bytes]],
    compute: Callable[[npt.NDArray[np.float32]], Rows],
    augmentation: AugmentationSection | None,
    seed: int,
    what: str,
    log: Log,
) -> FeatureRows:
    """What is computed from the sounds of a split, from the store if it has it.

    Args:
        keys: from :func:`row_keys`.
        compute: from waveforms (batch, samples) to rows of the store.
        what: its name, for the log.

    Raises:
        DataError: a clip cannot be read, or the disk fails.
    """
    rows = store.rows(keys)
    if rows is None:
        clips = dataset.split(split)
        with store.writing(log) as writer:
            missing = store.missing(key for copy in keys for key in copy)
            if missing:  # another process may have added them while this one waited
                log(
                    f"{what} of {counted(len(clips), f'{split} clip')}, "
                    f"{counted(len(keys) - 1, 'augmented copy')} each"
                )
                sounds = _sounds(dataset, clips, keys, missing, augmentation, seed)
                with track(log, what, len(missing), "maps") as progress:
                    for names, waves in sounds:
                        writer.add(names, compute(waves))
                        progress.advance(len(names))
        rows = store.rows(keys)
    if rows is None:
        raise DataError(f"{store.folder} lost files just written: check its disk")
    return rows


def recipe_features(
    recipe: Recipe,
    dataset: AudioDataset,
    split: str,
    *,
    own_lengths: bool,
    streamed: bool = False,
    log: Log = silent,
) -> FeatureSet:
    """Features of a split for a training; training clips include their augmented copies.

    Args:
        own_lengths: whether the network takes the lengths of clips.
        streamed: whether each epoch computes the features of training clips from the sound.
    """
    augmentation = recipe.augmentation if split == "train" else None
    if streamed and augmentation:
        features = labelled_clips(dataset, split)
    else:
        seed, dtype = recipe.copies_seed, recipe.training.features
        features = compute_features(dataset, split, recipe.frontend, augmentation, seed, log, dtype)
    if not own_lengths:
        return features
    return with_lengths(features, dataset, recipe.frontend, augmentation)


def labelled_clips(dataset: AudioDataset, split: str) -> FeatureSet:
    """The clips of a split with their labels, without features."""
    clips = dataset.split(split)
    index = {label: i for i, label in enumerate(dataset.info.labels)}
    labels = np.array([index[clip.label] for clip in clips], np.int32)
    multi_label = dataset.info.multi_label
    matrix = dataset.label_matrix(clips).astype(np.uint8) if multi_label else None
    return FeatureSet(clips, labels, np.empty((0, len(clips)), np.int8), matrix)


def original_features(
    dataset: AudioDataset, split: str, recipe: Recipe, log: Log = silent
) -> FeatureSet:
    """:func:`compute_features` of the original clips, as a recipe's network gets them."""
    dtype = recipe.training.features
    return compute_features(dataset, split, recipe.frontend, log=log, dtype=dtype)


def with_lengths(
    features: FeatureSet,
    dataset: AudioDataset,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
) -> FeatureSet:
    """The features with each clip's number of frames, for networks that use it.

    Args:
        dataset: their data set; only its rule ``pad`` appends zeros, under other rules all frames
            count.

    Raises:
        DataError: a file cannot be read.
    """
    info, clips = dataset.info, features.clips
    lengths = np.full(len(clips), info.clip_samples, float)
    if info.fit == "pad":
        with ThreadPoolExecutor(WORKERS) as pool:
            lengths = np.array(list(pool.map(lambda clip: _samples(dataset, clip), clips)), float)
    augmented = lengths
    if augmentation:
        tempo = min(1.0, augmentation.stretch[0]) if augmentation.stretch_probability else 1.0
        speed = min(1.0, augmentation.speed[0]) if augmentation.speed_probability else 1.0
        augmented = lengths / (tempo * speed) + augmentation.shift_s * info.sample_rate_hz
    samples = np.minimum(np.ceil([lengths, augmented]), info.clip_samples).astype(int)
    frames = [[max(1, config.frame_count(count)) for count in row] for row in samples.tolist()]
    return dataclasses.replace(features, lengths=np.array(frames, np.int32))


def _samples(dataset: AudioDataset, clip: Clip) -> float:
    """Samples of a clip at the delivered rate, before padding or truncation."""
    info = dataset.info
    duration_s = clip.duration_s
    if clip.path is None and duration_s is None:
        return info.clip_samples
    if duration_s is None:
        assert clip.path is not None
        try:
            duration_s = header_of(clip.path).duration - clip.start_s
        except (soundfile.LibsndfileError, RuntimeError):
            raise DataError(
                f"{clip.path}: cannot be decoded as sound (broken, truncated or not an audio "
                "file); replace the file or leave it out"
            ) from None
    return round(duration_s * info.sample_rate_hz)


def _sounds(
    dataset: AudioDataset,
    clips: Sequence[Clip],
    keys: Sequence[Sequence[bytes]],
    missing: set[bytes],
    augmentation: AugmentationSection | None,
    seed: int,
) -> Iterator[tuple[list[bytes], npt.NDArray[np.float32]]]:
    """The missing maps' keys and waveforms, in batches that other threads read ahead.

    Threads suffice because decoding, resampling and TensorFlow release Python's global lock;
    processes would have to load TensorFlow. A map does not depend on its batch.
    """
    samples = dataset.info.clip_samples
    rate_hz = dataset.info.sample_rate_hz
    noises, rooms = [], []
    if augmentation and len(keys) > 1:
        if augmentation.room_probability and augmentation.room_folder:
            rooms = read_rooms(Path(augmentation.room_folder), rate_hz)
        noises = [dataset.read(clip) for clip in dataset.noise]
        noises = [noise for noise in noises if noise.size >= samples]

    def decode(task: list[tuple[int, list[int]]]) -> tuple[list[bytes], npt.NDArray[np.float32]]:
        waves, names = [], []
        for index, copies in task:
            crops = any(copies) and augmentation is not None and augmentation.random_crop
            sound = dataset.read(clips[index]) if crops else dataset.load(clips[index])
            for copy in copies:
                rng = np.random.default_rng([seed, copy, index])
                changes = augmentation if copy else None
                wave = (
                    cut_at_random(sound, samples, rng) if changes and changes.random_crop else sound
                )
                wave = fit_length(wave, samples, dataset.info.fit)
                if changes:
                    wave = augment_waveform(wave, changes, noises, rate_hz, rng, rooms)
                waves.append(wave)
                names.append(keys[copy][index])
        return names, np.stack(waves)

    tasks = _tasks(keys, missing, max(1, min(_TASK_WAVES, _TASK_SAMPLES // samples)))
    # Reading a short clip is mostly Python code: more threads would only wait for its global lock.
    mostly_python = samples <= _SHORT_SAMPLES and len(keys) == 1
    readers = max(1, WORKERS - 1) if mostly_python else WORKERS
    yield from map_ahead(decode, tasks, readers)


def _tasks(
    keys: Sequence[Sequence[bytes]], missing: set[bytes], waves: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Tasks of about ``waves`` maps: indices of clips with the numbers of missing copies."""
    remaining = set(missing)
    task = []
    size = 0
    for index, of_clip in enumerate(zip(*keys, strict=True)):
        copies = [copy for copy, key in enumerate(of_clip) if key in remaining]
        remaining.difference_update(of_clip)  # clips with equal sound share one map
        if copies:
            task.append((index, copies))
            size += len(copies)
        if size >= waves:
            yield task
            task, size = [], 0
    if task:
        yield task


def row_keys(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig | None,
    augmentation: AugmentationSection | None = None,
    seed: int = 0,
) -> list[list[bytes]]:
    """Keys of a split's feature maps, copies x clips: equal keys mean equal maps.

    Without a front end they are keys of the waveforms.

    The key of an original clip depends on the content of its file (or the code and seed that
    synthesise it), the excerpt, its length and the front end. The key of an augmented copy also
    depends on the augmentation's settings and seed, the clip's index in the split (which with the
    seed starts the random stream) and all noise that could have been mixed in.

    Raises:
        DataError: a file cannot be read.
    """
    clips = dataset.split(split)
    copies = augmentation.copies if augmentation else 0
    noise = dataset.noise if copies else ()
    sounds = _sound_keys(dataset, (*clips, *noise))
    frontend = config.fingerprint() if config else "waveforms"
    base = hashlib.sha256(f"{_LAYOUT} {frontend}".encode())
    keys = [[_key(base, sound) for sound in sounds[: len(clips)]]]
    if augmentation is None or not copies:
        return keys
    settings = augmentation.of_copies
    if settings.get("random_crop"):
        settings["random_crop"] = "with sound"  # older maps have silent excerpts, too
    parts = [json.dumps(settings, sort_keys=True), str(seed), *map(bytes.hex, sounds[len(clips) :])]
    if augmentation.room_probability and augmentation.room_folder:
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
    """Keys of the delivered sounds, 32 bytes each."""
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
    """Arguments and module source of a function that synthesises sounds: all their inputs."""
    arguments = ""
    while isinstance(function, functools.partial):
        arguments += f"{function.args} {sorted(function.keywords.items())}"
        function = function.func
    try:
        source = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):
        source = b""
    return f"{function.__qualname__} {arguments} {hashlib.sha256(source).hexdigest()}"
