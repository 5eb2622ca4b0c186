# SPDX-License-Identifier: Apache-2.0
"""Networks of microWakeWord and openWakeWord, run by the packages of their publishers."""

import dataclasses
import importlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.compiler.wake_words import read_wake_word
from m3net_tf.runtime.detector import Tape
from m3net_tf.runtime.detector_config import ClassSettings, DetectorConfig, at_threshold
from m3net_tf.system.errors import ConfigError, DataError

RATE_HZ = 16_000
_FEATURE_SAMPLES = 160  # from one column of microWakeWord's features to the next
_FRAME_SAMPLES = 1280  # that openWakeWord takes at once
_QUIET_S = 1.0  # after an event: ESPHome ignores about so much before the next one
_THRESHOLD = 0.5  # that openWakeWord's pages recommend
Pcm = npt.NDArray[np.int16]
Scores = Callable[[Iterable[Pcm]], Iterator[float]]
"""Gives the probability of each run of the network for a sound."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """A network with its publisher's settings, as a detector of one class.

    Attributes:
        frontend: rate, frame and hop of its features, from which events have their times.
        scores: from a sound in pieces.
    """

    name: str
    frontend: FrontendConfig
    config: DetectorConfig
    scores: Scores

    @property
    def word(self) -> str:
        """What it detects."""
        return self.config.classes[0].label

    def tape(self, chunks: Iterable[Pcm]) -> Tape:
        """The scores of a sound; probabilities in 256ths, as microWakeWord's networks give them."""
        shares = np.fromiter(self.scores(chunks), np.float64)
        scores = np.clip(np.round(256 * shares) - 128, -128, 127).astype(np.int8)
        columns = len(scores) * self.config.run_columns
        return Tape(np.zeros(columns, np.int32), scores[:, None])


def load_rival(name: str, word: str) -> Rival:
    """Load a network.

    Args:
        name: ``microwakeword:NAME`` or ``openwakeword:NAME`` for one that comes with the package;
            or a file: microWakeWord's manifest ``.json`` with its network beside it, or
            openWakeWord's ``.onnx`` or ``.tflite``.
        word: label of its class.

    Raises:
        ConfigError: the package is not installed, or there is no such network.
        DataError: a network's file is missing.
        ModelError: a manifest is damaged.
    """
    kind, _, builtin = name.partition(":")
    if kind == "microwakeword":
        models = Path(_package("pymicro_wakeword", "pymicro-wakeword").__file__).parent / "models"
        return _micro_wake_word(name, models / f"{builtin}.json", word)
    if kind == "openwakeword":
        return _open_wake_word(name, builtin, word)
    path = Path(name)
    if path.suffix == ".json":
        return _micro_wake_word(path.name, path, word)
    if path.suffix in (".onnx", ".tflite"):
        _require_file(path)
        return _open_wake_word(path.name, str(path), word)
    raise ConfigError(
        f"--rival {name}: give microwakeword:NAME, openwakeword:NAME, a manifest .json of "
        "microWakeWord, or an .onnx or .tflite of openWakeWord"
    )


def _micro_wake_word(name: str, manifest: Path, word: str) -> Rival:
    package = _package("pymicro_wakeword", "pymicro-wakeword")
    if not manifest.is_file():
        known = ", ".join(path.stem for path in sorted(manifest.parent.glob("*.json")))
        raise ConfigError(f"--rival {name}: there is no {manifest.name}; known: {known or 'none'}")
    read = read_wake_word(manifest)
    _require_file(read.model)
    # The detector here takes the mean, so the package has to give each run's probability.
    single = {
        "wake_word": read.phrase,
        "model": str(read.model.resolve()),
        "micro": {"probability_cutoff": read.cutoff, "sliding_window_size": 1},
    }

    def load() -> Any:
        with tempfile.TemporaryDirectory(prefix="m3net-") as folder:
            path = Path(folder) / manifest.name
            path.write_text(json.dumps(single), encoding="utf-8")
            return package.MicroWakeWord.from_config(path)

    stride = load().stride

    def scores(chunks: Iterable[Pcm]) -> Iterator[float]:
        model = load()
        features = package.MicroWakeWordFeatures()
        column = 0
        for chunk in chunks:
            for each in features.process_streaming(chunk.tobytes()):
                share = model.process_streaming_prob(each)
                column += 1
                if column % stride == 0:
                    yield share

    frontend = FrontendConfig(frame_samples=480, hop_samples=_FEATURE_SAMPLES)
    return Rival(
        name, frontend, _detector(word, frontend, stride, read.cutoff, read.window), scores
    )


def _open_wake_word(name: str, model: str, word: str) -> Rival:
    package = _package("openwakeword", "openwakeword")
    framework = "tflite" if model.endswith(".tflite") else "onnx"

    def load() -> Any:
        try:
            return package.Model(wakeword_models=[model], inference_framework=framework)
        except Exception as error:
            raise ConfigError(
                f"--rival {name}: openwakeword cannot load it ({error}): its networks are fetched "
                "by python -c 'import openwakeword.utils as u; u.download_models()'"
            ) from None

    load()

    def scores(chunks: Iterable[Pcm]) -> Iterator[float]:
        listening = load()
        rest = np.zeros(0, np.int16)
        for chunk in chunks:
            rest = np.concatenate([rest, chunk])
            while len(rest) >= _FRAME_SAMPLES:
                (share,) = listening.predict(rest[:_FRAME_SAMPLES]).values()
                rest = rest[_FRAME_SAMPLES:]
                yield float(share)

    frontend = FrontendConfig(
        frame_samples=_FRAME_SAMPLES, hop_samples=_FRAME_SAMPLES, fft_samples=2048
    )
    return Rival(name, frontend, _detector(word, frontend, 1, _THRESHOLD, 1), scores)


def _detector(
    word: str, frontend: FrontendConfig, run_columns: int, threshold: float, window_runs: int
) -> DetectorConfig:
    settings = at_threshold(
        ClassSettings(word, window_runs=window_runs, hits=1),
        threshold,
        suppression_columns=round(_QUIET_S / frontend.hop_s),
    )
    return DetectorConfig(run_columns, 1, (settings,), run_columns=run_columns)


def _package(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"--rival needs the package {package}: pip install {package}") from None


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: is missing: name the file of a network")
