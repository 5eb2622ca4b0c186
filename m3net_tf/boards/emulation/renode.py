# SPDX-License-Identifier: Apache-2.0
"""Run the firmware in Renode: write the files that ``firmware/renode`` reads, run ``renode-test``.

A work folder has one folder for each board:

===================== ==========================================================================
``firmware.elf``      the ELF file that is also flashed
``features.bin, txt`` job of int8 features; expected console line of each clip and of the end
``sound.bin, txt``    job of samples; expected label (or ``close``) and features of each clip
``damaged.bin``       the job of features with one bit flipped
``features.db``       the first clip's features as commands of MLPerf Tiny, their size first
``results.txt``       the line that the benchmark must then print
``sound.db``          the first clip's samples as such commands
``microphone.pcm``    the same samples for a microphone
``microphone.txt``    number of samples, then ``request:answer`` for each block of the recording
``columns.txt``       expected feature columns of live recognition
===================== ==========================================================================

The files with samples are missing if a clip does not fit the board.
"""

import argparse
import os
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation import qemu
from m3net_tf.boards.emulation.starting import export_firmware
from m3net_tf.export import Bundle
from m3net_tf.export.reference import Reference, read_vectors
from m3net_tf.system.artifacts import write_bytes, write_text
from m3net_tf.system.errors import FirmwareError, M3NetError
from m3net_tf.system.progress import Log

#: The release that ``firmware/renode`` was tested with, and its commit.
RENODE_VERSION = "1.16.1"
RENODE_COMMIT = "d66b0c2aa3d420408eccecfd1d3bab0fd702a6db"
RENODE_DIR = FIRMWARE_DIR / "renode"

_HEX_COMMAND_BYTES = 31  # in one command of the benchmark, as its runner sends them
_READ_BYTES = 256  # in one block of the monitor
_MONITOR_PCM_BYTES = 65_536  # sound buffer of firmware/app/main.c
_CLEAR_MARGIN = 32  # lead of the best score, in int8 steps, that survives a step in a feature


def list_boards() -> list[str]:
    """Boards that have a suite in ``firmware/renode``."""
    return sorted(path.stem for path in RENODE_DIR.glob("*.robot"))


def write_session(
    folder: Path, reference: Reference, output_quantization: tuple[float, int], capacity_bytes: int
) -> None:
    """Write all files of a board's folder except the ELF.

    Args:
        reference: clips and the desktop's results for them.
        output_quantization: scale and zero point of the scores.
        capacity_bytes: size of the board's job memory.

    Raises:
        FirmwareError: a clip of features does not fit.
    """
    features = reference.features[..., 0]
    clips = qemu.split_clips(features, capacity_bytes)[0]
    image = qemu.job_image(clips)
    write_bytes(folder / "features.bin", image)
    write_bytes(folder / "damaged.bin", image[:-1] + bytes([image[-1] ^ 1]))
    outputs = reference.scores[: len(clips)]
    lines = [
        f"m3net clip {index} label={scores.argmax()} out={scores.tobytes().hex()} "
        for index, scores in enumerate(outputs)
    ]
    lines.append(f"m3net done clips={len(clips)} crc={zlib.crc32(outputs.tobytes()):#010x}")
    _write_lines(folder / "features.txt", lines)
    _write_lines(folder / "features.db", _commands(features[0].tobytes()))
    _write_lines(folder / "results.txt", [results_line(outputs[0], *output_quantization)])
    clip_bytes = reference.pcm[0].nbytes
    if qemu.HEADER.size + clip_bytes <= capacity_bytes:
        sound = qemu.split_clips(reference.pcm, capacity_bytes)[0]
        image = qemu.job_image(sound, report_features=True)
        write_bytes(folder / "sound.bin", image)
        rows = zip(reference.scores, features, strict=True)
        lines = [f"{_label(scores)} {values.tobytes().hex()}" for scores, values in rows]
        _write_lines(folder / "sound.txt", lines[: len(sound)])
        if clip_bytes <= _MONITOR_PCM_BYTES:
            _write_sound(folder, reference.pcm[0], features[0])


def results_line(scores: npt.NDArray[np.int8], scale: float, zero_point: int) -> str:
    """The benchmark's line of scores: single precision, truncated to three decimals."""
    real = (scores.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    thousandths = (np.abs(real) * np.float32(1000)).astype(np.int64)
    values = (
        f"{'-' * bool(value < 0)}{whole // 1000}.{whole % 1000:03}"
        for value, whole in zip(real, thousandths, strict=True)
    )
    return f"m-results-[{','.join(values)}]"


def prepare(export: Path, work: Path, boards: Sequence[str], report: Log) -> None:
    """Build the firmware of an export for boards and write the work folder.

    Raises:
        ModelError, DataError: ``export`` is not an export, or its files are damaged.
        FirmwareError: the firmware does not build.
    """
    bundle = Bundle.load(export)
    reference = read_vectors(bundle)
    quantization = bundle.manifest.model.output_quantization
    for board in boards:
        report(f"preparing {board}")
        engine = bundle.manifest.engine
        image = export_firmware(bundle, board, work / "build" / board, engine, report)
        shutil.rmtree(work / board, ignore_errors=True)
        (work / board).mkdir(parents=True)
        shutil.copyfile(image.elf, work / board / "firmware.elf")
        write_session(work / board, reference, quantization, load_board(board).job.bytes)


def find_renode_test() -> str | None:
    """``renode-test`` of ``RENODE_ROOT``, else of the path.

    Raises:
        FirmwareError: ``RENODE_ROOT`` names a folder without it.
    """
    root = os.environ.get("RENODE_ROOT") or None
    program = shutil.which("renode-test", path=root)
    if root and program is None:
        raise FirmwareError(
            f"RENODE_ROOT={root} has no renode-test: set it to Renode's folder, or unset it"
        )
    return program


def suite_command(program: str, work: Path, boards: Sequence[str]) -> list[str]:
    """The command line that runs the suites of boards on a prepared work folder."""
    suites = [str(RENODE_DIR / f"{board}.robot") for board in boards]
    work = work.resolve()
    return [program, *suites, "-r", str(work / "results"), "--variable", f"WORK:{work}"]


def _label(scores: npt.NDArray[np.int8]) -> str:
    """Index of the best score, or ``close`` if a step in a feature may change it."""
    second, best = np.sort(scores.astype(int))[-2:]
    return str(scores.argmax()) if best - second >= _CLEAR_MARGIN else "close"


def _commands(data: bytes) -> list[str]:
    pieces = [
        data[start : start + _HEX_COMMAND_BYTES]
        for start in range(0, len(data), _HEX_COMMAND_BYTES)
    ]
    return [str(len(data)), *(f"db {piece.hex()}" for piece in pieces)]


def _write_sound(folder: Path, pcm: npt.NDArray[np.int16], features: npt.NDArray[np.int8]) -> None:
    """Write the files of a clip's sound, for console and microphone."""
    data = pcm.astype("<i2").tobytes()
    _write_lines(folder / "sound.db", _commands(data))
    write_bytes(folder / "microphone.pcm", data)
    lines = [str(len(data) // 2)]
    for offset in range(0, len(data), _READ_BYTES):
        block = data[offset : offset + _READ_BYTES]
        request = f"offset={offset} bytes={len(block)}"
        answer = f"m3net data {request} crc={zlib.crc32(block):#010x}"
        lines.append(f"read {offset} {len(block)}:{answer}")
    _write_lines(folder / "microphone.txt", lines)
    _write_lines(folder / "columns.txt", [column.tobytes().hex() for column in features.T])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m m3net_tf.boards.emulation.renode EXPORT``: prepare and run the suites."""
    parser = argparse.ArgumentParser(description="Run an exported model's firmware in Renode.")
    parser.add_argument("export", type=Path, help="folder written by the export")
    parser.add_argument("--work", type=Path, help="default: renode beside the export")
    parser.add_argument("--board", action="append", choices=list_boards(), help="default: all")
    parser.add_argument("--prepare", action="store_true", help="write the work folder only")
    options = parser.parse_args(arguments)
    work = options.work or options.export.resolve().parent / "renode"
    boards = options.board or list_boards()
    try:
        program = None if options.prepare else find_renode_test()
    except FirmwareError as error:
        parser.exit(2, f"error: {error}\n")
    if program is None and not options.prepare:
        reason = f"renode-test not found; install Renode {RENODE_VERSION} (https://renode.io)"
        if os.environ.get("M3NET_REQUIRE_RENODE") == "1":
            parser.exit(2, f"error: M3NET_REQUIRE_RENODE=1, but: {reason}\n")
        print(f"Renode is skipped: {reason}")
        return 0
    try:
        prepare(options.export, work, boards, print)
    except M3NetError as error:
        parser.exit(2, f"error: {error}\n")
    if program is None:
        print(f"{work} is ready")
        return 0
    return subprocess.run(suite_command(program, work, boards), check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
