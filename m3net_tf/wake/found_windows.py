# SPDX-License-Identifier: Apache-2.0
"""Windows that a trained wake word finds: where a phrase ends, and what it takes for a phrase."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.audio.datasets.audio import write_wav
from m3net_tf.audio.datasets.dataset import LONGEST_S
from m3net_tf.evaluation.live import fastest_engine
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector import due_columns
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.recognizer import listen
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import complete_folder

_LEAST_SCORE = 0.1  # of a window that is taken for a phrase
_APART_S = 0.5
_MOST = 2000


def cut_own_phrases(bundle: Bundle, recordings: Mapping[str, Sequence[Path]], folder: Path) -> int:
    """Cut a window out of each recording, with the end of the phrase at its place in training.

    Args:
        recordings: for each class, sound files in each of which the phrase is said once.
        folder: gets ``<class>/<number>-<name>.wav``; it appears when it is complete.

    Returns:
        Number of the recordings.

    Raises:
        ConfigError: the network has no such class.
        DataError: a recording cannot be read.
    """
    frontend = bundle.frontend
    config = dataclasses.replace(bundle.detector, gate_level=None)
    engine = fastest_engine(bundle, config)
    window = _window_samples(bundle)
    with complete_folder(folder) as scratch:
        for label, paths in recordings.items():
            if label not in bundle.labels:
                raise ConfigError(
                    f"{label!r} is not a phrase of the network: choose one of "
                    f"{', '.join(bundle.labels)}"
                )
            (scratch / label).mkdir()
            for number, path in enumerate(paths):
                rate_hz = frontend.sample_rate_hz
                sound = read_audio(path, sample_rate_hz=rate_hz, most=round(LONGEST_S * rate_hz))
                # The phrase may begin at once, and end at the end.
                pcm = to_pcm16(np.pad(sound, (window, window // 2)))
                tape = listen(frontend, engine, config, [pcm])
                run = int(tape.scores[:, bundle.labels.index(label)].argmax())
                end = int(_ends(bundle, config, len(tape.levels))[run])
                name = f"{number:03d}-{path.stem}.wav"
                cut = pcm[end - window : end]
                write_wav(scratch / label / name, cut, frontend.sample_rate_hz)
    return sum(map(len, recordings.values()))


def cut_false_accepts(bundle: Bundle, recordings: Sequence[Path], folder: Path) -> int:
    """Cut the windows of recordings without a phrase that a network most takes for one.

    Args:
        recordings: sound files in which no phrase is said, each at least as long as the window.
        folder: gets ``<number>.wav``; it appears when it is complete.

    Returns:
        Number of the windows.

    Raises:
        DataError: a recording cannot be read.
    """
    frontend = bundle.frontend
    config = dataclasses.replace(bundle.detector, gate_level=None)
    engine = fastest_engine(bundle, config)
    window = _window_samples(bundle)
    phrases = [label for label, settings in enumerate(config.classes) if settings.event]
    found: list[tuple[int, Path, int]] = []  # score, recording, end
    for path in recordings:
        tape = listen(frontend, engine, config, pcm_chunks(path, frontend.sample_rate_hz))
        scores = tape.scores[:, phrases].max(axis=1).astype(int)
        ends = _ends(bundle, config, len(tape.levels))
        apart = round(_APART_S * frontend.sample_rate_hz)
        while len(scores) and scores.max() >= 256 * _LEAST_SCORE - 128:
            run = int(scores.argmax())
            found.append((int(scores[run]), path, int(ends[run])))
            scores[abs(ends - ends[run]) < apart] = -128
    found = sorted(found, key=lambda each: -each[0])[:_MOST]
    with complete_folder(folder) as scratch:
        for number, (_, path, end) in enumerate(found):
            sound, _ = soundfile.read(path, dtype="int16", start=end - window, stop=end)
            write_wav(scratch / f"{number:05d}.wav", sound, frontend.sample_rate_hz)
    return len(found)


def _window_samples(bundle: Bundle) -> int:
    frontend = bundle.frontend
    return frontend.frame_samples + (bundle.detector.window_columns - 1) * frontend.hop_samples


def _ends(bundle: Bundle, config: DetectorConfig, columns: int) -> npt.NDArray[np.int64]:
    """The last sample of each run's window, exclusive, shape (runs,)."""
    last = due_columns(config, columns)
    return last * bundle.frontend.hop_samples + bundle.frontend.frame_samples
