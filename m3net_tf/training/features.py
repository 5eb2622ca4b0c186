# SPDX-License-Identifier: Apache-2.0
"""Features of a data set's clips, computed once and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.artifacts import cache_folder, write_bytes
from m3net_tf.datasets import AudioDataset, Clip
from m3net_tf.errors import ConfigError, DataError, M3NetError
from m3net_tf.frontend import FrontendConfig, graph
from m3net_tf.keras import tf
from m3net_tf.training.augmentation import vary_waveform
from m3net_tf.training.recipe import AugmentationSection

Log = Callable[[str], None]
_BATCH = 128


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Features of one split.

    Attributes:
        clips: the clips, in order.
        labels: class indices, shape (clips,).
        features: int8, shape (copies, clips, bins, frames); copy 0 is the clean clip.
    """

    clips: tuple[Clip, ...]
    labels: npt.NDArray[np.int32]
    features: npt.NDArray[np.int8]

    @property
    def clean(self) -> npt.NDArray[np.int8]:
        """Features of the clips as recorded, shape (clips, bins, frames, 1)."""
        return self.features[0][..., None]


def input_shape(dataset: AudioDataset, config: FrontendConfig) -> tuple[int, int, int]:
    """(bins, frames, 1) of the features of one clip.

    Raises:
        ConfigError: data set and front end differ in rate, or a clip is shorter than a frame.
    """
    info = dataset.info
    if info.sample_rate_hz != config.sample_rate_hz:
        raise ConfigError(
            f"frontend.sample_rate_hz is {config.sample_rate_hz} but data set {info.name} delivers "
            f"{info.sample_rate_hz}: set them to the same rate"
        )
    frames = config.frame_count(info.clip_samples)
    if frames == 0:
        raise ConfigError(
            f"frontend.frame_samples is {config.frame_samples} but a clip of {info.name} has only "
            f"{info.clip_samples} samples: choose a shorter frame"
        )
    return config.feature_bins, frames, 1


def compute_features(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    augmentation: AugmentationSection | None = None,
    seed: int = 0,
    log: Log = lambda _: None,
) -> FeatureSet:
    """Features of a split, from the cache where the same ones were computed before.

    Args:
        dataset: where the clips come from.
        split: ``train``, ``validation`` or ``test``.
        config: front-end settings.
        augmentation: adds ``copies`` varied copies of each clip.
        seed: seed of that variation; each copy of each clip has a stream of its own.
        log: takes lines of progress.

    Returns:
        The features, (copies + 1) of each clip.

    Raises:
        DataError: the split is empty or a clip cannot be read.
        ConfigError: data set and front end do not fit together.
    """
    bins, frames, _ = input_shape(dataset, config)
    clips = dataset.split(split)
    if not clips:
        raise DataError(
            f"{dataset.info.name} has no {split} clips under protocol {dataset.info.protocol}: "
            "choose another protocol or fold, or complete the copy"
        )
    copies = augmentation.copies if augmentation else 0
    path = cache_folder() / "features" / f"{_key(dataset, split, config, augmentation, seed)}.npy"
    shape = (copies + 1, len(clips), bins, frames)
    features = _load(path, shape)
    if features is None:
        log(f"features of {len(clips)} {split} clips, {copies} varied copies each")
        features = np.empty(shape, np.int8)
        _fill(features, dataset, clips, config, augmentation, seed, log)
        buffer = io.BytesIO()
        np.save(buffer, features)
        write_bytes(path, buffer.getvalue())
    return FeatureSet(clips, dataset.label_ids(clips), features)


def _fill(
    features: npt.NDArray[np.int8],
    dataset: AudioDataset,
    clips: Sequence[Clip],
    config: FrontendConfig,
    augmentation: AugmentationSection | None,
    seed: int,
    log: Log,
) -> None:
    copies = features.shape[0]
    samples = dataset.info.clip_samples
    noises = []
    if augmentation and copies > 1:
        noises = [dataset.read(clip) for clip in dataset.noise_clips()]
        noises = [noise for noise in noises if noise.size >= samples]

    failures: list[M3NetError] = []

    def waves() -> Iterator[npt.NDArray[np.float32]]:
        try:
            for index, clip in enumerate(clips):
                audio = dataset.load(clip)
                yield audio
                for copy in range(1, copies):
                    rng = np.random.default_rng([seed, copy, index])
                    assert augmentation is not None
                    yield vary_waveform(audio, augmentation, noises, config.sample_rate_hz, rng)
        except M3NetError as error:  # tf.data would wrap it into an error of its own
            failures.append(error)

    stream = (
        tf.data.Dataset.from_generator(
            waves, output_signature=tf.TensorSpec((samples,), tf.float32)
        )
        .batch(_BATCH)
        .map(lambda batch: graph.features_int8(config, batch), num_parallel_calls=2)
        .prefetch(2)
    )
    done, total, shown = 0, copies * len(clips), 0
    for batch in stream.as_numpy_iterator():
        for row in batch:
            features[done % copies, done // copies] = row
            done += 1
        if done * 10 // total > shown:
            shown = done * 10 // total
            log(f"  {done}/{total}")
    if failures:
        raise failures[0]


def _key(
    dataset: AudioDataset,
    split: str,
    config: FrontendConfig,
    augmentation: AugmentationSection | None,
    seed: int,
) -> str:
    """Name of the cache file: equal only where the features are."""
    stamps = [
        (clip.path.stat().st_size, clip.path.stat().st_mtime_ns) if clip.path else None
        for clip in dataset.split(split)
    ]
    waveform_keys = [
        field.name
        for field in dataclasses.fields(AugmentationSection)
        if not field.name.startswith(("time_", "frequency_", "mixup_"))
    ]
    varied = {k: getattr(augmentation, k) for k in waveform_keys} if augmentation else {"copies": 0}
    if varied["copies"] == 0:
        varied, seed = {}, 0
    parts = {
        "layout": 1,
        "dataset": repr(dataset.info),  # its notes hold the seed that synth's sounds hang on
        "clips": [repr(clip) for clip in dataset.split(split)],
        "noise": [repr(clip) for clip in dataset.noise_clips()] if varied else [],
        "samples": dataset.info.clip_samples,
        "stamps": stamps,
        "frontend": config.fingerprint(),
        "augmentation": varied,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _load(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.int8] | None:
    """Read a cache file; a damaged one counts as absent and is written anew."""
    try:
        features = np.lib.format.open_memmap(path, mode="r")
    except (FileNotFoundError, ValueError):
        return None
    return features if features.shape == shape and features.dtype == np.int8 else None
