# SPDX-License-Identifier: Apache-2.0
"""Measures two exports in one program on emulated boards, for docs/evidence/two_models.md.

``python docs/make_two_models.py`` builds ``examples/two_models`` for each pair of trained networks
and each core, compares scores and events with the desktop's and with each export alone, and writes
the page.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend.fixed import fixed_features_int8
from m3net_tf.boards.builds.layouts import write_layout
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.listening import due_windows, expected_events
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.export.reference import read_vectors
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime.recognizer import event_time_s
from m3net_tf.system.markdown import markdown_table

EXAMPLE = FIRMWARE_DIR.parent / "examples" / "two_models"
PAGE = Path(__file__).parent / "evidence" / "two_models.md"
#: The exports that get the names ``wake`` and ``sounds`` in each pair.
PAIRS = (("m3net-s-keywords", "m3net-mcu-sounds"), ("m3net-s-keywords", "diffres-s-keywords"))
NAMES = ("wake", "sounds")
_LIMIT_S = 300.0  # of a step, on a busy computer
_FLASH = ("text", "rodata", "srodata", "data", "sdata")
_RAM = ("data", "sdata", "bss", "sbss", "COMMON")
NETWORKS, DECISIONS = "networks and labels", "recogniser and detector"
FLASH, RAM = "flash in all", "RAM in all"
_NETWORK_FILES = ("m3net_network", "m3net_importance", "model_labels", "warp_tables")
_SHARED = {"m3net_frontend": "front end", "m3net_tables": "its tables", "m3net": "kernels"}


@dataclasses.dataclass(frozen=True)
class Core:
    """An emulated board without our firmware: its compiler, linker and emulator.

    Attributes:
        tools: start of the names of the compiler's programs.
        sound: address to which the emulator loads the sound.
    """

    tools: str
    sound: int
    compile: tuple[str, ...]
    link: tuple[str, ...]
    emulate: tuple[str, ...]


CORES = {
    "Cortex-M4": Core(
        "arm-none-eabi",
        0x2100_0000,
        ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft"),
        (
            *("--specs=rdimon.specs", "-Wl,--section-start=.vectors=0", "-Wl,-u,board_vectors"),
            "-Wl,-Tdata=0x20000000",
        ),
        ("qemu-system-arm", "-M", "mps2-an386"),
    ),
    "RV32IMAC": Core(
        "riscv64-unknown-elf",
        0x8400_0000,
        ("-march=rv32imac", "-mabi=ilp32", "-misa-spec=2.2", "--specs=picolibc.specs"),
        (
            *("--oslib=semihost", "--crt0=semihost", "-Wl,--defsym=__stack_size=0x4000"),
            *("-Wl,--defsym=__flash=0x80000000", "-Wl,--defsym=__flash_size=0x400000"),
            *("-Wl,--defsym=__ram=0x80400000", "-Wl,--defsym=__ram_size=0x400000"),
        ),
        ("qemu-system-riscv32", "-M", "virt", "-bios", "none"),
    ),
}


def export_pair(networks: Sequence[str], folder: Path) -> dict[str, Bundle]:
    """Exports of two trained networks that detect built-in sounds, by the name of each in C."""
    bundles = {}
    for name, network in zip(NAMES, networks, strict=True):
        bundle = export_file(FOLDER / network / "model.tflite", folder / network)
        detector = bundle.detector
        classes = tuple(
            dataclasses.replace(each, threshold=0.25, release=0.2, hits=1)
            for each in detector.classes
        )
        bundle.set_detector(dataclasses.replace(detector, classes=classes))
        bundles[name] = bundle
    return bundles


def sound_of(bundles: Mapping[str, Bundle]) -> npt.NDArray[np.int16]:
    """Built-in sounds, int16: one for each class that either network takes them for.

    The program reads whole hops of its first front end, so the last samples may go.
    """
    parts = []
    for bundle in bundles.values():
        vectors = read_vectors(bundle)
        _, clips = np.unique(vectors.scores.argmax(1), return_index=True)
        parts.append(vectors.pcm[clips].reshape(-1))
    pcm = np.concatenate(parts)
    return pcm[: len(pcm) - len(pcm) % bundles[NAMES[0]].frontend.hop_samples]


def desktop_lines(name: str, bundle: Bundle, pcm: npt.NDArray[np.int16]) -> list[str]:
    """What the program prints of one export, by the desktop: scores of runs, and events."""
    columns = fixed_features_int8(bundle.frontend, pcm)
    scores = bundle.run_reference(due_windows(bundle, columns))
    events = expected_events(bundle, columns, scores)
    return [
        *(f"{name} {' '.join(map(str, row))}" for row in scores.tolist()),
        *(
            f"{event_time_s(bundle.frontend, event.column):.2f} s: {name}: "
            f"{bundle.labels[event.label]} {100 * event.score // 65536} %"
            for event in events
        ),
    ]


def build(bundles: Mapping[str, Bundle], core: Core, folder: Path) -> Path:
    """Build the example for a core, with a map of each program; returns the programs' folder."""
    libraries = {
        name: write_layout(bundle, "c", folder / name, name) for name, bundle in bundles.items()
    }
    programs = folder / "programs"
    sections = ("-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror")
    flags = (*core.compile, *sections, f"-DSOUND_ADDRESS={core.sound:#x}u")
    toolchain = FIRMWARE_DIR / "cmake" / f"toolchain-{core.tools}.cmake"
    _run("cmake", "-G", "Ninja", "-S", EXAMPLE, "-B", programs, "--toolchain", toolchain,
         *(f"-D{name.upper()}={library}" for name, library in libraries.items()),
         "-DBOARD=emulated/board.c", f"-DCMAKE_C_FLAGS={' '.join(flags)}",
         "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG",
         "-DCMAKE_EXE_LINKER_FLAGS=" + " ".join([*core.link, "-Wl,--gc-sections"]))  # fmt: skip
    _run("ninja", "-C", programs)
    return programs


def emulate(program: Path, core: Core, pcm: npt.NDArray[np.int16]) -> list[str]:
    """Lines that a program prints of a sound."""
    sound = program.with_suffix(".sound")
    sound.write_bytes(struct.pack("<I", pcm.nbytes) + pcm.astype("<i2").tobytes())
    loader = f"loader,file={sound},addr={core.sound:#x},force-raw=on"
    command = (*core.emulate, "-nographic", "-monitor", "none", "-serial", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native")
    return _run(*command, *semihosting, "-device", loader, "-kernel", program).splitlines()


def check(
    bundles: Mapping[str, Bundle], core: Core, programs: Path, pcm: npt.NDArray[np.int16]
) -> Counter[str]:
    """Compare what the programs print with the desktop, and with each export alone.

    Returns:
        How many runs and events were equal.

    Raises:
        SystemExit: something differs.
    """
    _run("cmake", "-DSCORES=ON", programs)
    _run("ninja", "-C", programs)
    together = emulate(programs / "two_models", core, pcm)
    counts = Counter[str]()
    for name, bundle in bundles.items():
        scores = [line for line in together if line.startswith(f"{name} ")]
        events = [line for line in together if f" s: {name}: " in line]
        if sorted(scores + events) != sorted(desktop_lines(name, bundle, pcm)):
            sys.exit(f"{name}: other scores or events than on the desktop")
        alone = emulate(programs / f"{name}_alone", core, pcm)
        if [event.replace(f"{name}: ", "") for event in events] != alone:
            sys.exit(f"{name}: other events than alone")
        counts += Counter(runs=len(scores), events=len(events))
    return counts


def sizes(program: Path) -> Counter[str]:
    """Bytes of flash by part of a program, in all, and of RAM, by the linker's map."""
    text = Path(f"{program}.map").read_text(encoding="utf-8")
    text = text.partition("Linker script and memory map")[2]
    found = Counter[str]()
    entry = re.compile(r"^ \.?([A-Za-z]+)(?:[._]\S*)?\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+)$", re.M)
    for section, digits, path in entry.findall(text):
        size = int(digits, 16)
        if section in _FLASH:
            found[_part(path)] += size
            found[FLASH] += size
        if section in _RAM:
            found[RAM] += size
    return found


def _part(path: str) -> str:
    """The part of a program that an object file belongs to."""
    found = re.search(r"lib(\w+)\.a\((\w+)", path)
    library, file = found.groups() if found else ("", "")
    if library in NAMES:
        return NETWORKS if file in _NETWORK_FILES else DECISIONS
    for start, part in _SHARED.items():
        if library.startswith(start):
            return part
    return "program and C library"


def _run(*command: object) -> str:
    """What a command prints, QEMU's semihosting by either stream."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode != 0:
        sys.exit(f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def table(programs: Path) -> list[str]:
    """Lines of a table: bytes of each part alone, their sum, and together."""
    alone = [sizes(programs / f"{name}_alone") for name in NAMES]
    together = sizes(programs / "two_models")
    parts = [NETWORKS, DECISIONS, *_SHARED.values()]
    rows = [
        (part, *(each[part] for each in alone), sum(each[part] for each in alone), together[part])
        for part in [*parts, "program and C library", FLASH, RAM]
    ]
    texts = [[row[0], *(f"{number:,}" for number in row[1:])] for row in rows]
    head = ("bytes", *(f"`{name}` alone" for name in NAMES), "sum", "one program")
    return markdown_table(head, texts)


def main() -> None:
    """Measure, and write the page."""
    lines = [_INTRODUCTION]
    for networks in PAIRS:
        with tempfile.TemporaryDirectory() as scratch:
            bundles = export_pair(networks, Path(scratch))
            pcm = sound_of(bundles)
            lines += [_TITLE.format(*networks)]
            for name, core in CORES.items():
                programs = build(bundles, core, Path(scratch) / name)
                costs = table(programs)
                counts = check(bundles, core, programs, pcm)
                runs, events = counts["runs"], counts["events"]
                lines += [f"{name}, where {runs} runs and {events} events are equal:", "", *costs]
                print(*lines[-len(costs) - 2 :], sep="\n")
    PAGE.write_text("\n".join(lines), encoding="utf-8")


_INTRODUCTION = """\
# Two exports in one program

    python docs/make_two_models.py

writes this page. It builds [`examples/two_models`](../../examples/two_models/main.c) for an
emulated Cortex-M4 (`mps2-an386`) and an emulated RV32IMAC (`virt`) with `-O2`, and each export
alone (`live.c` of its library). [How to do that](../guide/export.md#several-models-in-one-program).

All scores are equal to the bytes of TensorFlow Lite's reference kernels on the desktop, and each
export has the same events as alone. The sounds are test vectors of the exports, one for each class
that a network takes them for. The thresholds are 0.25, so that these sounds make events.

A part whose figure in the last column is not the sum is in the program once. Recogniser and
detector are compiled for each export, because the sizes of their structures are constants. RAM is
without stack and heap. A front end of its own needs a queue of 16 hops. Networks that do not stream
share one arena.
"""
_TITLE = """\
## `{}` as `wake` and `{}` as `sounds`
"""


if __name__ == "__main__":
    main()
