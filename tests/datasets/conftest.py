# SPDX-License-Identifier: Apache-2.0
"""Small sounds for the tests, and real ones where somebody has put them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def write_wav() -> Callable[..., Path]:
    """Write int16 samples (noise by default) to a WAV file, making its folders."""

    def write(path: Path, pcm: np.ndarray | int = 16_000, rate_hz: int = 16_000) -> Path:
        if isinstance(pcm, int):
            pcm = np.random.default_rng(pcm).integers(-9000, 9000, pcm).astype(np.int16)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, pcm, rate_hz, subtype="PCM_16")
        return path

    return write
