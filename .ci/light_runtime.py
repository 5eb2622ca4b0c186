# SPDX-License-Identifier: Apache-2.0
"""Runs the kept exports of all versions with tflite-runtime: their scores must be the same."""

from __future__ import annotations

import json
import sys
import tempfile
import wave
import zipfile
from pathlib import Path

import numpy as np

from m3net_tf.runtime import Classifier
from m3net_tf.runtime.interpreter import PREDECESSOR

EXPORTS = Path(__file__).parents[1] / "tests/data/exports"


def check(folder: Path) -> None:
    """Compare the scores of an export's test vectors, and classify one of them as a file."""
    vectors = folder / "vectors"
    index = json.loads((vectors / "vectors.json").read_text())
    pcm, features, outputs = (
        np.frombuffer((vectors / name).read_bytes(), index[name]["dtype"]).reshape(
            index[name]["shape"]
        )
        for name in ("pcm_int16.bin", "features_int8.bin", "outputs_int8.bin")
    )
    classifier = Classifier(folder, engine="litert")
    assert np.array_equal(classifier.run(features), outputs), f"{folder.name}: other scores"
    sound = folder / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(classifier.metadata.frontend.sample_rate_hz)
        file.writeframes(pcm[0].tobytes())
    scores = classifier.classify(sound).scores
    assert scores.argmax() == outputs[0].argmax(), f"{folder.name}: another label of a file"


if __name__ == "__main__":
    assert PREDECESSOR, "ai-edge-litert is installed"
    for archive in sorted(EXPORTS.glob("*.zip")):
        with tempfile.TemporaryDirectory() as scratch:
            zipfile.ZipFile(archive).extractall(Path(scratch) / archive.stem)
            check(Path(scratch) / archive.stem)
        print(f"{archive.stem}: same scores", file=sys.stderr)
