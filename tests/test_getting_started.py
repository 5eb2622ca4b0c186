# SPDX-License-Identifier: Apache-2.0
"""docs/guide/first_hour.md: its commands run in their order, on few and small sounds."""

import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typed_commands import m3net

from m3net_tf.audio.datasets.speech_commands import WORDS_35
from m3net_tf.boards.emulation.starting import why_no_emulation

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guide" / "first_hour.md").read_text()
OWN_RUN, OWN_SOUNDS, ON_A_BOARD = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
RECIPE = "experiments/mcu/m3net_speech_commands.yaml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_emulation("mps2_an386")), reason="no emulated board here"),
]


def calls(block: str) -> list[list[str]]:
    """Words of the calls of m3net in a block; make says which ones its targets make."""
    found = []
    for line in block.splitlines():
        command = line.partition("#")[0].strip()
        if command.startswith("make "):
            dry = ["make", "--dry-run", "--no-print-directory", *command.split()[1:]]
            done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
            found += re.findall(r"^\S+/bin/m3net (.*)$", done.stdout, re.MULTILINE)
        elif command.startswith("m3net "):
            found.append(command.removeprefix("m3net "))
    return [call.split() for call in found]


def write_noise(path: Path, seconds: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-2:]).encode()))
    soundfile.write(path, rng.integers(-9000, 9000, seconds * 16_000).astype(np.int16), 16_000)


def shorten(recipe: Path) -> None:
    values = yaml.safe_load(recipe.read_text())
    values["training"]["epochs"] = values["augmentation"]["copies"] = 1
    values["training"].pop("cross_validation", None)  # to save time
    recipe.write_text(yaml.safe_dump(values))


@pytest.fixture
def folder(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the run of the demonstration and a sound."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "runs/demo")
    write_noise(tmp_path / "clip.wav")
    return tmp_path


@pytest.fixture
def speech_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three speakers, one of each split, say each word; DATA_DIR as on the page."""
    data = folder / "speech_commands_v0.02"
    for word in WORDS_35:
        for speaker in range(3):
            write_noise(data / word / f"{speaker:08x}_nohash_0.wav")
    write_noise(data / "_background_noise_" / "noise.wav", seconds=10)
    for speaker, split in ((1, "validation"), (2, "testing")):
        names = [f"{word}/{speaker:08x}_nohash_0.wav" for word in WORDS_35]
        (data / f"{split}_list.txt").write_text("\n".join(names) + "\n")
    assert "export DATA_DIR=~/data/speech_commands_v0.02 " in OWN_RUN
    monkeypatch.setenv("DATA_DIR", str(data))


def test_your_own_run(folder: Path, speech_commands: None):
    (folder / RECIPE).parent.mkdir(parents=True)
    shutil.copy(ROOT / RECIPE, folder / RECIPE)
    shorten(folder / RECIPE)
    typed = calls(OWN_RUN)
    assert ["train", RECIPE] in [words[:2] for words in typed] and len(typed) == 7
    m3net(["export", "runs/demo"])  # which make demo does
    printed = [m3net(words) for words in typed]
    run = folder / "runs" / "m3net_speech_commands"
    assert (run / "metrics.json").is_file() and (run / "export" / "model.tflite").is_file()
    assert printed[-1].startswith("clip.wav: ")


def test_your_own_sounds(folder: Path):
    for label in ("clap", "snap"):
        for speaker in range(6):
            for take in ("01", "02"):
                write_noise(folder / "sounds" / label / f"spk{speaker:02}_{take}.wav")
    first, *others = calls(OWN_SOUNDS)
    assert first == ["init", "sounds"] and len(others) == 5
    m3net(first)
    shorten(folder / "sounds_project" / "recipe.yaml")
    printed = [m3net(words) for words in others]
    assert printed[-1].startswith("sounds/clap/spk03_01.wav: ")


def test_on_a_board(folder: Path):
    block = ON_A_BOARD.replace("--hours 1 ", "--hours 0.02 ")
    block = block.replace("/dev/ttyACM0", "qemu:mps2_an386")  # as the page says below
    evaluate, flash, monitor, device = calls(block)
    assert flash == ["flash", "runs/demo"]  # needs a board: tests/firmware/test_boards_flash.py
    m3net(["export", "runs/demo"])
    assert "false accepts" in m3net(evaluate)
    assert "s of sound" in m3net([*monitor, "--play", "clip.wav"])
    m3net(device)
