# SPDX-License-Identifier: Apache-2.0
"""The test vectors of the exported run, files with changed metadata, and the command itself."""

from __future__ import annotations

import functools
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typed_commands import status_of

from m3net_tf.export import Bundle
from m3net_tf.export.reference import read_vectors
from m3net_tf.runtime import attach_metadata


@pytest.fixture(scope="session")
def vectors(exported) -> tuple[np.ndarray, np.ndarray]:
    """Samples and scores of the export's test vectors."""
    stored = read_vectors(exported)
    return stored.pcm, stored.scores


@pytest.fixture(scope="session")
def write_wav() -> Callable[..., Path]:
    """Write a WAV file of whole numbers by the standard library."""

    def write(path: Path, pcm: np.ndarray, rate_hz: int = 16_000, width: int = 2) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
            file.setsampwidth(width)
            file.setframerate(rate_hz)
            file.writeframes(pcm.tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def classify() -> Callable[..., int]:
    """Run ``m3net classify WORDS``; returns its status."""
    return functools.partial(status_of, "classify")


@pytest.fixture
def standard_library_alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, there are no packages that decode sounds."""

    def lose() -> None:
        monkeypatch.setitem(sys.modules, "m3net_tf.audio.datasets.audio", None)

    return lose


@pytest.fixture
def lively(with_metadata, tmp_path: Path) -> Callable[..., Path]:
    """Write the exported file with thresholds for a network that is barely trained, never sure."""

    def write(**detector: object) -> Path:
        def change(manifest: dict) -> None:
            manifest["detector"] |= detector
            for settings in manifest["detector"]["classes"]:
                settings |= {"threshold": 0.1, "release": 0.09, "hits": 1}
                settings["suppression_columns"] = 10

        return with_metadata(tmp_path / "lively.tflite", change)

    return write


@pytest.fixture
def with_metadata(exported: Bundle) -> Callable[[Path, Callable[[dict], None]], Path]:
    """Write the exported file with changed metadata."""

    def write(path: Path, change: Callable[[dict], None]) -> Path:
        manifest = exported.manifest.to_dict()
        change(manifest)
        path.write_bytes(attach_metadata(exported.tflite, manifest))
        return path

    return write
