# SPDX-License-Identifier: Apache-2.0
"""Small sounds for the tests, and real ones where somebody has put them."""

import os
import subprocess
import sys
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


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of an unpacked subset: in $M3NET_TEST_DATA, or unpacked from ../shared/data."""
    packed = Path(__file__).parents[3] / "shared" / "data"

    def find(name: str) -> Path:
        folder = os.environ.get("M3NET_TEST_DATA")
        if folder and (Path(folder) / name).is_dir():
            return Path(folder) / name
        if not (packed / f"{name}.tar").is_file():
            pytest.skip(f"no real data: set M3NET_TEST_DATA to a folder with {name}/")
        target = tmp_path_factory.getbasetemp() / "real"
        subprocess.run([sys.executable, packed / "unpack", name, target], check=True)
        return target / name if (target / name).is_dir() else target

    return find
