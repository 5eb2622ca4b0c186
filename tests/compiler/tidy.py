# SPDX-License-Identifier: Apache-2.0
"""clang-tidy's bug checks over the compiled engine and generated networks: part of ``make lint``.

``.clang-tidy`` names the checks. The code is read as the devices' compilers see it, with the
DSP extension, without it and with Helium, and needs no headers but the compiler's own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from single_operators import MAKERS

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.ctables import write_c_tables
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import compile_network
from m3net_tf.export.c_files import CModel

ROOT = Path(__file__).parents[2]
DSP = ("thumbv7em-none-eabihf", "cortex-m4")
PORTABLE = ("thumbv7m-none-eabi", "cortex-m3")
HELIUM = ("thumbv8.1m.main-none-eabihf", "cortex-m55")
RV32 = ("riscv32-unknown-elf", "sifive-e31")
#: Kinds of layers of the generated networks.
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "SOFTMAX", "LOGISTIC")


def find_tool() -> str:
    """Path of clang-tidy: this virtual environment's, or the system's; or ''."""
    beside = Path(sys.executable).with_name("clang-tidy")
    return str(beside) if beside.exists() else shutil.which("clang-tidy") or ""


def write_generated(folder: Path) -> list[Path]:
    """Networks of one layer each, with the headers that ``compiled/inference.c`` includes."""
    tflite = MAKERS["FULLY_CONNECTED"](np.random.default_rng(0))
    network = compile_network(tflite)
    (source,) = network.graph.inputs
    (result,) = network.graph.outputs
    emit(network, "m3net_network", "m3net_operation_done").write(folder, "m3net_network")
    model = CModel(
        name="some network",
        tflite=tflite,
        labels=tuple(f"label{index}" for index in range(result.size)),
        operators=("FULLY_CONNECTED",),
        input_bytes=source.size,
        input_quantization=(1 / 128, 0),
        output_quantization=(1 / 256, -128),
        arena_bytes=network.plan.arena_bytes,
        arena_source="nobody",
        licence="Apache-2.0",
    )
    (folder / "model.h").write_text(model.header())
    write_c_tables(FrontendConfig(), folder, frames=49)
    names = ["m3net_network"]
    for kind in KINDS:
        names.append(f"some_{kind.lower()}")
        emit(compile_network(MAKERS[kind](np.random.default_rng(0))), names[-1]).write(
            folder, names[-1]
        )
    return [folder / f"{name}.c" for name in names]


def check(tool: str, source: Path, target: tuple[str, str], generated: Path) -> bool:
    """Run the checks over a file; prints what they find, returns whether it is nothing."""
    folders = [FIRMWARE_DIR / name for name in ("engine", "core", "wasm")]  # wasm has string.h
    options = [f"--target={target[0]}", f"-mcpu={target[1]}", "-std=c11", "-ffreestanding"]
    options += ["-DM3NET_ENGINE_COMPILED", *(f"-I{folder}" for folder in [*folders, generated])]
    command = [tool, "--quiet", f"--config-file={ROOT / '.clang-tidy'}", str(source)]
    done = subprocess.run([*command, "--", *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    """Check the engine, its interface and generated networks."""
    tool = find_tool()
    if not tool:
        print("clang-tidy is not installed: its checks are left out (pip install clang-tidy)")
        return 0
    with tempfile.TemporaryDirectory(prefix="m3net-tidy-") as name:
        folder = Path(name)
        written = write_generated(folder)
        engine = sorted((FIRMWARE_DIR / "engine").glob("*.c"))
        compiled = sorted((FIRMWARE_DIR / "compiled").glob("*.c"))
        both = [path for path in engine if path.stem in ("convolution", "depthwise")]
        vectors = [path for path in engine if "M3NET_ENGINE_HELIUM" in path.read_text()]
        files = [(path, DSP) for path in (*engine, *compiled, *written)]
        riscv = [path for path in engine if "M3NET_ENGINE_RV32" in path.read_text()]
        files += [(path, PORTABLE) for path in both] + [(path, HELIUM) for path in vectors]
        files += [(path, RV32) for path in riscv]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a process
            clean = list(pool.map(lambda file: check(tool, *file, folder), files))
        return 0 if all(clean) else 1


if __name__ == "__main__":
    raise SystemExit(main())
