# SPDX-License-Identifier: Apache-2.0
"""Own recordings of a wake word: a trained network finds the window in which the phrase ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from m3net_tf.audio.datasets import read_audio, to_pcm16
from m3net_tf.evaluation.live import fastest_engine
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector import due_columns
from m3net_tf.runtime.recognizer import listen
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.locks import complete_folder


def cut_own_phrases(bundle: Bundle, recordings: Mapping[str, Sequence[Path]], folder: Path) -> int:
    """Cut a window out of each recording, with the end of the phrase at its place in training.

    Args:
        bundle: export of a network that knows the phrases from other voices.
        recordings: by class, sound files in each of which the phrase is said once.
        folder: gets ``<class>/<number>-<name>.wav``; it appears when it is complete.

    Returns:
        Number of the recordings.

    Raises:
        ConfigError: the network has no such class.
        DataError: a recording cannot be read.
    """
    frontend, config = bundle.frontend, dataclasses.replace(bundle.detector, gate_level=None)
    engine = fastest_engine(bundle, config)
    window = frontend.frame_samples + (config.window_columns - 1) * frontend.hop_samples
    with complete_folder(folder) as scratch:
        for label, paths in recordings.items():
            if label not in bundle.labels:
                raise ConfigError(
                    f"{label!r} is no phrase of the network: choose one of "
                    f"{', '.join(bundle.labels)}"
                )
            (scratch / label).mkdir()
            for number, path in enumerate(paths):
                sound = read_audio(path, sample_rate_hz=frontend.sample_rate_hz)
                # The phrase may begin at once, and end at the end.
                pcm = to_pcm16(np.pad(sound, (window, window // 2)))
                tape = listen(frontend, engine, config, [pcm])
                run = int(tape.scores[:, bundle.labels.index(label)].argmax())
                last = int(due_columns(config, len(tape.levels))[run])
                end = last * frontend.hop_samples + frontend.frame_samples
                name = f"{number:03d}-{path.stem}.wav"
                cut = pcm[end - window : end]
                soundfile.write(scratch / label / name, cut, frontend.sample_rate_hz)
    return sum(map(len, recordings.values()))
