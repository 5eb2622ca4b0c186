# SPDX-License-Identifier: Apache-2.0
"""The projects of ``examples/`` with an exported library: compiled, linked and run."""

from __future__ import annotations

import configparser
from pathlib import Path

import numpy as np
import pytest
from exported_library import (
    ARDUINO,
    ESP_IDF,
    EXAMPLES,
    c_array,
    compile_layout,
    desktop_events,
    emulate,
    link,
    recording,
    sound,
)
from firmware_helpers import compile_for_host, run_tool

from m3net_tf.boards.builds.layouts import write_layout


def run_example(bundle, layout: str, source: Path, folder: Path, pcm: np.ndarray) -> list[str]:
    """Lines that a sketch prints whose microphone hears some samples."""
    objects = compile_layout(bundle, layout, folder)
    (folder / "vectors.h").write_text("#include <stdint.h>\n" + c_array("pcm", pcm))
    return emulate(link(objects, layout, [source, ARDUINO / "board.cc"], [ARDUINO, folder]))


def events_of(lines: list[str]) -> list[str]:
    """What an example prints of sounds, without its lines on the microphone's level."""
    return [line for line in lines if not line.startswith("microphone ")]


@pytest.mark.slow
@pytest.mark.parametrize("sketch", ["listen", "listen_esp32"])
def test_the_arduino_sketches_print_the_events_of_the_desktop(
    arm_emulation, warped_bundle, tmp_path, sketch
):
    pcm = recording(warped_bundle.frontend.hop_samples)
    source = EXAMPLES / "arduino" / sketch / f"{sketch}.ino"
    printed = events_of(run_example(warped_bundle, "arduino", source, tmp_path, pcm))
    assert printed == desktop_events(warped_bundle, pcm) and len(set(printed)) > 1


@pytest.mark.slow
def test_the_application_for_esp_idf_prints_the_events_of_the_desktop(warped_bundle, tmp_path):
    pcm = recording(warped_bundle.frontend.hop_samples)
    (tmp_path / "vectors.h").write_text("#include <stdint.h>\n" + c_array("pcm", pcm))
    library = write_layout(warped_bundle, "esp-idf", tmp_path)
    sources = [*(library / "src" / "m3net").glob("*.c"), library / "examples/listen/main/main.c"]
    folders = (library / "src", ESP_IDF, tmp_path)
    program = compile_for_host(tmp_path / "listen", [*sources, ESP_IDF / "board.c"], folders)
    printed = events_of(run_tool(program).decode().splitlines())
    assert printed == desktop_events(warped_bundle, pcm) and len(set(printed)) > 1


@pytest.mark.slow
def test_the_platformio_project_times_the_library(arm_emulation, library_bundle, tmp_path):
    source = EXAMPLES / "platformio" / "src" / "main.cpp"
    printed = run_example(library_bundle, "platformio", source, tmp_path, sound(1, 8))
    names = [line.partition(":")[0] for line in printed]
    assert names[:3] == ["front end, each column", "network", "CONV_2D"]
    assert names[-1] == "SOFTMAX" and all(line.endswith(" us") for line in printed)


def test_the_platformio_project_finds_the_library():
    project = configparser.ConfigParser()
    project.read(EXAMPLES / "platformio" / "platformio.ini")
    place = (EXAMPLES / "platformio" / project["env"]["lib_extra_dirs"]).resolve()
    assert place == EXAMPLES.parent / "runs" / "demo" / "layouts" / "platformio"
    assert all(
        section["platform"] and section["board"]
        for name, section in project.items()
        if name.startswith("env:")
    )
