# SPDX-License-Identifier: Apache-2.0
"""The whole chain on the same held-out clips: float, int8 on the desktop, TFLM, emulated board."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.artifacts import provenance, read_json, sha256_of, write_json
from m3net_tf.datasets import AudioDataset, Clip
from m3net_tf.emulation import EmulationResult, find_machine, run_job
from m3net_tf.errors import DataError, FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import pcm_and_features
from m3net_tf.export.certificate import (
    BoardAnswer,
    Expected,
    read_vectors,
    require_parity,
    valid_certificate,
    write_certificate,
)
from m3net_tf.firmware.build import (
    TOOLS,
    FirmwareImage,
    board_core,
    build_firmware,
    check_toolchain,
)
from m3net_tf.firmware.sources import FIRMWARE_DIR, why_sources_unavailable
from m3net_tf.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.locks import writes_into
from m3net_tf.quantization.runtime import tflm_unavailable_reason
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
    size, _ = least_arena(bundle, board, folder, log)
    bundle.set_arena(size, source)
    return build_firmware(bundle.folder, board, folder, report=log)


def least_arena(
    bundle: Bundle, board: str, folder: Path, log: Log = lambda _: None
) -> tuple[int, FirmwareImage]:
    """Find the least arena with which the network starts on an emulated board.

    Returns:
        Its bytes, and the firmware that has it; the bundle stays as it is.

    Raises:
        FirmwareError: the firmware does not build or does not run.
    """
    machine = find_machine(board)
    shape = bundle.manifest["model"]["input_shape"]
    silence = np.zeros((1, int(np.prod(shape))), np.int8)
    spare = bundle.manifest["arena"]["bytes"] + ARENA_SLACK_BYTES
    image = build_firmware(bundle.folder, board, folder, spare, report=log)
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
            return size, image
    raise FirmwareError(
        f"{bundle.folder}: the network does not start on {board} with an arena of up to "
        f"{used + ARENA_SLACK_BYTES} bytes: export it again"
    )


@writes_into("folder", makes=True)
def certify_export(
    bundle: Bundle, board: str, folder: Path, log: Log = lambda _: None
) -> dict[str, Any]:
    """Prove the arena and hold Python against the compiled C over the export's test vectors.

    A certificate that the export has of this very firmware is left as it is.

    Args:
        bundle: the export.
        board: board to emulate.
        folder: where the firmware's build files go.
        log: takes lines of progress.

    Returns:
        The certificate; without an emulator it says "host only" and why.

    Raises:
        FirmwareError: the firmware does not build or run, or its numbers drift from Python's.
    """
    expected = read_vectors(bundle)
    if reason := why_no_emulation(board):
        log(
            f"the arena is not proven on a board, and the certificate is of the host only: {reason}"
        )
        certificate = write_certificate(bundle, _with_host(bundle, expected), None, reason)
    else:
        image = prove_arena(bundle, board, folder, log)
        if found := valid_certificate(bundle, board, _image_sha256(image)):
            return found
        log(f"running {len(expected.pcm)} test vectors on the emulated {board}")
        machine = find_machine(board)
        on_board = run_job(image.elf, machine, expected.features[..., 0])
        from_pcm = run_job(image.elf, machine, expected.pcm, report_features=True)
        certificate = write_certificate(
            bundle,
            _with_fixed(bundle.frontend, board, _with_host(bundle, expected)),
            _board_answer(image, on_board, from_pcm),
        )
    require_parity(bundle, certificate)
    return certificate


def _with_host(bundle: Bundle, expected: Expected) -> Expected:
    if tflm_unavailable_reason():
        return expected
    return dataclasses.replace(expected, host_scores=bundle.run_tflm(expected.features))


def _with_fixed(frontend: FrontendConfig, board: str, expected: Expected) -> Expected:
    """Features in whole numbers, too, where the board's core computes so; samples are so on all."""
    if frontend.kind == "waveform":
        return dataclasses.replace(expected, fixed_features=expected.features[..., 0])
    core = FIRMWARE_DIR / "cmake" / "cores" / f"{board_core(board)}.cmake"
    if "M3NET_FRONTEND_FIXED" not in core.read_text():
        return expected
    fixed = np.stack([fixed_features_int8(frontend, wave) for wave in expected.pcm])
    return dataclasses.replace(expected, fixed_features=fixed)


def _image_sha256(image: FirmwareImage) -> str:
    return sha256_of(image.elf.with_suffix(".bin").read_bytes())


def _board_answer(
    image: FirmwareImage, on_board: EmulationResult, from_pcm: EmulationResult
) -> BoardAnswer:
    emulator = find_machine(image.board).emulator
    version = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    return BoardAnswer(
        board=image.board,
        emulator=version.stdout.partition("\n")[0] or emulator,
        firmware_sha256=_image_sha256(image),
        outputs=on_board.outputs,
        features=from_pcm.features,
        labels=from_pcm.labels,
        figures={
            "arena_used_bytes": on_board.arena_used_bytes,
            "flash_bytes": image.flash_bytes,
            "ram_bytes": image.ram_bytes,
            "stack_used_bytes": from_pcm.stack_used_bytes,
            "frontend_bytes": from_pcm.frontend_bytes,
            "frontend_instructions_per_frame": from_pcm.frontend_instructions_per_frame,
            "model_instructions": on_board.model_instructions,
            **{f"section{name}_bytes": size for name, size in image.sections.items()},
        },
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
    certified = "drift" in summary and (run.folder / "export" / "certificate.json").exists()
    return summary if certified and "emulation_missing" not in summary else None


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


@writes_into("run")
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
        cannot be emulated its figures are None and ``emulation_missing`` says why. The export's
        certificate is made anew from the same runs; ``drift`` has what it names.

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

    scores = bundle.run_reference(features)
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
    source = f"held-out clips of {dataset.info.name}, {dataset.info.protocol}"
    expected, answer = Expected(source, pcm, features, scores), None
    if reason := tflm_unavailable_reason():
        summary["tflm_host_missing"] = reason
    else:
        tflm = bundle.run_tflm(features)
        expected = dataclasses.replace(expected, host_scores=tflm)
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
        expected = _with_fixed(bundle.frontend, board, expected)
        answer = _board_answer(image, on_board, from_pcm)
        summary["end_to_end"] = _end_to_end(from_pcm, features[..., 0], scores, truth)
    summary["bytes_equal"] = all(equal) if equal else None
    missing = summary.get("emulation_missing", "")
    summary["drift"] = write_certificate(bundle, expected, answer, missing)["drift"]
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
    return {
        "accuracy": float((board.labels == truth).mean()),
        "same_label_as_desktop": float((board.labels == scores.argmax(1)).mean()),
        **feature_parity(board, features),
    }


def feature_parity(board: EmulationResult, features: npt.NDArray[np.int8]) -> dict[str, Any]:
    """The features that a board made of sounds, against Python's.

    Args:
        board: what it answered to samples, with its features.
        features: the reference's, int8 of shape (clips, bins, frames).

    Raises:
        FirmwareError: the board told none.
    """
    if board.features is None:
        raise FirmwareError("the firmware reported no features: build it from this release")
    apart = np.abs(board.features.astype(int) - features)
    return {
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
