# SPDX-License-Identifier: Apache-2.0
"""Exported libraries in the tests: written, compiled as each tool does it, linked and emulated."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from firmware_helpers import APPS, FRAMES, WARNINGS, run_tool

from m3net_tf.audio.frontend import FrontendConfig, write_c_tables
from m3net_tf.audio.frontend.fixed import fixed_features_int8
from m3net_tf.boards.builds.layouts import library_name, write_layout
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import DatasetFacts, ImportanceFacts, Manifest
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.runtime import ClassSettings, Detector, DetectorConfig, write_c_header
from m3net_tf.runtime.network import Int8Network
from m3net_tf.runtime.warp import WarpConfig

LABELS = ("yes", "no", "up & down", "left", "right", 'a "b"')
NAME = "m3net_mcu_speech_commands"
WARP = WarpConfig(40, FRAMES, 24, -14.0, 5.0)
EXAMPLES = FIRMWARE_DIR.parent / "examples"
ARDUINO = Path(__file__).parent / "arduino"  # stand-ins for Arduino's core and libraries
ESP_IDF = Path(__file__).parent / "esp_idf"  # stand-ins for its drivers
#: Settings by which a network that was never trained recognises something.
DETECTOR = DetectorConfig(
    window_columns=FRAMES,
    gate_bins=40,
    classes=tuple(
        ClassSettings(label, threshold=0.2, release=0.1, suppression_columns=20) for label in LABELS
    ),
)
ARM = ("-mthumb", "-mfloat-abi=soft")
#: Options of the compiler with which each layout is compiled: cores, standards, optimisation.
OPTIONS = {
    "arduino": (*ARM, "-mcpu=cortex-m4", "-std=gnu11", "-Os"),
    "c": (*ARM, "-mcpu=cortex-m3", "-std=c11", "-O2"),
    "esp-idf": ("--specs=picolibc.specs", "-march=rv32imc", "-mabi=ilp32", "-std=gnu17", "-Og"),
    "platformio": (*ARM, "-mcpu=cortex-m4", "-std=gnu99", "-O2"),
    "zephyr": (
        *("-mthumb", "-mfloat-abi=softfp", "-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16"),
        *("-std=c17", "-Os"),
    ),
    "cmsis-pack": (*ARM, "-mcpu=cortex-m0plus", "-std=c11", "-O1"),
}
#: First part of the names of each layout's compiler and its tools; ESP-IDF's is as for ESP32-C3.
TOOLS = {
    layout: "riscv64-unknown-elf-" if layout == "esp-idf" else "arm-none-eabi-"
    for layout in OPTIONS
}


def make_bundle(
    folder: Path,
    make_manifest: Callable[..., Manifest],
    network: Int8Network,
    push_columns: int | None = None,
) -> Bundle:
    """The attributes and files of an export that the layouts read."""
    folder.mkdir()
    frontend = FrontendConfig()
    (folder / "model.tflite").write_bytes(network.tflite)
    facts = {}
    if network.warp:
        (folder / "importance.tflite").write_bytes(network.importance)
        write_warp_tables(network.warp, folder)
        facts["importance"] = ImportanceFacts("12" * 32, len(network.importance))
    write_c_tables(frontend, folder, frames=FRAMES)
    detector = DETECTOR
    if push_columns:
        classes = tuple(dataclasses.replace(each, release=0.2, hits=1) for each in detector.classes)
        detector = dataclasses.replace(detector, run_columns=push_columns, classes=classes)
        facts |= {"engine": COMPILED, "push_columns": push_columns}
    write_c_header(detector, folder)
    manifest = make_manifest(
        dataset=DatasetFacts("speech_commands", "official", None),
        detector=detector,
        frontend=frontend,
        labels=LABELS,
        licence="Apache-2.0; trained on clips (CC-BY-4.0)",
        operators=("CONV_2D", "SOFTMAX"),
        warp=network.warp,
        **facts,
    )
    return Bundle(folder, manifest)


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files of a folder, by their paths in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def build_description(layout: str, folder: Path) -> tuple[list[Path], Path]:
    """The sources that the layout's tool compiles, and the folder of headers."""
    if layout == "zephyr":
        module = folder / "zephyr"
        cmake = (module / "CMakeLists.txt").read_text()
        names = re.search(r"zephyr_library_sources\(([^)]*)\)", cmake)[1].split()
        includes = re.search(r"zephyr_include_directories\(([^)]*)\)", cmake)[1]
        return [(module / name).resolve() for name in names], (module / includes).resolve()
    if layout == "c":
        cmake = (folder / "CMakeLists.txt").read_text()
        names = re.search(r"add_library\(m3net STATIC([^)]*)\)", cmake)[1].split()
        includes = re.search(r"target_include_directories\(m3net PUBLIC (\w+)\)", cmake)[1]
        return [folder / name for name in names], folder / includes
    if layout in ("esp-idf", "esphome"):
        cmake = (folder / "CMakeLists.txt").read_text()
        places = re.search(r'\(SRC_DIRS "(.*)" INCLUDE_DIRS "(.*)"\)', cmake)
        return sorted((folder / places[1]).glob("*.c")), folder / places[2]
    if layout == "cmsis-pack":
        package = ElementTree.parse(next(folder.glob("*.pdsc")))
        files = package.findall("components/component/files/file")
        names = [file.get("name") for file in files if file.get("category") == "sourceC"]
        (includes,) = (file.get("name") for file in files if file.get("category") == "include")
        return [folder / name for name in names], folder / includes
    place = "src"
    if layout == "platformio":
        build = json.loads((folder / "library.json").read_text())["build"]
        assert build["includeDir"] == build["srcDir"]
        place = build["srcDir"]
    sources = sorted((folder / place).rglob("*"))
    return [path for path in sources if path.suffix in (".c", ".cpp", ".S")], folder / place


def compile_layout(bundle: Bundle, layout: str, folder: Path) -> Path:
    """Write a layout and compile it as its tool does; returns the folder of the objects."""
    write_layout(bundle, layout, folder / "layouts")
    library = folder / "layouts" / layout / library_name(bundle)
    sources, headers = build_description(layout, library)
    objects = folder / "objects"
    objects.mkdir()
    options = [*OPTIONS[layout], *WARNINGS, f"-I{headers}"]
    run_tool(f"{TOOLS[layout]}gcc", *options, "-c", *sources, cwd=objects)
    return objects


def link(objects: Path, layout: str, sources: Sequence[Path], folders: Sequence[Path]) -> Path:
    """Link a program of C++ or Arduino sources with a compiled layout, for the emulator."""
    headers = next((objects.parent / "layouts").rglob("m3net.h")).parent
    target = [option for option in OPTIONS[layout] if option.startswith("-m")]
    compiler = ["arm-none-eabi-g++", *target, "-std=gnu++14", "-Os", *WARNINGS]
    for source in [*sources, APPS / "library" / "start.cc"]:
        language = ["-x", "c++", "-include", "Arduino.h"] if source.suffix == ".ino" else []
        includes = [f"-I{folder}" for folder in (headers, *folders)]
        output = objects / f"{source.stem}_application.o"
        run_tool(*compiler, *includes, "-c", "-o", output, *language, source)
    elf = objects.parent / "program.elf"
    places = ["-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000"]
    run_tool(*compiler, "--specs=rdimon.specs", *places, *sorted(objects.glob("*.o")), "-o", elf)
    return elf


def emulate(elf: Path) -> list[str]:
    """Lines that a program prints on QEMU's Cortex-M4."""
    command = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    return run_tool(*command, "-kernel", elf).decode().splitlines()


def c_array(name: str, values: np.ndarray) -> str:
    kind = f"int{8 * values.itemsize}_t"
    numbers = ",".join(map(str, values.reshape(-1)))
    return f"static const {kind} {name}[] = {{{numbers}}};\n"


def sound(seed: int, samples: int) -> np.ndarray:
    """Noise that becomes louder, int16."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.2, samples) * np.linspace(10, 32767, samples)).astype(np.int16)


def recording(hop: int) -> np.ndarray:
    """Sounds with several events, in whole hops."""
    pcm = np.concatenate([sound(seed, 20_000)[:: (-1) ** seed] for seed in range(4)])
    return pcm[: len(pcm) // hop * hop]


def desktop_events(
    bundle: Bundle, pcm: np.ndarray, config: DetectorConfig | None = None
) -> list[str]:
    """What a program that listens prints, by the desktop's detector."""
    features = fixed_features_int8(bundle.frontend, pcm)
    detector = Detector(config or bundle.detector)
    events = []
    for end in range(1, features.shape[1] + 1):
        if detector.wants_inference(features[:, end - 1]):
            window = features[None, :, end - FRAMES : end, None]
            events.append(detector.step(bundle.run_reference(window)[0]))
    return [
        f"{bundle.labels[event.label]} {100 * event.score // 65536} %" for event in events if event
    ]
