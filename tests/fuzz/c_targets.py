# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets in C, built with libFuzzer and the sanitisers."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.sources import FIRMWARE_DIR

HERE = Path(__file__).parent

_CORE = FIRMWARE_DIR / "core"
_HOST = FIRMWARE_DIR / "host"
_TRANSFORM = "Source/TransformFunctions/arm_"
_TABLES = "Source/CommonTables/arm_"
_FFT = (
    *(f"{_TRANSFORM}{name}" for name in ("bitreversal2", "cfft_f32", "cfft_init_f32")),
    f"{_TRANSFORM}cfft_radix8_f32",
    *(f"{_TABLES}{name}" for name in ("common_tables", "const_structs")),
)
_PARTS = (
    "classifier console crc32 detector duty eembc frontend level listener live platform_defaults "
    "prototypes recognizer record_log ring saved_thresholds status"
)
_SOURCES = {
    "monitor": [
        *sorted(_CORE.glob("monitor_*.c")),
        *(_CORE / f"{name}.c" for name in _PARTS.split()),
        _HOST / "board.c",
        _HOST / "model.c",
        _HOST / "storage.c",
    ],
    "job": [FIRMWARE_DIR / "app/job.c", _CORE / "crc32.c"],
    "rings": [_CORE / "ring.c", _CORE / "crc32.c"],
}
#: Orders of the monitor's harness that let time pass, and that send a block of 256 bytes.
_PASS, _BLOCK = b"\xfe", b"\xfd\xff\x01"
_MONITOR_SEEDS = (
    b"version\ninfo\nmemory\nstat\nhelp\n",
    b"load features\n" + 8 * _BLOCK + b"infer 3\nresults\nprofile\n",
    b"load pcm 16000\n" + 4 * _BLOCK + b"infer\n",
    b"threshold 1 2\nstream host columns scores\n" + 8 * _BLOCK + b"stream off\n",
    b"stream mic audio columns scores\n" + 4 * _PASS + b"stream off\nrecord 100\nread 0 200\n",
    b"baud 9600\nmode energy\nreset\nversion\n",
    b"threshold 1 9 9\nsave\nreset\nthreshold\nsave clear\n",
    b"block 0 4 0x12345678\nabcd" + _PASS + b"block 1 999 x\n" + _PASS,
    b"name%timestamp%profile%help%results%db load 1960%db 00ff7f80%db print%db%infer 2 1%",
    b"db load 32000%db 0102030405060708%infer -1 -1%%\n",
)
SEEDS: dict[str, Sequence[bytes]] = {
    "monitor": _MONITOR_SEEDS,
    "job": tuple(
        b"\1M3NJ\1\0" + bytes([kind, 0, 1, 0, 0, 0, 8, 0, 0, 0]) + bytes(16) + bytes(range(8))
        for kind in range(3)
    ),
    "rings": (b"\1\xff\0\x10\1\xff\1\xff\1\xff\0\xff", bytes(range(100))),
}


def build_target(name: str, folder: Path) -> Path:
    """Compile a target; returns the program.

    Raises:
        RuntimeError: clang refuses it.
    """
    sys.path.append(str(HERE.parent / "firmware"))
    from firmware_helpers import cmsis_dsp, easy_detector, small_model, write_bundle

    detector = easy_detector(FrontendConfig())
    bundle = write_bundle(folder / "bundle", small_model(b"no model"), detector=detector)
    sources = [HERE / "c" / f"fuzz_{name}.c", *_SOURCES[name]]
    flags = [f"-I{path}" for path in (_CORE, FIRMWARE_DIR / "app", FIRMWARE_DIR / "drivers")]
    flags += [f"-I{_HOST}", f"-I{bundle}"]
    if name == "monitor":
        source = cmsis_dsp()
        sources += [source / f"{path}.c" for path in _FFT]
        sources.append(bundle / "frontend_tables.c")
        flags += [f"-isystem{source / part}" for part in ("Include", "PrivateInclude")]
        flags.append("-D__GNUC_PYTHON__")  # CMSIS-DSP's own name for "GCC, but not for Arm"
        flags.append("-DM3NET_HAS_STORAGE")
    program = folder / name
    sanitizers = "-fsanitize=fuzzer,address,undefined"
    command = ["clang", "-O1", "-g", "-w", sanitizers, "-fno-sanitize-recover=all"]
    done = subprocess.run(
        [*command, *flags, *map(str, sources), "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"clang refuses {name}:\n{done.stderr[-3000:]}")
    return program
