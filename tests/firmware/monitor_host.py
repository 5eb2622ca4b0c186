# SPDX-License-Identifier: Apache-2.0
"""The host build of the monitor, and the scores of its stand-in for a model."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from firmware_helpers import (
    CLASSES,
    FRAMES,
    build_with_cmake,
    cmsis_dsp,
    labels_of,
    small_model,
    write_bundle,
)

from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.runtime import DetectorConfig
from m3net_tf.runtime.prototypes import UNUSUAL, NormalSounds

WINDOW_SAMPLES = (FRAMES - 1) * 320 + 512

__all__ = [
    "CLASSES",
    "WINDOW_SAMPLES",
    "behind_pty",
    "build_monitor",
    "expected_output",
    "host_features",
]


def build_monitor(
    folder: Path,
    *choices: str,
    target: str = "m3net_monitor_host",
    classes: int = CLASSES,
    output_scale: float = 1 / 256,
    enrolment_slots: int | None = None,
    normal: NormalSounds | None = None,
) -> Path:
    """Compile the monitor for the host under sanitisers; skips where that is not possible.

    ``choices`` are CMake settings, ``NAME=VALUE``; settings of earlier calls for the folder stay.
    Another call compiles only what they change, and leaves the program of the call before as it
    is. ``target`` may be another program of ``firmware/host``.
    """
    # Never run, because firmware/host/model.c replaces it: any bytes will do.
    model = small_model(
        b"no model",
        classes=classes,
        output_quantization=(output_scale, -128),
        enrolment_slots=enrolment_slots,
        normal_prototypes=normal.rows if normal else (),
    )
    config = FrontendConfig()
    labels = (UNUSUAL,) if normal else labels_of(enrolment_slots or classes)
    detector = DetectorConfig.default(config, FRAMES, labels)
    bundle = write_bundle(folder / "bundle", model, config, detector=detector)
    settings = [f"-DM3NET_BUNDLE_DIR={bundle}", f"-DM3NET_SRC_CMSIS_DSP={cmsis_dsp()}"]
    settings += [f"-D{choice}" for choice in choices]
    program = build_with_cmake(folder / "build", settings, target)
    return Path(shutil.copy(program, folder / "-".join([target, *choices])))


@contextlib.contextmanager
def behind_pty(program: Path, *words: str | Path) -> Iterator[str]:
    """A board behind a pty, whose path it gives."""
    host_end, device_end = os.openpty()
    process = subprocess.Popen(
        [program, "serve", *words], stdin=host_end, stdout=host_end, stderr=subprocess.PIPE
    )
    path = os.ttyname(device_end)
    try:
        yield path
    finally:
        os.close(device_end)  # the program ends by itself then, and its coverage is kept
        for _ in range(300):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=0.2)
                break
            # Linux does not wake a program that writes to the full buffer of the closed end.
            end = os.open(path, os.O_RDWR | os.O_NOCTTY)
            termios.tcflush(end, termios.TCIFLUSH)
            os.close(end)
        else:
            process.kill()
            process.communicate()
        os.close(host_end)


def expected_output(features: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """Scores of firmware/host/model.c for features (bins, frames): int8, shape (classes,)."""
    values = features.astype(int).ravel()
    sums = np.array([values[label::classes].sum() for label in range(classes)])
    return np.clip(sums // 64, -128, 127).astype(np.int8)


def host_features(pcm: np.ndarray) -> np.ndarray:
    """int8 features (bins, frames) of int16 samples, by the reference."""
    return features_int8(FrontendConfig(), pcm / 32768.0)
