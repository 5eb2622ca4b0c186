# SPDX-License-Identifier: Apache-2.0
"""espeak-ng where it is installed, and programs that play the part of synthesisers."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def espeak() -> None:
    """Skip where espeak-ng is not installed."""
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")


@pytest.fixture
def play_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a shell script on PATH, alone before the system's shell tools.

    ``$SOUND`` is a sound file at 22.05 kHz. The script's arguments and standard input go into the
    returned file, a line each.
    """
    folder = tmp_path / "programs"
    folder.mkdir()
    sound = tmp_path / "sound.wav"
    tone = 0.3 * np.sin(np.arange(11_025) * 2 * np.pi * 300 / 22_050)
    soundfile.write(sound, tone, 22_050, subtype="PCM_16")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SOUND", str(sound))

    def play(name: str, script: str) -> Path:
        log = tmp_path / f"{name}.log"
        program = folder / name
        program.write_text(
            f'#!/bin/sh\ninput=$(cat)\nprintf "%s\\n" "$@" "$input" >> {log}\n{script}\n'
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return log

    return play
