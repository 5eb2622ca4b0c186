# SPDX-License-Identifier: Apache-2.0
"""The whole chain on the same held-out clips: float, int8 on the desktop, TFLM, emulated board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.artifacts import provenance, read_json, write_json
from m3net_tf.datasets import AudioDataset, Clip
from m3net_tf.emulation import EmulationResult, find_machine, run_job
from m3net_tf.errors import DataError, FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import pcm_and_features
from m3net_tf.firmware.build import TOOLS, FirmwareImage, build_firmware, check_toolchain
from m3net_tf.firmware.sources import why_sources_unavailable
from m3net_tf.quantization.runtime import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.training.metrics import wilson_interval
from m3net_tf.training.run import Run
from m3net_tf.training.trainer import predict

Log = Callable[[str], None]
ARENA_SLACK_BYTES = 64 * 1024  # for measuring: kernels' scratch memory that the host knows not of
ARENA_STEP_BYTES = 256


def why_no_emulation(board: str) -> str:
    """Why firmware for a board cannot be built and emulated here; '' if it can.

    Raises:
        FirmwareError: there is no such emulated board.
    """
    machine = find_machine(board)
    try:
        check_toolchain({**TOOLS, machine.emulator: machine.package})
    except FirmwareError as error:
        return str(error)
    return why_sources_unavailable() or ""


def prove_arena(bundle: Bundle, board: str, folder: Path, log: Log) -> FirmwareImage:
    """Build the firmware with the arena that the network is seen to need on the board.

    The first build has room to spare and tells what it used; the second has just that, or the
    least more that lets it start. The figure goes into the bundle's manifest and ``model.h``.

    Args:
        bundle: export to build.
        board: board to build for.
        folder: where the build files go.
        log: takes lines of progress.

    Returns:
        The firmware with the proven arena.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    source = f"TFLite Micro on {board}"
    arena = bundle.manifest["arena"]
    if arena["source"] == source:
        return build_firmware(bundle.folder, board, folder, report=log)
    machine = find_machine(board)
    shape = bundle.manifest["model"]["input_shape"]
    silence = np.zeros((1, int(np.prod(shape))), np.int8)
    image = build_firmware(
        bundle.folder, board, folder, arena["bytes"] + ARENA_SLACK_BYTES, report=log
    )
    used = run_job(image.elf, machine, silence).arena_used_bytes
    # What is used in the end may be less than what planning needs for a moment.
    for size in range(-(-used // 16) * 16, used + ARENA_SLACK_BYTES, ARENA_STEP_BYTES):
        image = build_firmware(bundle.folder, board, folder, size, report=log)
        try:
            run_job(image.elf, machine, silence)
        except FirmwareError as error:
            if "arena" not in str(error):
                raise
        else:
            bundle.set_arena(size, source)
            return build_firmware(bundle.folder, board, folder, report=log)
    raise FirmwareError(
        f"{bundle.folder}: the network does not start on {board} with an arena of up to "
        f"{used + ARENA_SLACK_BYTES} bytes: export it again"
    )


def saved_summary(run: Run, board: str) -> dict[str, Any] | None:
    """The summary that an earlier :func:`run_chain` left, where it still holds and is complete."""
    path = run.folder / "summary.json"
    if not path.exists():
        return None
    summary = read_json(path)
    sha256 = Bundle.load(run.folder / "export").manifest["model"]["sha256"]
    if summary["board"] != board or summary["model_sha256"] != sha256:
        return None
    return None if "emulation_missing" in summary else summary


def spread_clips(dataset: AudioDataset, count: int | None) -> tuple[Clip, ...]:
    """Held-out clips: all, or ``count`` of them spread evenly over the test split.

    Raises:
        DataError: there are none.
    """
    clips = dataset.split("test")
    if not clips:
        raise DataError(f"{dataset.info.name} has no test clips: choose another protocol or fold")
    if count is None or count >= len(clips):
        return clips
    return tuple(clips[i] for i in np.linspace(0, len(clips) - 1, count).astype(int))


def run_chain(
    run: Run,
    board: str,
    data_dir: Path | None = None,
    count: int | None = None,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Run held-out clips through every stage and compare.

    Args:
        run: finished run with an export.
        board: emulated board.
        data_dir: where the data set lies.
        count: number of clips; None takes the whole test split.
        log: takes lines of progress.

    Returns:
        The summary; it is also written to ``summary.json`` in the run's folder. Where the board
        cannot be emulated its figures are None and ``emulation_missing`` says why.

    Raises:
        M3NetError: as the stages raise.
    """
    bundle = Bundle.load(run.folder / "export")
    dataset = run.dataset(data_dir)
    clips = spread_clips(dataset, count)
    truth = dataset.label_ids(clips)
    log(f"{len(clips)} held-out clips of {dataset.info.name}")
    pcm, features = pcm_and_features(dataset, clips, bundle.frontend)

    def accuracy(labels: npt.NDArray[Any]) -> float:
        return float((labels == truth).mean())

    scores = run_reference(bundle.tflite, features)
    summary: dict[str, Any] = {
        "run": run.folder.name,
        "board": board,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "clips": len(clips),
        "accuracy": {
            "float": accuracy(predict(run.load_model(), features).argmax(1)),
            "int8_desktop": accuracy(scores.argmax(1)),
            "tflm_host": None,
            "emulated": None,
        },
        "bytes_equal": None,
        "parameters": run.metrics()["parameters"],
        "model_bytes": bundle.manifest["model"]["bytes"],
        "model_sha256": bundle.manifest["model"]["sha256"],
        "arena_bytes": bundle.manifest["arena"]["bytes"],
        "arena_source": bundle.manifest["arena"]["source"],
        "flash_bytes": None,
        "instructions": {"frontend_per_frame": None, "model": None},
        **provenance(),
    }
    hits = int((scores.argmax(1) == truth).sum())
    summary["int8_accuracy_95"] = list(wilson_interval(hits, len(clips)))
    equal = []
    if reason := tflm_unavailable_reason():
        summary["tflm_host_missing"] = reason
    else:
        tflm = run_tflm(bundle.tflite, features)
        summary["accuracy"]["tflm_host"] = accuracy(tflm.argmax(1))
        equal.append(np.array_equal(tflm, scores))
    if reason := why_no_emulation(board):
        summary["emulation_missing"] = reason
        log(f"no emulation: {reason}")
    else:
        image = prove_arena(bundle, board, run.folder / "firmware" / board, log)
        machine = find_machine(board)
        log(f"running {len(clips)} clips on the emulated {board}, as features and as sound")
        on_board = run_job(image.elf, machine, features[..., 0])
        from_pcm = run_job(image.elf, machine, pcm, report_features=True)
        equal.append(np.array_equal(on_board.outputs, scores))
        summary["accuracy"]["emulated"] = accuracy(on_board.labels)
        summary |= _board_figures(on_board, from_pcm, image)
        summary["end_to_end"] = _end_to_end(from_pcm, features[..., 0], scores, truth)
    summary["bytes_equal"] = all(equal) if equal else None
    write_json(run.folder / "summary.json", summary)
    return summary


def _board_figures(
    on_board: EmulationResult, from_pcm: EmulationResult, image: FirmwareImage
) -> dict[str, Any]:
    return {
        "arena_bytes": on_board.arena_size_bytes,
        "arena_source": f"TFLite Micro on {image.board}",
        "flash_bytes": image.flash_bytes,
        "ram_bytes": image.ram_bytes,
        "stack_bytes": from_pcm.stack_used_bytes,
        "frontend_bytes": from_pcm.frontend_bytes,
        "instructions": {
            "frontend_per_frame": from_pcm.frontend_instructions_per_frame,
            "model": on_board.model_instructions,
        },
    }


def _end_to_end(
    board: EmulationResult,
    features: npt.NDArray[np.int8],
    scores: npt.NDArray[np.int8],
    truth: npt.NDArray[np.int32],
) -> dict[str, Any]:
    """From samples to label on the board, against Python's features and the desktop's scores."""
    if board.features is None:
        raise FirmwareError("the firmware reported no features: build it from this release")
    apart = np.abs(board.features.astype(int) - features)
    return {
        "accuracy": float((board.labels == truth).mean()),
        "same_label_as_desktop": float((board.labels == scores.argmax(1)).mean()),
        "features_equal": float((apart == 0).mean()),
        "features_within_1_lsb": float((apart <= 1).mean()),
        "features_largest_lsb": int(apart.max()),
    }


def chain_table(summary: dict[str, Any]) -> Table:
    """The summary as a table for the terminal."""
    accuracy = summary["accuracy"]
    title = f"{summary['run']}: {summary['clips']} held-out {summary['dataset']} clips"
    table = Table("", "", title=title, show_header=False)

    def row(name: str, value: Any) -> None:
        if isinstance(value, float):
            value = f"{100 * value:.2f} %"
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))

    board = summary["board"]
    row("accuracy, float", accuracy["float"])
    row("accuracy, int8 on the desktop", accuracy["int8_desktop"])
    row("accuracy, TFLite Micro on the host", accuracy["tflm_host"] or "not run")
    if "emulation_missing" in summary:
        row(f"accuracy, emulated {board}", "not run")
        table.caption = f"Not emulated: {summary['emulation_missing']}"
    else:
        end_to_end, instructions = summary["end_to_end"], summary["instructions"]
        row(f"accuracy, emulated {board}", accuracy["emulated"])
        row("same output bytes in all three", "yes" if summary["bytes_equal"] else "NO")
        row("accuracy from sound to label on the board", end_to_end["accuracy"])
        row("same label there as on the desktop", end_to_end["same_label_as_desktop"])
        row("int8 features within 1 LSB of Python's", end_to_end["features_within_1_lsb"])
        row("flash, bytes", summary["flash_bytes"])
        row("tensor arena, bytes", summary["arena_bytes"])
        row("instructions a frame, front end", instructions["frontend_per_frame"])
        row("instructions a run, network", instructions["model"])
    row("parameters", summary["parameters"])
    return table
