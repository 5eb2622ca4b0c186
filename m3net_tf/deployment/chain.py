# SPDX-License-Identifier: Apache-2.0
"""The whole chain on the same held-out clips: float, int8 on the desktop, TFLM, emulated board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.artifacts import provenance, read_json, write_json
from m3net_tf.datasets import protocol_statement
from m3net_tf.datasets.selection import spread_clips
from m3net_tf.deployment.certification import board_answer, with_fixed_features
from m3net_tf.emulation import EmulationResult, find_machine, run_job
from m3net_tf.emulation.starting import prove_arena, why_no_emulation
from m3net_tf.errors import FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.export.certificate import (
    Expected,
    write_certificate,
)
from m3net_tf.export.reading import pcm_and_features
from m3net_tf.firmware.image import FirmwareImage
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.training.metrics import wilson_interval
from m3net_tf.training.run import Run


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


@writes_into("run")
def run_chain(
    run: Run,
    board: str,
    data_dir: Path | None = None,
    count: int | None = None,
    log: Log = silent,
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
    find_machine(board)  # before the slow stages, for a board that nothing emulates
    from m3net_tf.training.evaluation import predict  # TensorFlow takes seconds to import

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
        "statement": run.protocol_statement(dataset),
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
        expected = with_fixed_features(bundle.frontend, board, expected)
        answer = board_answer(image, on_board, from_pcm)
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

    board, caption = summary["board"], [f"Protocol: {protocol_statement(summary)}."]
    row("accuracy, float", accuracy["float"])
    row("accuracy, int8 on the desktop", accuracy["int8_desktop"])
    row("accuracy, TFLite Micro on the host", accuracy["tflm_host"] or "not run")
    if "emulation_missing" in summary:
        row(f"accuracy, emulated {board}", "not run")
        caption.append(f"Not emulated: {summary['emulation_missing']}")
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
    table.caption = "\n".join(caption)
    return table
