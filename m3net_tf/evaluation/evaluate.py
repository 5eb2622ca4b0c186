# SPDX-License-Identifier: Apache-2.0
"""How well a run does: on held-out clips, and live on long recordings of known truth."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Column, Table

from m3net_tf.artifacts import provenance, write_bytes, write_json, write_text
from m3net_tf.datasets import AudioDataset, protocol_statement
from m3net_tf.errors import ConfigError
from m3net_tf.evaluation.scenes import SceneSettings, TrueEvent, make_scenes
from m3net_tf.evaluation.scoring import Tally
from m3net_tf.evaluation.tuning import Recording, operating_points, total, tune
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import detector_of_run
from m3net_tf.locks import writes_into
from m3net_tf.progress import Log, silent
from m3net_tf.runtime.detector_config import DetectorConfig, save_detector
from m3net_tf.runtime.recognizer import Pcm, listen
from m3net_tf.training.checks import HELD_OUT, require_held_out
from m3net_tf.training.features import compute_features
from m3net_tf.training.metrics import wilson_interval
from m3net_tf.training.run import Run
from m3net_tf.training.trainer import predict

Point = tuple[float, dict[str, Tally]]


def evaluate_clips(
    run: Run, data_dir: Path | None = None, split: str = "test", log: Log = silent
) -> dict[str, Any]:
    """Accuracy of a run's float network and, where it is exported, of the int8 one.

    Args:
        run: finished run.
        data_dir: where the data set lies.
        split: ``validation`` or ``test``.
        log: takes lines of progress.

    Raises:
        M3NetError: as the stages raise.
    """
    require_held_out(split)
    dataset = run.dataset(data_dir)
    held_out = compute_features(dataset, split, run.recipe().frontend, log=log)
    stages: dict[str, npt.NDArray[Any]] = {"float": predict(run.load_model(), held_out.clean)}
    if (run.folder / "export" / "manifest.json").exists():
        bundle = Bundle.load(run.folder / "export")
        stages["int8_desktop"] = bundle.run_reference(held_out.clean)
    result: dict[str, Any] = {
        "run": run.folder.name,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split,
        "clips": len(held_out.labels),
        **provenance(),
    }
    for name, scores in stages.items():
        hits = int((scores.argmax(1) == held_out.labels).sum())
        result[name] = {
            "accuracy": hits / len(held_out.labels),
            "accuracy_95": list(wilson_interval(hits, len(held_out.labels))),
        }
    return result


@writes_into("run")
def evaluate_streaming(
    run: Run,
    data_dir: Path | None = None,
    *,
    split: str = "test",
    target_false_accepts_per_hour: float | None = None,
    scenes: SceneSettings | None = None,
    log: Log = silent,
) -> dict[str, Any]:
    """Measure live detection; given a target, find its settings on the validation split first.

    The settings found go into ``detector.yaml`` of the run's folder and into its export, so the
    next firmware has them. ``streaming.json``, ``streaming_curve.csv`` and
    ``streaming_curve.png`` are written beside it.

    Args:
        run: finished run with an export.
        data_dir: where the data set lies.
        split: whose clips are reported on, ``validation`` or ``test``.
        target_false_accepts_per_hour: None measures the settings that the run has.
        scenes: how the recordings are mixed.
        log: takes lines of progress.

    Returns:
        The result, as ``streaming.json`` has it.

    Raises:
        M3NetError: as the stages raise.
    """
    require_held_out(split)
    target = target_false_accepts_per_hour
    if target is not None and not 0 <= target < float("inf"):
        raise ConfigError(
            f"the target of {target} false accepts an hour is none: give 0 or a number above it"
        )
    scenes = scenes or SceneSettings()
    bundle = Bundle.load(run.folder / "export")
    dataset = run.dataset(data_dir)
    frames = bundle.manifest["model"]["input_shape"][1]
    config = detector_of_run(run, frames, bundle.labels)
    tuned_on = None
    if target is not None:
        recording = record(bundle, dataset, "validation", config, scenes, log)
        log("searching thresholds, windows and suppression")
        config = tune(recording, config, target)
        tuned_on = _summary(recording, config)
        for one in config.classes:
            if one.event and one.threshold == 1:
                log(f"class {one.label} is off: with no setting does it keep to the target")
    if tuned_on is None or split != "validation":
        recording = record(bundle, dataset, split, config, scenes, log)
    points = operating_points(recording, config)
    result: dict[str, Any] = {
        "run": run.folder.name,
        "model_sha256": bundle.manifest["model"]["sha256"],
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split,
        "clip_list_sha256": {name: dataset.clip_list_hash()[name] for name in HELD_OUT},
        "scenes": dataclasses.asdict(scenes),
        "target_false_accepts_per_hour": target,
        "detector": config.to_dict(),
        "tuned_on_validation": tuned_on,
        **_summary(recording, config),
        **provenance(),
    }
    write_json(run.folder / "streaming.json", result)
    write_text(run.folder / "streaming_curve.csv", _curve_csv(points, recording.hours))
    here = total(recording.score(config))
    _plot_curve(points, here, recording.hours, run.folder / "streaming_curve.png")
    if tuned_on is not None:
        save_detector(config, run.detector_path)
        bundle.set_detector(config)
    return result


def record(
    bundle: Bundle,
    dataset: AudioDataset,
    split: str,
    config: DetectorConfig,
    scenes: SceneSettings,
    log: Log = silent,
) -> Recording:
    """Mix scenes of a split and let the int8 network hear all of them.

    Raises:
        ConfigError: the front end has another rate than the data set, or needs a whole clip.
        DataError: the split has no clip that makes an event.
    """
    frontend = bundle.frontend
    if frontend.sample_rate_hz != dataset.info.sample_rate_hz:
        raise ConfigError(
            f"frontend.sample_rate_hz is {frontend.sample_rate_hz}, but {dataset.info.name} "
            f"comes at {dataset.info.sample_rate_hz} Hz: live detection needs one rate"
        )
    log(f"mixing {scenes.total_hours:.3g} h of {split} scenes and running the network over them")
    truth: list[TrueEvent] = []
    events = frozenset(one.label for one in config.classes if one.event)

    def pieces() -> Iterator[Pcm]:
        for scene in make_scenes(dataset, split, events, scenes):
            truth.extend(scene.events)
            yield scene.pcm

    ungated = dataclasses.replace(config, gate_level=None)
    tape = listen(frontend, bundle.run_reference, ungated, pieces())
    tolerance_s = config.window_columns * frontend.hop_s
    return Recording(frontend, tape, tuple(truth), scenes.total_hours, tolerance_s)


def _summary(recording: Recording, config: DetectorConfig) -> dict[str, Any]:
    tallies = recording.score(config)
    events = {one.label for one in config.classes if one.event}
    own = [config.labels[one.label] in events for one in recording.truth]
    return {
        "hours": recording.hours,
        "other_sounds": len(own) - sum(own),
        "spared_runs": recording.spared_runs(config),
        "all": total(tallies).to_dict(recording.hours),
        "classes": {label: one.to_dict(recording.hours) for label, one in tallies.items()},
    }


def _curve_csv(points: list[Point], hours: float) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["threshold", "class", "true_events", "missed", "false_accepts", "hours"])
    for threshold, tallies in points:
        for label, one in {"all": total(tallies), **tallies}.items():
            rows.writerow(
                [threshold, label, one.true_events, one.missed, one.false_accepts, f"{hours:.6g}"]
            )
    return text.getvalue()


def _plot_curve(points: list[Point], here: Tally, hours: float, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    totals = [total(tallies) for _, tallies in points]
    accepts = [one.false_accepts / hours for one in totals]
    misses = [100 * one.miss_rate for one in totals]
    axes.plot(accepts, misses, marker=".", label="one threshold for all classes")
    axes.plot(
        [here.false_accepts / hours], [100 * here.miss_rate], "o", label="the detector's settings"
    )
    # Zero belongs on this axis, so the scale is linear near it.
    axes.set_xscale("symlog", linthresh=1 / hours)
    axes.set(xlabel="false accepts an hour", ylabel="missed events, %", xlim=(0, None))
    axes.set_ylim(0, max(5.0, 1.05 * float(np.max([*misses, 100 * here.miss_rate]))))
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, image.getvalue())


def clips_table(result: dict[str, Any]) -> Table:
    """Clip accuracy for the terminal."""
    title = f"{result['run']}: {result['clips']} {result['split']} clips of {result['dataset']}"
    table = Table("network", "accuracy", "95 % interval", title=title)
    names = {"float": "float", "int8_desktop": "int8 on the desktop"}
    for name, words in names.items():
        if name in result:
            low, high = (100 * one for one in result[name]["accuracy_95"])
            accuracy = 100 * result[name]["accuracy"]
            table.add_row(words, f"{accuracy:.2f} %", f"{low:.1f} to {high:.1f} %")
    table.caption = f"Protocol: {protocol_statement(result)}."
    return table


def streaming_table(result: dict[str, Any]) -> Table:
    """Live detection for the terminal."""
    title = (
        f"{result['run']}: {result['hours']:.3g} h of {result['split']} scenes of "
        f"{result['dataset']}"
    )
    columns = ("threshold", "events", "missed", "false accepts", "an hour", "latency")
    table = Table(Column("class", no_wrap=True), *columns, title=title)
    thresholds = {one["label"]: one["threshold"] for one in result["detector"]["classes"]}
    for label, one in {**result["classes"], "all": result["all"]}.items():
        median_s = one["latency_s"]["median"]
        table.add_row(
            label,
            f"{thresholds[label]:.3f}" if label in thresholds else "",
            str(one["true_events"]),
            f"{100 * one['miss_rate']:.1f} %",
            str(one["false_accepts"]),
            f"{one['false_accepts_per_hour']:.2f}",
            "" if median_s is None else f"{median_s:.2f} s",
        )
    table.caption = (
        f"The gate spares {100 * result['spared_runs']:.0f} % of the runs. Latency: median, from "
        f"the sound's end. Protocol: {protocol_statement(result)}."
    )
    return table
