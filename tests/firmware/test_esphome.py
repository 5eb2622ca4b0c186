# SPDX-License-Identifier: Apache-2.0
"""The component for ESPHome: its description, and what ESPHome itself makes of it.

The variable ``ESPHOME`` names the Python of an environment with it; ``make esphome`` makes one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from exported_library import LABELS, NAME, desktop_events, recording
from firmware_helpers import WARNINGS, run_tool
from refusals import refuses
from test_wake_words import write_wake_word as write_wake_word_file

from m3net_tf.boards.builds.layouts import write_layout
from m3net_tf.compiler.wake_words import WakeWord, read_wake_word, write_wake_word
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector_config import at_threshold
from m3net_tf.system.errors import ConfigError

HERE = Path(__file__).parent / "esphome"  # a microphone, and stand-ins for ESP-IDF
#: Headers of ESP-IDF and FreeRTOS that ESPHome's own include.
ESP_IDF_HEADERS = """
    esp_attr.h esp_cpu.h esp_err.h esp_heap_caps.h esp_log.h esp_task_wdt.h freertos/FreeRTOS.h
    freertos/semphr.h freertos/task.h sdkconfig.h
""".split()


MICRO_WAKE_WORD = """
esphome: {name: listener}
esp32: {board: esp32-s3-devkitc-1, framework: {type: esp-idf}}
i2s_audio: {i2s_lrclk_pin: GPIO3, i2s_bclk_pin: GPIO2}
microphone:
  - {platform: i2s_audio, adc_type: external, i2s_din_pin: GPIO4, pdm: false}
micro_wake_word:
  models:
    - model: hey_lamp.json
"""


@pytest.fixture(scope="session")
def esphome() -> str:
    """The Python of an environment with ESPHome; skips without one."""
    python = os.environ.get("ESPHOME")
    if python is None:
        pytest.skip("ESPHOME names no environment: make esphome")
    return python


def generate(esphome: str, source: Path, program: tuple[object, ...] = ("-m", "esphome")) -> Path:
    """Check a configuration and write its C++; returns the folder of its build."""
    run_tool(esphome, *program, "compile", "--only-generate", source)
    return source.parent / ".esphome" / "build" / "listener"


def with_some_events(bundle: Bundle, events: set[str]) -> Bundle:
    classes = tuple(
        dataclasses.replace(each, event=each.label in events) for each in bundle.detector.classes
    )
    detector = dataclasses.replace(bundle.detector, classes=classes)
    return Bundle(bundle.folder, dataclasses.replace(bundle.manifest, detector=detector))


def test_it_has_the_facts_of_the_export(library_bundle: Bundle, tmp_path: Path):
    bundle = with_some_events(library_bundle, {"no", 'a "b"'})
    folder = write_layout(bundle, "esphome", tmp_path)
    facts = json.loads((folder / "export.json").read_text())
    assert facts["classes"] == {"no": 1, 'a "b"': 5}
    assert facts["sample_rate_hz"] == bundle.frontend.sample_rate_hz
    example = yaml.safe_load((folder / "listen.yaml").read_text())
    assert NAME in example
    (source,) = example["external_components"]
    assert (folder / source["source"]["path"] / NAME).samefile(folder)
    assert example["microphone"][0]["sample_rate"] == bundle.frontend.sample_rate_hz
    for platform in ("binary_sensor", "number"):
        entities = example[platform]
        assert [entity["platform"] for entity in entities] == [NAME, NAME]
        assert [entity["label"] for entity in entities] == ["no", 'a "b"']


def test_exports_without_a_class_to_detect_are_refused(library_bundle: Bundle, tmp_path: Path):
    with refuses(ConfigError, "detects no class"):
        write_layout(with_some_events(library_bundle, set()), "esphome", tmp_path)
    manifest = dataclasses.replace(library_bundle.manifest, enrolment_slots=2)
    with refuses(ConfigError, "without --enrol"):
        write_layout(Bundle(library_bundle.folder, manifest), "esphome", tmp_path)


@pytest.mark.parametrize("name", [None, "wake"])
def test_esphome_takes_the_example_and_it_compiles_for_esp32(
    esphome: str, library_bundle: Bundle, tmp_path: Path, name: str | None
):
    folder = write_layout(library_bundle, "esphome", tmp_path, name)
    build = generate(esphome, folder / "listen.yaml")
    components = yaml.safe_load((build / "src" / "idf_component.yml").read_text())["dependencies"]
    library = Path(components[name or NAME]["path"])
    assert library.samefile(folder)
    main = (build / "src" / "main.cpp").read_text()
    assert main.count("->add_binary_sensor(") == len(LABELS)
    assert len(re.findall(r"Threshold\(\d, true\)", main)) == len(LABELS)
    for header in ESP_IDF_HEADERS:
        path = tmp_path / "esp_idf" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#include "{HERE / "esp_idf.h"}"\n')
    flags = re.findall(r"^    (-D\S+|-std=gnu\S+20)$", (build / "platformio.ini").read_text(), re.M)
    folders = [f"-I{library / 'src'}", f"-isystem{build / 'src'}", f"-isystem{path.parents[1]}"]
    folders.append(f"-isystem{tmp_path / 'esp_idf'}")
    source = build / "src" / "esphome" / "components" / folder.name / "listener.cpp"
    run_tool("g++", *flags, *WARNINGS, *folders, "-fsyntax-only", source)


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("label: 'yes'", "label: 'maybe'", "Unknown value 'maybe'"),
        ("label: 'yes'", "label: yes", "wrap the value in quotes"),
        ("sample_rate: 16000", "sample_rate: 8000", "16000"),
    ],
)
def test_esphome_refuses_what_the_network_does_not_have(
    esphome: str, library_bundle: Bundle, tmp_path: Path, right: str, wrong: str, reason: str
):
    source = write_layout(library_bundle, "esphome", tmp_path) / "listen.yaml"
    text = source.read_text().replace('"yes"', "'yes'")
    assert right in text
    source.write_text(text.replace(right, wrong, 1))
    command = [esphome, "-m", "esphome", "config", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode != 0 and reason in done.stdout + done.stderr


def test_esphome_takes_a_written_wake_word(esphome: str, tmp_path: Path):
    model = read_wake_word(write_wake_word_file(tmp_path)).model
    word = WakeWord("hey lamp", model, 0.97, 8, 10)
    write_wake_word(word, tmp_path / "hey_lamp.json", "en")
    source = tmp_path / "listener.yaml"
    source.write_text(MICRO_WAKE_WORD)
    main = (generate(esphome, source) / "src" / "main.cpp").read_text()
    assert re.search(r"WakeWordModel\([^;]*247, 8, \"hey lamp\"", main)


CONFIGURATION = """
esphome:
  name: listener
  on_boot:
    priority: -200
    then:
      - lambda: printf("threshold %.1f\\n", id(changed).state);
      - number.set: {id: changed, value: 99.9}
host:
logger:
preferences:
  flash_write_interval: 0s
external_components:
  - source: {type: local, path: MICROPHONE}
  - source: {type: local, path: wake/esphome}
  - source: {type: local, path: sounds/esphome}
microphone:
  - platform: pcm_microphone
    file: pcm.bin
    sample_rate: 16000
wake:
  on_detection:
    - lambda: printf("wake %s %d %%\\n", label.c_str(), (int) score);
sounds:
  on_detection:
    - lambda: printf("sounds %s %d %%\\n", label.c_str(), (int) score);
binary_sensor:
number:
  - platform: sounds
    label: CHANGED
    id: changed
"""

CMAKE = """
cmake_minimum_required(VERSION 3.16)
project(listener C CXX)
foreach(name wake sounds)
  file(GLOB sources ${name}/esphome/${name}/src/*/*.c)
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${name}/esphome/${name}/src)
endforeach()
file(GLOB_RECURSE sources .esphome/build/listener/src/*.cpp)
add_executable(listener ${sources})
target_include_directories(listener PRIVATE .esphome/build/listener/src)
target_compile_options(listener PRIVATE FLAGS)
target_link_libraries(listener PRIVATE wake sounds pthread)
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake: apt install cmake")
def test_two_components_print_the_events_of_the_desktop(
    esphome: str,
    warped_bundle: Bundle,
    streaming_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """ESPHome's program for a computer, which has its main loop, entities and automations."""
    bundles = {"wake": warped_bundle, "sounds": streaming_bundle}
    pcm = recording(warped_bundle.frontend.hop_samples)
    pcm.tofile(tmp_path / "pcm.bin")
    events = {name: desktop_events(bundle, pcm) for name, bundle in bundles.items()}
    changed = events["sounds"][0].rsplit(" ", 2)[0]  # a class that is detected
    text = CONFIGURATION.replace("CHANGED", json.dumps(changed)).replace("MICROPHONE", str(HERE))
    configuration = yaml.safe_load(text)
    configuration["binary_sensor"] = [
        {
            "platform": "wake",
            "label": label,
            "name": label,
            "on_state": [{"lambda": f'printf("sensor %d %d\\n", {index}, (int) x);'}],
        }
        for index, label in enumerate(LABELS)
    ]
    for name, bundle in bundles.items():
        write_layout(bundle, "esphome", tmp_path / name, name)
    source = tmp_path / "listener.yaml"
    source.write_text(yaml.safe_dump(configuration, sort_keys=False))
    build = generate(esphome, source, (HERE / "on_host.py",))
    flags = re.findall(r"^    (-[DfWs]\S+)$", (build / "platformio.ini").read_text(), re.M)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.replace("FLAGS", " ".join(flags)))
    run_tool("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja")
    run_tool("cmake", "--build", tmp_path / "build")

    monkeypatch.setenv("HOME", str(tmp_path))  # of the saved thresholds
    monkeypatch.chdir(tmp_path)
    program = [tmp_path / "build" / "listener"]
    lines = run_tool(*program).decode().splitlines()
    detector = streaming_bundle.detector
    classes = tuple(
        at_threshold(each, 0.999) if each.label == changed else each for each in detector.classes
    )
    detector = dataclasses.replace(detector, classes=classes)
    expected = events | {"sounds": desktop_events(streaming_bundle, pcm, detector)}
    assert expected != events and all(expected.values())
    for name in bundles:
        said = [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]
        assert said == expected[name]
    # A sensor is on from an event to its end, so each state differs from the one before.
    for index, label in enumerate(LABELS):
        states = [line[-1] for line in lines if line.startswith(f"sensor {index} ")]
        assert states == ["1", "0"] * (len(states) // 2) + ["1"] * (len(states) % 2)
        assert states.count("1") == sum(event.startswith(f"{label} ") for event in expected["wake"])
    assert "threshold 20.0" in lines
    # The threshold is kept over a restart.
    assert "threshold 99.9" in run_tool(*program).decode().splitlines()
