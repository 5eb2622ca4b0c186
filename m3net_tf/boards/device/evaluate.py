# SPDX-License-Identifier: Apache-2.0
"""Accuracy (or mAP) of a run's test set, measured on the board itself."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from rich.table import Table

from m3net_tf.audio.datasets import AudioDataset, Clip, protocol_statement
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.session import connect
from m3net_tf.export import Bundle
from m3net_tf.export.reference import reference_of
from m3net_tf.system.artifacts import Provenance, provenance, read_json, write_json
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.system.words import counted
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import MultiLabelEvaluation, wilson_interval

INPUTS = ("features", "pcm")
_SAVE_EVERY_S = 2.0
_CLIPS_AT_ONCE = 32


class Identity(TypedDict):
    """Facts that all results of one file share.

    Attributes:
        input: what is sent to the board, one of :data:`INPUTS`.
    """

    board: str
    model_sha256: str
    input: str
    dataset: str
    protocol: str


class ClipResult(TypedDict):
    """The result of a clip.

    Attributes:
        truth: index of its class; of several labels, of the first.
        output: the board's int8 scores, in hex.
        desktop_output: the desktop's int8 scores, in hex.
        run_us: duration of a run in microseconds, by the board's clock.
        model_cost: cost of the network, in the unit of the board's counter.
        frontend_cost: cost of the front end, in the same unit.
        frames: frames that the front end computed.
    """

    clip: str
    truth: int
    label: int
    output: str
    desktop_label: int
    desktop_output: str
    run_us: float
    model_cost: int
    frontend_cost: int
    frames: int


class RunCost(TypedDict):
    """Cost of a run.

    Attributes:
        unit: unit of the board's counter, such as ``cycles``.
        model: cost of the network, for the most expensive clip.
        frontend_per_frame: mean cost of the front end; None if it computed no frame.
    """

    unit: str
    model: int
    frontend_per_frame: float | None


class Summary(Identity, Provenance):
    """The summary of an evaluation.

    Attributes:
        statement: the protocol in words.
        clips_sha256: hash of their ids.
        accuracy: absent where clips have several labels, which have a mean average precision, as
            the next two.
        accuracy_95: its 95 % interval, low and high.
        accuracy_int8_desktop: share of the clips that the desktop recognises.
        map_int8_desktop: mean average precision of the desktop.
        same_label_as_desktop: share of the clips with equal labels.
        same_bytes_as_desktop: share of the clips with equal scores.
        run_us: duration of a run in microseconds: ``median`` and ``largest`` of all clips.
    """

    statement: str
    clips: int
    clips_sha256: str
    accuracy: NotRequired[float]
    accuracy_95: NotRequired[list[float]]
    accuracy_int8_desktop: NotRequired[float]
    mean_average_precision: NotRequired[float]
    map_int8_desktop: NotRequired[float]
    same_label_as_desktop: float
    same_bytes_as_desktop: float
    run_us: dict[str, float]
    cost: RunCost
    clock_hz: int


def results_path(run: Path, board: str, source: str) -> Path:
    """Path of a board's results, ``device/<board>-<input>.json`` in the run's folder."""
    return run / "device" / f"{board}-{source}.json"


def evaluate(
    device: Device,
    bundle: Bundle,
    dataset: AudioDataset,
    clips: tuple[Clip, ...],
    path: Path,
    source: str = "features",
    log: Log = silent,
) -> Summary:
    """Run clips on the board and compare with the desktop.

    Results are saved in ``path`` every few seconds, atomically. Clips that the file already has for
    the same model, board, data and input are skipped; those that ``clips`` lacks are kept.

    Args:
        source: ``features`` sends Python's int8 features, so that the board runs only the
            network; ``pcm`` sends samples, so that it also runs its front end.

    Returns:
        The summary, which is also in the results file.

    Raises:
        ConfigError, DataError: there is no such input, or there are no clips.
        FirmwareError: the board runs another model, stops answering or fails.
    """
    if source not in INPUTS:
        raise ConfigError(f"input {source!r}: choose one of {', '.join(INPUTS)}")
    if not clips:
        raise DataError(f"{dataset.info.name} has no such clips: choose another protocol or fold")
    device.require_model(bundle.manifest.model.sha256, str(bundle.folder))
    identity: Identity = {
        "board": device.info().board,
        "model_sha256": bundle.manifest.model.sha256,
        "input": source,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
    }
    rows = _finished(path, identity, log)
    missing = tuple(clip for clip in clips if clip.clip_id not in rows)
    done = len(clips) - len(missing)
    if done:
        log(f"{path}: has {done} of {counted(len(clips), 'clip')}")
    saved_s = time.monotonic()
    try:
        with track(log, f"{source} on {identity['board']}", len(clips), "clips", done=done) as task:
            for row in _measured(device, bundle, dataset, missing, source):
                rows[row["clip"]] = row
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    write_json(path, {"identity": identity, "results": list(rows.values())})
                    saved_s = time.monotonic()
                task.advance()
    finally:
        write_json(path, {"identity": identity, "results": list(rows.values())})
    chosen = [rows[clip.clip_id] for clip in clips]
    summary = _summary(chosen, identity, protocol_statement(dataset), device)
    _add_figures(summary, chosen, dataset, clips)
    write_json(path, {"identity": identity, "results": list(rows.values()), "summary": summary})
    return summary


def _measured(
    device: Device, bundle: Bundle, dataset: AudioDataset, clips: tuple[Clip, ...], source: str
) -> Iterator[ClipResult]:
    """Run clips on the board and on the desktop; yield the result of each."""
    truth = dataset.label_matrix(clips).argmax(1)
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        part = clips[start : start + _CLIPS_AT_ONCE]
        reference = reference_of(bundle, dataset, part)
        desktop = reference.scores
        inputs = reference.pcm if source == "pcm" else reference.features[..., 0]
        for index, clip in enumerate(part):
            device.load(inputs[index])
            result = device.infer()
            yield {
                "clip": clip.clip_id,
                "truth": int(truth[start + index]),
                "label": result.label,
                "output": result.output.tobytes().hex(),
                "desktop_label": int(desktop[index].argmax()),
                "desktop_output": desktop[index].tobytes().hex(),
                "run_us": result.run_us,
                "model_cost": result.model_cost,
                "frontend_cost": result.frontend_cost,
                "frames": result.frames,
            }


def nested_clips(dataset: AudioDataset, count: int | None) -> tuple[Clip, ...]:
    """The first ``count`` held-out clips of an order whose every prefix is spread evenly.

    A larger count therefore includes all clips of a smaller one, and an evaluation of
    one reuses the results of the other. None takes all clips.

    Raises:
        DataError: the data set has no test clips.
    """
    clips = spread_clips(dataset, None)
    bits = (len(clips) - 1).bit_length()
    reversed_bits = (int(f"{index:0{bits}b}"[::-1], 2) for index in range(2**bits))
    return tuple(clips[index] for index in reversed_bits if index < len(clips))[:count]


def evaluate_port(
    port: str,
    run_folder: Path,
    data_dir: Path | None,
    count: int | None,
    source: str,
    *,
    baud: int,
    log: Log,
) -> Summary:
    """Connect to a board and :func:`evaluate` the run's test split, or ``count`` clips of it.

    Args:
        count: number of clips, spread over the split (:func:`nested_clips`); None takes all.
        source: as in :func:`evaluate`.
    """
    run = Run(run_folder)
    bundle = Bundle.load(run.folder / "export")
    dataset = run.dataset(data_dir)
    clips = nested_clips(dataset, count)
    with connect(port, run.folder, baud=baud, log=log) as device:
        path = results_path(run.folder, device.info().board, source)
        summary = evaluate(device, bundle, dataset, clips, path, source, log)
    log(f"{path}: results of each clip")
    return summary


class _Earlier(TypedDict):
    """What is read of an earlier evaluation."""

    identity: dict[str, Any]
    results: list[ClipResult]


def _finished(path: Path, identity: Identity, log: Log) -> dict[str, ClipResult]:
    """Results by clip of earlier evaluations of the same model, board, data and input."""
    if not path.exists():
        return {}
    earlier = read_json(path, _Earlier)
    earlier_identity = earlier["identity"]
    if any(earlier_identity.get(key) != value for key, value in identity.items()):
        log(f"{path} is of another model, board or data set: starting again")
        return {}
    return {row["clip"]: row for row in earlier["results"]}


def _summary(rows: list[ClipResult], identity: Identity, statement: str, device: Device) -> Summary:
    info = device.info()
    count = len(rows)
    clip_ids = "\n".join(row["clip"] for row in rows)
    frames = sum(row["frames"] for row in rows)
    frontend = sum(row["frontend_cost"] for row in rows)
    return {
        **identity,
        "statement": statement,
        "clips": count,
        "clips_sha256": hashlib.sha256(clip_ids.encode()).hexdigest(),
        "same_label_as_desktop": sum(row["label"] == row["desktop_label"] for row in rows) / count,
        "same_bytes_as_desktop": sum(row["output"] == row["desktop_output"] for row in rows)
        / count,
        "run_us": {
            "median": float(np.median([row["run_us"] for row in rows])),
            "largest": max(row["run_us"] for row in rows),
        },
        "cost": {
            "unit": info.version["counter"],
            "model": max(row["model_cost"] for row in rows),
            "frontend_per_frame": frontend / frames if frames else None,
        },
        "clock_hz": int(info.version["clock_hz"]),
        **provenance(),  # type: ignore[typeddict-item]  # _add_figures adds the others
    }


def _add_figures(
    summary: Summary, rows: list[ClipResult], dataset: AudioDataset, clips: tuple[Clip, ...]
) -> None:
    """Add how well the clips are recognised on the board and on the desktop."""
    if dataset.info.multi_label:
        matrix, labels = dataset.label_matrix(clips), dataset.info.labels

        def precision(outputs: list[str]) -> float:
            scores = np.array([np.frombuffer(bytes.fromhex(text), np.int8) for text in outputs])
            shares = (scores + 128.0) / 256.0
            return MultiLabelEvaluation(matrix, shares, labels).mean_average_precision

        summary["mean_average_precision"] = precision([row["output"] for row in rows])
        summary["map_int8_desktop"] = precision([row["desktop_output"] for row in rows])
        return
    hits = sum(row["label"] == row["truth"] for row in rows)
    on_desktop = sum(row["desktop_label"] == row["truth"] for row in rows)
    summary["accuracy"] = hits / len(rows)
    summary["accuracy_95"] = list(wilson_interval(hits, len(rows)))
    summary["accuracy_int8_desktop"] = on_desktop / len(rows)


def evaluation_table(summary: Summary) -> Table:
    """The summary as a table for the terminal."""
    title = f"{summary['clips']} {summary['dataset']} clips on {summary['board']}"
    table = Table("", "", title=title, show_header=False)
    table.caption = f"Protocol: {protocol_statement(summary)}."
    unit = summary["cost"]["unit"]
    median_ms, largest_ms = (summary["run_us"][key] / 1000 for key in ("median", "largest"))
    per_frame = summary["cost"]["frontend_per_frame"]
    same = f"{100 * summary['same_label_as_desktop']:.2f} %"
    if "mean_average_precision" in summary:
        rows = {
            "mAP on the board": f"{100 * summary['mean_average_precision']:.2f} %",
            "mAP, int8 on the desktop": f"{100 * summary['map_int8_desktop']:.2f} %",
            "same best class": same,
        }
    else:
        low, high = summary["accuracy_95"]
        interval = f"(95 %: {100 * low:.1f} to {100 * high:.1f})"
        rows = {
            "accuracy on the board": f"{100 * summary['accuracy']:.2f} % {interval}",
            "accuracy, int8 on the desktop": f"{100 * summary['accuracy_int8_desktop']:.2f} %",
            "same label": same,
        }
    rows |= {
        "same output bytes": f"{100 * summary['same_bytes_as_desktop']:.2f} %",
        "a run by the board's clock": f"{median_ms:.2f} ms median, {largest_ms:.2f} ms at most",
        f"{unit} a run, network": f"{summary['cost']['model']:,}",
    }
    if per_frame is not None:
        rows[f"{unit} a frame, front end"] = f"{per_frame:,.0f}"
    for name, figure in rows.items():
        table.add_row(name, figure)
    return table
