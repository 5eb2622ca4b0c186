# SPDX-License-Identifier: Apache-2.0
"""The projects of ``examples/`` with an exported library: compiled, linked and run."""

from __future__ import annotations

import configparser
from pathlib import Path

import numpy as np
from exported_library import ARDUINO, EXAMPLES, c_array, compile_layout, emulate, link, sound
from firmware_helpers import FRAMES

from m3net_tf.audio.frontend.fixed import fixed_features_int8
from m3net_tf.runtime import Detector


def run_example(bundle, layout: str, source: Path, folder: Path, pcm: np.ndarray) -> list[str]:
    """Lines that a sketch prints whose microphone hears some samples."""
    objects = compile_layout(bundle, layout, folder)
    (folder / "vectors.h").write_text("#include <stdint.h>\n" + c_array("pcm", pcm))
    return emulate(link(objects, layout, [source, ARDUINO / "board.cc"], [ARDUINO, folder]))


def test_the_arduino_sketch_prints_the_events_of_the_desktop(
    arm_emulation, warped_bundle, tmp_path
):
    bundle = warped_bundle
    pcm = np.concatenate([sound(seed, 20_000)[:: (-1) ** seed] for seed in range(4)])
    sketch = EXAMPLES / "arduino" / "listen" / "listen.ino"
    printed = run_example(bundle, "arduino", sketch, tmp_path, pcm)
    features = fixed_features_int8(bundle.frontend, pcm)
    detector = Detector(bundle.detector)
    events = []
    for end in range(1, features.shape[1] + 1):
        if detector.wants_inference(features[:, end - 1]):
            window = features[None, :, end - FRAMES : end, None]
            events.append(detector.step(bundle.run_reference(window)[0]))
    expected = [
        f"{bundle.labels[event.label]} {100 * event.score // 65536} %" for event in events if event
    ]
    assert printed == expected and len(set(printed)) > 1


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
