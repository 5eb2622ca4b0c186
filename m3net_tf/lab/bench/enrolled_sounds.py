# SPDX-License-Identifier: Apache-2.0
"""Sounds that are enrolled from a few recordings: the share of ESC-10's clips that are recognised.

A clip of the test fold has the class whose prototype has the highest mean score over its windows.
The recordings that are enrolled are drawn from the other folds. All is int8, as on a board.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset, load_dataset, to_pcm16
from m3net_tf.audio.frontend import features_int8
from m3net_tf.export.enrolment import embedding_network
from m3net_tf.runtime.classifier import find_model
from m3net_tf.runtime.desktop import load_adaptive
from m3net_tf.runtime.enrolment import sound_windows
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.runtime.metadata import read_metadata
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.prototypes import MOST_EXAMPLES, Prototypes
from m3net_tf.system.artifacts import Provenance, provenance, sha256_of
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.scoring.metrics import wilson_interval

Int8 = npt.NDArray[np.int8]


class EnrolledSoundsResult(Provenance):
    """Accuracy of enrolled sounds.

    Attributes:
        background: names of the folders by which the outputs are whitened.
        count: recordings of each class that are enrolled.
        draws: draws of these recordings in each fold.
        accuracy_95: 95 % interval for as many clips as there are, without regard to the draws.
        draw_accuracy: lowest and highest accuracy of a draw, over all folds.
    """

    body: str
    background: list[str]
    model_sha256: str
    count: int
    draws: int
    clips: int
    accuracy: float
    accuracy_95: tuple[float, float]
    draw_accuracy: tuple[float, float]
    by_fold: dict[str, float]
    by_class: dict[str, float]


def run_bench_sounds(
    data_dir: Path,
    body: Path,
    background: Sequence[Path] = (),
    *,
    count: int = 5,
    draws: int = 10,
    seed: int = 0,
    log: Log = silent,
) -> EnrolledSoundsResult:
    """Enrol recordings of ESC-10's classes, and classify the clips of the fold that is left out.

    Args:
        data_dir: folder of ESC-10.
        body: name, run or ``.tflite`` of a trained network that ends in a dense layer and softmax.
        background: folders of other sounds, by which the outputs are whitened.

    Raises:
        DataError, ModelError: as :func:`.embedding_network`.
    """
    tflite, metadata = read_metadata(find_model(body))
    network = embedding_network(tflite, metadata, background, log)
    frontend = metadata.frontend
    dataset = load_dataset("esc10", data_dir, sample_rate_hz=frontend.sample_rate_hz)
    model = load_adaptive(Int8Network(network))
    samples = frontend.sample_count(metadata.frames)
    outputs: list[Int8] = []
    with track(log, "clips", len(dataset.clips), "clips") as task:
        for clip in dataset.clips:
            pcm = to_pcm16(dataset.read(clip))
            windows = sound_windows(pcm, samples, frontend.sample_rate_hz)
            features = [features_int8(frontend, part / np.float32(32768)) for part in windows]
            outputs.append(model(np.stack(features)[..., None]))
            task.advance()
    _, zero_point = tensor_quantization(network, "output")
    right = _right(dataset, outputs, zero_point, count, draws, seed)
    shares = right.mean(axis=0)
    labels = np.array([clip.label for clip in dataset.clips])
    folds = _folds(dataset)
    accuracy = float(right.mean())
    return {
        "body": str(body),
        "background": [folder.name for folder in background],
        "model_sha256": sha256_of(network),
        "count": count,
        "draws": draws,
        "clips": len(labels),
        "accuracy": accuracy,
        "accuracy_95": wilson_interval(round(accuracy * len(labels)), len(labels)),
        "draw_accuracy": (float(right.mean(axis=1).min()), float(right.mean(axis=1).max())),
        "by_fold": {str(fold): float(shares[folds == fold].mean()) for fold in np.unique(folds)},
        "by_class": {label: float(shares[labels == label].mean()) for label in np.unique(labels)},
        **provenance(),
    }


def _folds(dataset: AudioDataset) -> npt.NDArray[np.int64]:
    """Fold of each clip, which its name starts with, shape (clips,)."""
    return np.array([int(Path(clip.clip_id).name.split("-")[0]) for clip in dataset.clips])


def _right(
    dataset: AudioDataset,
    outputs: Sequence[Int8],
    zero_point: int,
    count: int,
    draws: int,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Whether each clip is recognised, shape (draws, clips)."""
    labels = np.array([clip.label for clip in dataset.clips])
    folds = _folds(dataset)
    right = np.zeros((draws, len(labels)), np.bool_)
    rng = np.random.default_rng(seed)
    for draw in range(draws):
        for fold in np.unique(folds):
            names = dataset.info.labels
            words = Prototypes(len(names), zero_point)
            for name in names:
                possible = np.flatnonzero((labels == name) & (folds != fold))
                chosen = rng.choice(possible, min(count, len(possible)), replace=False)
                for output in np.concatenate([outputs[clip] for clip in chosen])[:MOST_EXAMPLES]:
                    words.add(name[:15], output)
            for clip in np.flatnonzero(folds == fold).tolist():
                best = int(words.scores(outputs[clip]).mean(axis=0).argmax())
                right[draw, clip] = names[best] == labels[clip]
    return right
