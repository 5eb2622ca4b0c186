# SPDX-License-Identifier: Apache-2.0
"""Classifies sounds with an exported ``.tflite``."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.frontend import FrontendConfig, column_bins, features_int8
from m3net_tf.audio.frontend.windows import counting, level_of, windows_of_chunks
from m3net_tf.audio.labels import is_silence
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.runtime.desktop import LITERT, load_engine, load_fastest, load_streamed
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.foreign import read_network
from m3net_tf.runtime.interpreter import Int8, tensor_quantization
from m3net_tf.runtime.prototypes import UNUSUAL, NormalSounds, Prototypes, read_background
from m3net_tf.runtime.recognizer import Model, StreamingRecognizer, listen
from m3net_tf.runtime.sound import pcm_chunks, pcm_of_array, require_pcm
from m3net_tf.runtime.spans import sound_events
from m3net_tf.runtime.warp import warp_int8
from m3net_tf.system.errors import ConfigError, DataError, ModelError

Pcm = npt.NDArray[np.int16]
_WINDOWS_AT_ONCE = 64
_LEAST_SOUNDING = 1e-3  # of a window that is certainly silence


@dataclasses.dataclass(frozen=True)
class Classification:
    """The scores of a sound.

    Attributes:
        label: index of the class with the highest mean score; the first if several are equal.
        scores: mean score of each class over the windows with sound, 0 to 1, shape (classes,); see
            :func:`mean_of_windows`.
        starts_s: start of each window in seconds, shape (windows,).
        window_scores: scores of each window, 0 to 1, shape (windows, classes).
    """

    label: int
    scores: npt.NDArray[np.float64]
    starts_s: npt.NDArray[np.float64]
    window_scores: npt.NDArray[np.float64]


def mean_of_windows(
    scores: npt.NDArray[np.floating], labels: Sequence[str], starts: npt.ArrayLike, window: float
) -> npt.NDArray[np.float64]:
    """Scores of a sound, shape (classes,), from the scores of its windows with sound.

    Windows are weighted by the square of one minus their score for silence, so that the pauses
    around a short sound do not outvote it; and by their distance from the window before, because
    the last one may overlap it by more than half.

    Args:
        scores: 0 to 1, shape (windows, classes).
        starts: start of each window, in seconds or samples, shape (windows,).
        window: length of a window, in the same unit.
    """
    silence = [is_silence(label) for label in labels]
    sounding = 1.0 - scores[:, silence].sum(axis=1, dtype=np.float64)
    starts = np.asarray(starts, np.float64)
    distances = np.diff(starts, prepend=starts[0] - window / 2).clip(max=window / 2)
    weights = np.square(np.maximum(sounding, _LEAST_SOUNDING)) * distances
    return np.asarray(np.average(scores, axis=0, weights=weights), np.float64)


class Classifier:
    """An exported network with its front end and settings.

    Several threads may use one at once. It can be pickled, with the network in it; the process that
    unpickles it loads the engine itself.

    Args:
        path: the ``.tflite``, the folder of an export or an exported run that contains it, or the
            name of a trained network of the package.
        recipe: for a ``.tflite`` from elsewhere: a recipe with its front end, the name of a front
            end, or its settings.
        labels: for a ``.tflite`` from elsewhere: its class names in the order of the outputs, or a
            text file that has one on each line.
        engine: one of :data:`.desktop.ENGINES`, whose bytes are the same for the networks of this
            project; None: the compiled one, or ``litert`` where that does not run.
        fast: use XNNPACK's kernels instead of TFLite's reference kernels, which give the device's
            bytes.

    Attributes:
        metadata: what the file, or ``recipe`` and ``labels``, say about the network.
        engine: the engine that runs the network.
        why_not_compiled: reason why ``engine`` is ``litert`` although none was asked for; else ''.

    Raises:
        ModelError, ConfigError: as :func:`.foreign.read_network` and :func:`.desktop.load_engine`.
        FirmwareError, OSError: as the latter.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        recipe: str | Path | FrontendConfig | None = None,
        labels: str | Path | Sequence[str] | None = None,
        engine: str | None = None,
        fast: bool = False,
    ) -> None:
        self._path = find_model(Path(path))
        self._network, self.metadata = read_network(self._path, recipe, labels)
        self._words: Prototypes | None = None
        if self.metadata.enrolment_slots and any((words := self.prototypes()).names):
            self._words = words
        self._asked, self._fast = engine, fast
        self._load()

    def _load(self) -> None:
        network = self._network
        parts = [self.metadata.importance, network] if self.metadata.warp else [network]
        self._normal: NormalSounds | None = None
        if rows := self.metadata.normal_prototypes:
            _, zero_point = tensor_quantization(network, "output")
            self._normal = NormalSounds.from_rows(rows, zero_point)
        self.why_not_compiled = ""
        if self._asked is None and not self._fast:
            self._parts, self.why_not_compiled = load_fastest(parts)
            self.engine = LITERT if self.why_not_compiled else COMPILED
        else:
            self.engine = self._asked or LITERT
            self._parts = [load_engine(part, self.engine, fast=self._fast) for part in parts]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_parts"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._load()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the scores; where words are enrolled, of their places."""
        if self._words:
            named = zip(self._words.names, self.metadata.detector.labels, strict=True)
            return tuple(name or place for name, place in named)
        return (UNUSUAL,) if self._normal else self.metadata.labels

    def reached(self, scores: npt.NDArray[np.floating]) -> list[int]:
        """Classes whose scores reach their thresholds, the highest score first.

        Args:
            scores: 0 to 1, shape (classes,), of a network for several labels.
        """
        order = (-scores).argsort(kind="stable").tolist()
        classes = self.metadata.detector.classes
        return [label for label in order if scores[label] >= classes[label].threshold]

    @property
    def window_samples(self) -> int:
        """Samples in one window of the network."""
        return self.metadata.window_samples

    def run(self, features: Int8) -> Int8:
        """int8 scores of int8 features: (clips, bins, frames, 1) to (clips, classes).

        Of a network that enrols words they are the outputs, which :meth:`Prototypes.add` takes.
        """
        if self.metadata.warp:
            features = warp_int8(self.metadata.warp, features, self._parts[0](features))
        return self._scores(self._parts[-1](features))

    def _scores(self, outputs: Int8) -> Int8:
        """Scores of a network's outputs: the outputs, unless it has prototypes of normal sounds."""
        return self._normal.scores(outputs) if self._normal else outputs

    def predict(
        self, sound: str | os.PathLike[str] | npt.ArrayLike, *, sample_rate_hz: float | None = None
    ) -> dict[str, float]:
        """Mean score, 0 to 1, of each class for a sound of any rate, the highest first.

        Args:
            sound: a file, or samples as for :meth:`classify`.
            sample_rate_hz: rate of the samples; a file has its own.

        Raises:
            ConfigError: samples without their rate, or as :meth:`classify`.
            DataError: as :meth:`classify`.
        """
        if sample_rate_hz is None and not isinstance(sound, str | os.PathLike):
            raise ConfigError("samples do not tell their rate: give sample_rate_hz")
        scores = self.classify(sound, sample_rate_hz=sample_rate_hz).scores
        order = (-scores).argsort(kind="stable")
        return {self.labels[label]: float(scores[label]) for label in order}

    def classify(
        self,
        samples: str | os.PathLike[str] | npt.ArrayLike,
        *,
        sample_rate_hz: float | None = None,
    ) -> Classification:
        """Classify a sound in half-overlapping windows; a short sound is padded with silence.

        Args:
            samples: a file of any rate, or samples: int16, or floats from -1 to 1, of shape
                (samples,) or (samples, channels); channels are averaged.
            sample_rate_hz: rate of the samples; None is the front end's. A file has its own.

        Raises:
            ConfigError: a file with ``sample_rate_hz``.
            DataError: the file is missing or broken, as :func:`.sound.pcm_of_array`, or less than
                one frame of sound.
        """
        own_rate_hz = self.metadata.frontend.sample_rate_hz
        if not isinstance(samples, str | os.PathLike):
            rate_hz = own_rate_hz if sample_rate_hz is None else sample_rate_hz
            return self.classify_chunks([pcm_of_array(samples, rate_hz, own_rate_hz)])
        if sample_rate_hz is not None:
            raise ConfigError("sample_rate_hz is for samples, a file has its own: leave it out")
        return self.classify_chunks(pcm_chunks(Path(samples), own_rate_hz), str(samples))

    def classify_chunks(self, chunks: Iterable[Pcm], name: str = "the sound") -> Classification:
        """:meth:`classify` for a sound in chunks, with the same result.

        Apart from the scores, at most a chunk, a window and the features of some windows are in
        memory.

        Args:
            chunks: int16 samples at the front end's rate, each of shape (samples,).
            name: name of the sound in errors.

        Raises:
            DataError: chunks of another type, or less than one frame of sound.
        """
        words = self._known(None) if self.metadata.enrolment_slots else None
        frontend = self.metadata.frontend
        starts: list[int] = []
        levels: list[float] = []
        scores: list[Int8] = []
        features: list[Int8] = []  # of windows for which there are no scores yet
        long_enough = _long_enough(chunks, frontend.frame_samples, name)
        for start, window in windows_of_chunks(
            long_enough, self.window_samples, self.metadata.tail_samples
        ):
            starts.append(start)
            sound = window / 32768.0
            levels.append(level_of(sound))
            features.append(features_int8(frontend, sound))
            if len(features) == _WINDOWS_AT_ONCE:
                scores.append(self._class_scores(features, words))
                features.clear()
        if features:
            scores.append(self._class_scores(features, words))
        window_scores = (np.concatenate(scores).astype(np.float64) + 128.0) / 256.0
        kept = counting(np.array(levels))
        mean = mean_of_windows(
            window_scores[kept], self.labels, np.array(starts)[kept], self.window_samples
        )
        starts_s = np.array(starts) / frontend.sample_rate_hz
        return Classification(int(mean.argmax()), mean, starts_s, window_scores)

    def _class_scores(self, features: Sequence[Int8], words: Prototypes | None) -> Int8:
        """Scores of windows, shape (windows, classes)."""
        outputs = self.run(np.stack(features)[..., None])
        return words.scores(outputs) if words else outputs

    def prototypes(self) -> Prototypes:
        """Places for words of a network that enrols words; give them to :meth:`recognizer`.

        Words that were saved beside the file are in their places. With the background of the export
        beside it, each word has a threshold of its own.

        Raises:
            ConfigError: the network has classes of its own.
            DataError, ModelError: as :meth:`.Prototypes.load` and :func:`.read_background`.
        """
        if not self.metadata.enrolment_slots:
            raise ConfigError(
                f"{self.metadata.name} enrols no words: export it with m3net export --enrol"
            )
        _, zero_point = tensor_quantization(self._network, "output")
        outputs = len(self.metadata.labels)
        background = read_background(self._path.parent, outputs)
        prototypes = Prototypes(self.metadata.enrolment_slots, zero_point, background)
        prototypes.load(self._path.parent, outputs)
        return prototypes

    def examples(self, sound: str | os.PathLike[str], *, whole: bool = False) -> Int8:
        """Outputs for the windows of a recording that ``m3net device enrol`` enrols.

        Args:
            sound: a file of any rate.
            whole: take all windows, for sounds that last, instead of the one that ends after a
                word.

        Returns:
            Shape (examples, outputs); :meth:`.Prototypes.add` takes each.

        Raises:
            DataError: the file is missing, broken or silent.
        """
        from m3net_tf.runtime.enrolment import enrolled_windows  # needs more than NumPy

        frontend = self.metadata.frontend
        rate_hz = frontend.sample_rate_hz
        pcm = np.concatenate([*pcm_chunks(Path(sound), rate_hz)])
        samples = frontend.sample_count(self.metadata.frames)
        windows = enrolled_windows(pcm, samples, rate_hz, str(sound), whole=whole)
        features = [features_int8(frontend, window / np.float32(32768)) for window in windows]
        return self.run(np.stack(features)[..., None])

    def recognizer(self, prototypes: Prototypes | None = None) -> StreamingRecognizer:
        """A new live detection with the settings of the file.

        Args:
            prototypes: the words of a network that enrols words; None: the saved ones.

        Raises:
            ConfigError: the front end needs the whole clip, or a network that enrols words has
                none.
        """
        return self._recognizer(self.run, prototypes)

    def sound_events(
        self, chunks: Iterable[Pcm], prototypes: Prototypes | None = None
    ) -> list[SoundEvent]:
        """The events of :meth:`recognizer` in a recording, with the start and end of each sound.

        Args:
            chunks: int16 samples at the front end's rate, each of shape (samples,).
            prototypes: as of :meth:`recognizer`.

        Returns:
            In order of their start; see :func:`.spans.sound_events`.

        Raises:
            ConfigError: as :meth:`recognizer`.
            DataError: chunks of another type.
        """
        frontend = self.metadata.frontend
        model, detector = self._listening(self.run, prototypes)
        tape = listen(frontend, model, detector, chunks)
        return sound_events(frontend, detector, tape, self.labels)

    def _recognizer(self, model: Model, prototypes: Prototypes | None) -> StreamingRecognizer:
        return StreamingRecognizer(self.metadata.frontend, *self._listening(model, prototypes))

    def _listening(
        self, model: Model, prototypes: Prototypes | None
    ) -> tuple[Model, DetectorConfig]:
        """Scores and settings for the network's classes, or for the words enrolled by now."""
        detector = self.metadata.detector
        if not self.metadata.enrolment_slots:
            return model, detector
        words = self._known(prototypes)
        return lambda features: words.scores(model(features)), words.detector(detector)

    def _known(self, prototypes: Prototypes | None) -> Prototypes:
        """Words that are given, else the saved ones."""
        words = prototypes or self._words
        if words is None:
            raise ConfigError(
                f"{self.metadata.name} knows no words: enrol some, or give prototypes()"
            )
        return words

    def stream(self, prototypes: Prototypes | None = None) -> StreamingRecognizer:
        """As :meth:`recognizer`, where each run costs the new columns of features alone.

        Scores and events are equal. The energy gate keeps runs and their pushes away; the first run
        behind it pushes its whole window (docs/design/streaming.md).

        Raises:
            ConfigError: as :meth:`recognizer`, the network has DiffRes, or there is no source
                checkout with the engine.
            ModelError: nothing of the network streams.
            FirmwareError: there is no C compiler.
        """
        if self.metadata.warp:
            raise ConfigError("DiffRes warps the whole window: use recognizer()")
        frontend, detector = self.metadata.frontend, self.metadata.detector
        per_column = column_bins(frontend) if frontend.kind == "waveform" else 1
        try:
            model = load_streamed(self._network, detector.run_columns * per_column)
        except ModelError as error:
            raise ModelError(
                f"nothing streams while the detector's run_columns is {detector.run_columns} "
                f"({error}): give a multiple of the network's strides in time"
            ) from None
        return self._recognizer(lambda windows: self._scores(model(windows)), prototypes)


def _long_enough(chunks: Iterable[Pcm], least_samples: int, name: str) -> Iterator[Pcm]:
    """The same chunks; at their end a sound without one whole frame is refused."""
    samples = 0
    for chunk in chunks:
        require_pcm(chunk)
        samples += len(chunk)
        yield chunk
    if samples < least_samples:
        raise DataError(
            f"{name}: has {samples} samples at the network's rate, less than a frame of "
            f"{least_samples}: give a longer recording"
        )


def find_model(path: Path) -> Path:
    """Path of the ``.tflite``: ``path`` itself, or in an export, a run or a trained network.

    Raises:
        ModelError: the folder has none, or there is neither a path nor a network of this name.
    """
    path = find_pretrained(path)
    if not path.is_dir():
        return path
    for folder in (path, path / "export"):
        if (folder / "model.tflite").is_file():
            return folder / "model.tflite"
    raise ModelError(f"{path} has no model.tflite: name an export's folder, or export the run")
