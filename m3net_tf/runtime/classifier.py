# SPDX-License-Identifier: Apache-2.0
"""From sound to scores with an exported ``.tflite`` alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ModelError
from m3net_tf.frontend import features_int8
from m3net_tf.native import native_stderr
from m3net_tf.runtime.interpreter import Int8, OpResolverType, load_interpreter, narrow, run_raw
from m3net_tf.runtime.metadata import read_metadata
from m3net_tf.runtime.recognizer import StreamingRecognizer
from m3net_tf.runtime.warp import warp_int8

Pcm = npt.NDArray[np.int16]


@dataclasses.dataclass(frozen=True)
class Classification:
    """What a sound was taken for.

    Attributes:
        label: index of the class with the highest mean score, the first of equals.
        scores: mean score of each class over the windows, 0 to 1, shape (classes,).
        starts_s: where each window begins, in seconds, shape (windows,).
        window_scores: scores of each window, 0 to 1, shape (windows, classes).
    """

    label: int
    scores: npt.NDArray[np.float64]
    starts_s: npt.NDArray[np.float64]
    window_scores: npt.NDArray[np.float64]


class Classifier:
    """An exported network with all that leads to its scores.

    Args:
        path: the ``.tflite``, or the folder of an export or a run that has it.
        fast: XNNPACK's kernels instead of TFLite's reference kernels, whose bytes are the device's.

    Attributes:
        metadata: what the file says of itself.

    Raises:
        ModelError: there is no such file, it lacks metadata, or its network cannot be run.
    """

    def __init__(self, path: Path, *, fast: bool = False) -> None:
        network, self.metadata = read_metadata(find_model(path))
        kernels = OpResolverType.AUTO if fast else OpResolverType.BUILTIN_REF
        parts = [self.metadata.importance, network] if self.metadata.warp else [network]
        with native_stderr():  # XNNPACK announces itself
            self._interpreters = [load_interpreter(part, kernels) for part in parts]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return self.metadata.labels

    @property
    def window_samples(self) -> int:
        """Samples that the network hears at once."""
        frontend = self.metadata.frontend
        if frontend.kind == "waveform":
            return self.metadata.frames
        length = (self.metadata.frames - 1) * frontend.hop_samples
        if frontend.centred:
            return length
        return length + frontend.frame_samples

    def run(self, features: Int8) -> Int8:
        """int8 scores of int8 features: (clips, bins, frames, 1) to (clips, classes)."""
        if self.metadata.warp:
            scores = run_raw(self._interpreters[0], features)
            features = warp_int8(self.metadata.warp, features, scores)
        found = run_raw(self._interpreters[-1], features)
        return narrow(found) if found.dtype == np.int16 else found

    def classify(self, pcm: Pcm) -> Classification:
        """Classify a sound by its windows, half of each under the next; short ones end in silence.

        Args:
            pcm: int16 samples at the front end's rate, shape (samples,).
        """
        return self.classify_pieces([pcm])

    def classify_pieces(self, pieces: Iterable[Pcm]) -> Classification:
        """:meth:`classify` of a sound that comes piece by piece, with the same result.

        No more than a window and a piece are kept, beside the scores.

        Args:
            pieces: int16 samples at the front end's rate, each of shape (samples,).
        """
        frontend = self.metadata.frontend
        starts: list[int] = []
        scores: list[Int8] = []
        for start, window in _windows(pieces, self.window_samples, frontend.hop_samples):
            starts.append(start)
            features = features_int8(frontend, window / 32768.0)
            scores.append(self.run(features[None, ..., None]))
        window_scores = (np.concatenate(scores).astype(np.float64) + 128.0) / 256.0
        mean = window_scores.mean(axis=0)
        starts_s = np.array(starts) / frontend.sample_rate_hz
        return Classification(int(mean.argmax()), mean, starts_s, window_scores)

    def recognizer(self) -> StreamingRecognizer:
        """Live detection from the start, with the settings that the file has.

        Raises:
            ConfigError: the front end needs the whole clip.
        """
        return StreamingRecognizer(self.metadata.frontend, self.run, self.metadata.detector)


def _windows(pieces: Iterable[Pcm], length: int, hop: int) -> Iterator[tuple[int, Pcm]]:
    """Windows of a sound with their starts, in samples.

    Each begins half a window behind the one before. Where at least ``hop`` samples follow the last
    one, a further window ends with the sound.
    """
    step = max(length // 2, 1)
    first = 0  # of the samples that are held
    held = np.zeros(0, np.int16)
    start = 0  # of the next window
    for piece in pieces:
        held = np.concatenate([held, piece])
        while start + length <= first + len(held):
            yield start, held[start - first : start - first + length]
            start += step
        # The window that ends with the sound may begin right behind the newest one.
        kept_from = max(start - step, 0)
        held, first = held[kept_from - first :], kept_from
    if not start:
        yield 0, np.pad(held, (0, length - len(held)))
    elif (last := first + len(held) - length) - (start - step) >= hop:
        yield last, held[last - first :]


def find_model(path: Path) -> Path:
    """The ``.tflite`` that is meant: a file, or the one in the folder of an export or a run.

    Raises:
        ModelError: the folder has none.
    """
    if not path.is_dir():
        return path
    for folder in (path, path / "export"):
        if (folder / "model.tflite").is_file():
            return folder / "model.tflite"
    raise ModelError(f"{path} has no model.tflite: name an export's folder, or export the run")
