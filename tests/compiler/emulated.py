# SPDX-License-Identifier: Apache-2.0
"""Compiled networks on QEMU's boards: output bytes and executed instructions."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.compiler.network import CompiledNetwork

HERE = Path(__file__).parent
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
_CPU_FACTS = Path("/proc/cpuinfo")
HAS_AVX2 = _CPU_FACTS.is_file() and " avx2 " in _CPU_FACTS.read_text(encoding="utf-8")
_ENGINES: dict[tuple[str, ...], list[Path]] = {}


@dataclass(frozen=True)
class Machine:
    """A board of QEMU.

    Attributes:
        name: of QEMU.
        uart: address of the console.
        flash: first address.
        ram: first address.
        size: bytes of each.
        instructions_per_tick: of the clock, with ``-icount shift=0``: a nanosecond each.
        options: of the compiler, beside the name of a Cortex-M.
        compiler: its name.
        emulator: its name and options.
    """

    name: str
    uart: int = 0x40004000
    flash: int = 0
    ram: int = 0x20000000
    size: int = 4 << 20
    instructions_per_tick: float = 40.0
    options: tuple[str, ...] = ()
    compiler: str = COMPILER
    emulator: tuple[str, ...] = (EMULATOR,)


#: A board for each core.
MACHINES = {
    "cortex-m3": Machine("mps2-an385"),
    "cortex-m4": Machine("mps2-an386"),
    "cortex-m7": Machine("mps2-an500"),
    "cortex-m33": Machine("mps2-an505", 0x50200000, 0x10000000, 0x38000000, 4 << 20, 50.0),
    "cortex-m55": Machine(
        *("mps3-an547", 0x59303000, 0x10000000, 0x30000000, 512 << 10, 31.25),
        ("-mfloat-abi=hard",),  # else the compiler has no Helium
    ),
    "rv32imac": Machine(
        *("virt", 0x10000000, 0x80000000, 0x80400000, 4 << 20, 1.0),
        ("-march=rv32imac", "-mabi=ilp32", "-misa-spec=2.2", "-msmall-data-limit=0"),
        "riscv64-unknown-elf-gcc",
        ("qemu-system-riscv32", "-bios", "none"),
    ),
}


@dataclass(frozen=True)
class Case:
    """A network with one set of inputs."""

    name: str
    network: CompiledNetwork
    inputs: Sequence[np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """First output's bytes, and instructions to within a tick of the timer."""

    output: np.ndarray
    instructions: int


def why_not(core: str = "cortex-m4") -> str:
    """Why a core cannot be emulated here; '' if it can."""
    machine = MACHINES[core]
    programs = (machine.compiler, machine.emulator[0])
    missing = [name for name in programs if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed" if missing else ""


def compiler_for(core: str) -> tuple[str, ...]:
    """The compiler with its options for a core."""
    machine = MACHINES[core]
    if machine.compiler == COMPILER:
        return (COMPILER, f"-mcpu={core}", "-mthumb", "--specs=nosys.specs", *machine.options)
    return (machine.compiler, "-specs=picolibc.specs", *machine.options)


def run_cases(cases: Sequence[Case], folder: Path, core: str) -> list[Outcome]:
    """Build one image of all cases, emulate it and read its answers."""
    machine = MACHINES[core]
    answer = run_image(build_image(cases, folder, core), core)
    lines = [line.split(" ") for line in answer.splitlines()]
    assert len(lines) == len(cases), answer[-500:]
    return [
        Outcome(
            np.frombuffer(bytes.fromhex(output), np.int8),
            round(int(ticks, 16) * machine.instructions_per_tick),
        )
        for _, ticks, output in lines
    ]


def run_image(elf: Path, core: str) -> str:
    """What a program prints, and after it what the emulator complains of."""
    machine = MACHINES[core]
    command = [*machine.emulator, "-M", machine.name, "-nographic", "-icount", "shift=0"]
    command += ["-monitor", "none", "-semihosting", "-serial", "stdio", "-kernel", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return done.stdout + done.stderr


def run_checked(cases: Sequence[Case], folder: Path, *options: str) -> list[np.ndarray]:
    """Outputs on this machine under the sanitizers of addresses and of undefined behaviour.

    With ``-DM3NET_ENGINE_RV32=1`` among the compiler's options they are of the path of RISC-V, with
    ``-mavx2`` of vectors.

    Each arena is a block of memory of its own, so that reading behind it is found.
    """
    _write_sources(cases, folder)
    program = folder / "checked"
    command = ("gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined")
    command += ("-fno-sanitize-recover=all", *WARNINGS, f"-I{engine_folder()}", *options)
    _compile(*command, f"-I{folder}", HERE / "checked.c", *_engine(command, folder), "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return [np.frombuffer(bytes.fromhex(line), np.int8) for line in done.stdout.splitlines()]


def _write_sources(cases: Sequence[Case], folder: Path) -> None:
    """The networks' C and the table of cases."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {case.name: case.network for case in cases}
    for name, network in names.items():
        emit(network, name).write(folder, name)
    (folder / "cases.h").write_text(_cases_header(cases))


def build_image(cases: Sequence[Case], folder: Path, core: str) -> Path:
    """ELF of networks, engine and test program."""
    _write_sources(cases, folder)
    return build_program(HERE / "cases.c", folder, core)


def build_program(
    source: Path,
    folder: Path,
    core: str,
    engine: Path | None = None,
    kernels: Sequence[Path] | None = None,
) -> Path:
    """ELF of a program with the engine, or with some kernels of a changed one."""
    folder.mkdir(parents=True, exist_ok=True)
    elf = folder / "image.elf"
    machine = MACHINES[core]
    command = (*compiler_for(core), "-std=c11", "-O2")
    command += ("-ffunction-sections", "-fdata-sections", *WARNINGS)
    command += (f"-I{engine}", "-Wno-error") if engine else (f"-I{engine_folder()}",)
    script = (HERE / "board.ld").read_text()
    for name, value in (("FLASH", machine.flash), ("RAM", machine.ram), ("SIZE", machine.size)):
        script = script.replace(f"@{name}@", hex(value))
    (folder / "board.ld").write_text(script)
    board = [f"-T{folder / 'board.ld'}", f"-DBOARD_UART={machine.uart:#x}u"]
    board += ["-nostartfiles", "-Wl,--gc-sections"]
    built = _engine(command, folder) if kernels is None else kernels
    sources = [f"-I{folder}", *(f"-I{path.parent}" for path in kernels or ()), f"-I{HERE}"]
    sources += [source, *built]
    _compile(*command, *board, *sources, "-o", elf)
    return elf


def _engine(command: tuple[str, ...], folder: Path) -> list[Path]:
    """The engine's objects; the first test of a compiler and its options makes them for all."""
    if command not in _ENGINES:
        objects = folder / f"engine_{len(_ENGINES)}"
        objects.mkdir()
        _compile(*command, "-c", *engine_sources(), folder=objects)
        _ENGINES[command] = sorted(objects.iterdir())
    return _ENGINES[command]


def _compile(*command: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]


def _cases_header(cases: Sequence[Case]) -> str:
    lines = ["#include <stdint.h>"]
    # One source for all: a compiler starts far slower than it reads.
    lines += [f'#include "{name}.c"' for name in dict.fromkeys(case.name for case in cases)]
    lines += [
        "typedef struct { uint32_t offset, bytes; const int8_t* values; } test_input;",
        "typedef struct { void (*reset)(int8_t*); void (*run)(int8_t*);",
        "  int inputs; test_input input[4];",
        "  uint32_t output_offset, output_bytes, arena_bytes; } test_case;",
    ]
    rows = []
    for index, case in enumerate(cases):
        plan = case.network.plan
        inputs = []
        views = zip(case.network.inputs, case.inputs, strict=True)
        for number, (view, values) in enumerate(views):
            name = f"input_{index}_{number}"
            text = ",".join(map(str, np.ascontiguousarray(values).reshape(-1).view(np.int8)))
            lines.append(f"static const int8_t {name}[] = {{{text}}};")
            inputs.append(f"{{{plan.places[view.block]}, sizeof({name}), {name}}}")
        view = case.network.outputs[0]
        place = plan.places[view.block] + view.offset
        size = case.network.graph.outputs[0].size * view.item
        rows.append(
            f"{{{case.name}_reset, {case.name}_run, {len(inputs)}, {{{', '.join(inputs)}}}, "
            f"{place}, {size}, {plan.arena_bytes}}},"
        )
    arena = max(case.network.plan.arena_bytes for case in cases)
    lines += [f"#define CASES_COUNT {len(cases)}", f"#define CASES_ARENA_BYTES {arena}"]
    lines += ["static const test_case cases[CASES_COUNT] = {", *rows, "};"]
    return "\n".join([*lines, ""])
