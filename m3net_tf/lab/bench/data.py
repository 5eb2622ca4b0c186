# SPDX-License-Identifier: Apache-2.0
"""Speed of feature extraction: this pipeline, plain librosa, and tf.io without a cache."""

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np

from m3net_tf.audio.datasets import AudioDataset, Clip, load_dataset
from m3net_tf.audio.datasets.audio import fit_length
from m3net_tf.audio.frontend import FrontendConfig, frontend_preset, graph
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.features import compute_features

_ROUNDS = 5


class DataSpeed(Provenance):
    """Speed from sound files to features.

    Attributes:
        clips_per_s: clips per second by route; None if a route failed.
        missing: why a route failed.
        ratio_to_librosa: speed of the pipeline, without and with its cache, compared with librosa.
    """

    dataset: str
    clips: int
    clip_s: float
    sample_rate_hz: int
    cores: int | None
    clips_per_s: dict[str, float | None]
    missing: dict[str, str]
    ratio_to_librosa: dict[str, float]


def run_bench_data(
    name: str,
    data_dir: Path | None = None,
    *,
    clips: int = 1000,
    log: Log = silent,
) -> DataSpeed:
    """Measure the speed from sound files to features, on the same clips by each route.

    All routes compute log-mel maps like the microcontroller's front end at the data set's rate.
    Before the timing, all files are read once and TensorFlow is started. The pipeline's cache is in
    a temporary folder.

    Args:
        clips: number of clips, spread over the data set; all if it has fewer.

    Raises:
        ConfigError: the data set has no files.
        DataError: the data are missing or broken.
    """
    dataset = _files_only(load_dataset(name, data_dir), clips)
    config = frontend_preset("mcu", sample_rate_hz=dataset.info.sample_rate_hz)
    count = len(dataset.clips)
    _warm_up(dataset, config)

    def cold() -> None:
        with _temporary_cache():
            compute_features(dataset, "train", config)

    def warm() -> None:
        np.asarray(compute_features(dataset, "train", config).features)

    rates: dict[str, float | None] = {"tf_io": None}
    missing: dict[str, str] = {}
    log("librosa, one process")
    rates["librosa"] = librosa_rate = _rate(lambda: _librosa(dataset, config), count)
    log("tf.io and tf.signal, no cache")
    try:
        rates["tf_io"] = _rate(lambda: _tf_io(dataset, config), count, rounds=1)
    except tf.errors.OpError as error:
        missing["tf_io"] = str(error.message).splitlines()[0][:200]
    log("this pipeline, cold")
    own = {"cold": _rate(cold, count)}
    with _temporary_cache():
        log("this pipeline, warm")
        warm()
        own["warm"] = _rate(warm, count)
    return {
        "dataset": name,
        "clips": count,
        "clip_s": dataset.info.clip_s,
        "sample_rate_hz": config.sample_rate_hz,
        "cores": os.cpu_count(),
        "clips_per_s": {**rates, **own},
        "missing": missing,
        "ratio_to_librosa": {key: round(rate / librosa_rate, 2) for key, rate in own.items()},
        **provenance(),
    }


def _warm_up(dataset: AudioDataset, config: FrontendConfig) -> None:
    """Read all files once, and start TensorFlow and librosa, whose first call compiles."""
    for clip in dataset.clips:
        assert clip.path
        clip.path.read_bytes()
    _librosa_clip(dataset, config, dataset.clips[0])
    graph.batch_features(config, np.zeros((1, dataset.info.clip_samples), np.float32))


def _files_only(dataset: AudioDataset, count: int) -> AudioDataset:
    """The data set with at most ``count`` clips, all of them files and all for training."""
    with_files = [clip for clip in dataset.clips if clip.path]
    if not with_files:
        raise ConfigError(f"data set {dataset.info.name} has no files to read: choose one that has")
    spread = np.linspace(0, len(with_files) - 1, min(count, len(with_files))).astype(int)
    chosen = tuple(dataclasses.replace(with_files[i], split="train") for i in spread)
    return dataclasses.replace(dataset, clips=chosen, noise=())


def _rate(work: Callable[[], object], clips: int, rounds: int = _ROUNDS) -> float:
    """Clips per second, the median of several rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return round(clips / statistics.median(seconds), 1)


def _librosa(dataset: AudioDataset, config: FrontendConfig) -> None:
    for clip in dataset.clips:
        _librosa_clip(dataset, config, clip)


def _librosa_clip(dataset: AudioDataset, config: FrontendConfig, clip: Clip) -> None:
    """Features of one clip as a script without this package computes them."""
    audio, _ = librosa.load(
        clip.path, sr=config.sample_rate_hz, offset=clip.start_s, duration=clip.duration_s
    )
    mel = librosa.feature.melspectrogram(
        y=fit_length(audio, dataset.info.clip_samples),
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        win_length=config.frame_samples,
        hop_length=config.hop_samples,
        n_mels=config.mel_bins,
        fmin=config.mel_min_hz,
        fmax=config.mel_max_hz,
        center=False,
    )
    np.log(np.maximum(mel + config.log_offset, config.log_floor))


def _tf_io(dataset: AudioDataset, config: FrontendConfig) -> None:
    """Features of whole files by tf.io and tf.audio, which cannot resample."""
    samples = dataset.info.clip_samples

    def wave(path: tf.Tensor) -> tf.Tensor:
        sound, _ = tf.audio.decode_wav(tf.io.read_file(path))
        sound = tf.reduce_mean(sound, axis=1)[:samples]
        return tf.ensure_shape(tf.pad(sound, [[0, samples - tf.shape(sound)[0]]]), (samples,))

    stream = (
        tf.data.Dataset.from_tensor_slices([str(clip.path) for clip in dataset.clips])
        .map(wave, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(64)
        .map(lambda waves: graph.features_int8(config, waves), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(2)
    )
    for _ in stream:
        pass


@contextlib.contextmanager
def _temporary_cache() -> Iterator[None]:
    before = os.environ.get("M3NET_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["M3NET_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["M3NET_CACHE"]
            else:
                os.environ["M3NET_CACHE"] = before
