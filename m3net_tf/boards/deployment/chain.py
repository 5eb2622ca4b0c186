# SPDX-License-Identifier: Apache-2.0
"""The whole chain on the same held-out clips: float, int8 on the desktop, TFLM, emulated board."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.audio.datasets import AudioDataset, Clip, protocol_statement
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.boards.builds.toolchain import check_engine
from m3net_tf.boards.deployment.certification import (
    board_answer,
    stream_folder,
    with_fixed_features,
    with_host,
)
from m3net_tf.boards.deployment.cost import (
    COST_KEYS,
    Clips,
    FeatureParity,
    Measurement,
    feature_parity,
    measure,
)
from m3net_tf.boards.deployment.real_time import pace_on
from m3net_tf.boards.emulation.listening import LiveCost
from m3net_tf.boards.emulation.starting import (
    firmware_folder,
    prove_arena,
    starting_firmware,
)
from m3net_tf.boards.emulation.streaming import StreamCost, streamed_export
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.bundle import pcm_and_features
from m3net_tf.export.c_files import ARENA_SOURCE
from m3net_tf.export.certificate import (
    Expected,
    compare,
    write_certificate,
)
from m3net_tf.export.manifest import Manifest
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.artifacts import Provenance, of_form, provenance, read_json, write_json
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import whole_scores, wilson_interval


class Accuracies(TypedDict):
    """Accuracy at each stage, as a share of the clips; None if the stage did not run."""

    int8_desktop: float
    tflm_host: float | None
    emulated: float | None
    float: float


class EndToEnd(FeatureParity):
    """From samples to label on the board."""

    accuracy: float
    same_label_as_desktop: float


class ChainSummary(Provenance):
    """Content of ``summary.json``; the board's figures have the names of :class:`.cost.BoardCost`.

    Attributes:
        bytes_equal: whether all stages give equal bytes; None if only the desktop ran.
        arena_source: how the arena's size was found.
        int8_accuracy_95: 95 % interval of the accuracy on the desktop.
        dsp_missing: why the board's front end computes in whole numbers although its core has an
            FPU; absent where it does not.
        end_to_end: results from samples; absent if the board was not emulated.
        pace: the :class:`.real_time.Pace` on the board; absent as ``end_to_end``.
        stream: the network hop by hop on the board; absent if streaming does not pay.
    """

    run: str
    dataset: str
    protocol: str
    statement: str
    clips: int
    accuracy: Accuracies
    bytes_equal: bool | None
    parameters: int
    model_sha256: str
    arena_source: str
    engine: Engine
    board: str
    instructions: int | None
    frontend_instructions: int | None
    arena_bytes: int
    arena_used_bytes: int | None
    stack_bytes: int | None
    frontend_bytes: int | None
    flash_bytes: int | None
    ram_bytes: int | None
    model_bytes: int
    sections: dict[str, int] | None
    live: NotRequired[LiveCost]
    int8_accuracy_95: list[float]
    tflm_host_missing: NotRequired[str]
    dsp_missing: NotRequired[str]
    emulation_missing: NotRequired[str]
    end_to_end: NotRequired[EndToEnd]
    pace: NotRequired[dict[str, float | bool | None]]
    stream: NotRequired[StreamCost]
    drift: NotRequired[list[str]]


def saved_summary(run: Run, board: str, engine: Engine | None = None) -> ChainSummary | None:
    """The summary that :func:`run_chain` has written, if it is complete and of this network."""
    manifest = Bundle.load(run.folder / "export").manifest
    engine = engine or manifest.engine
    path = _summary_path(run.folder, manifest, engine)
    if not path.exists():
        return None
    try:
        summary: ChainSummary = of_form(ChainSummary, read_json(path))
    except ValueError:  # an earlier release's
        return None
    if summary["board"] != board or summary["model_sha256"] != manifest.model.sha256:
        return None
    certified = "drift" in summary and (run.folder / "export" / "certificate.json").exists()
    measured = all(key in summary for key in (*COST_KEYS, "pace"))
    same_engine = summary.get("engine", TFLM) == engine
    return summary if certified and measured and same_engine else None


@dataclasses.dataclass(frozen=True)
class _Clips:
    """Held-out clips.

    Attributes:
        pcm: int16 samples, shape (clips, samples).
        features: int8 features, shape (clips, bins, frames, 1).
        truth: labels, shape (clips,).
        scores: int8 scores on the desktop, shape (clips, classes).
    """

    pcm: npt.NDArray[np.int16]
    features: npt.NDArray[np.int8]
    truth: npt.NDArray[np.int32]
    listed: tuple[Clip, ...]
    labels: tuple[str, ...]
    scores: npt.NDArray[np.int8]

    def accuracy(
        self,
        scores: npt.NDArray[np.int8] | npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64] | None = None,
    ) -> float:
        """Share of the clips that are recognised; of windows, by their scores together.

        Args:
            scores: int8, or 0 to 1, shape (clips, classes).
            labels: answers where a clip is no window, shape (clips,); default: the best scores.
        """
        quantized = scores.dtype == np.int8
        shares = (scores + 128.0) / 256.0 if quantized else np.asarray(scores, np.float32)
        wholes, first = whole_scores(shares, self.listed, self.labels)
        if labels is None or len(first) < len(self.listed):
            labels = wholes.argmax(1)
        return float((labels == self.truth[first]).mean())

    @property
    def wholes(self) -> int:
        """Number of clips, of which windows count together."""
        return len({clip.whole or clip.clip_id for clip in self.listed})

    @property
    def in_windows(self) -> str:
        """Words on the number of windows; empty where each clip is one."""
        return f" in {len(self.listed)} windows" if self.wholes < len(self.listed) else ""


@writes_into("run")
def run_chain(
    run: Run,
    board: str,
    data_dir: Path | None = None,
    count: int | None = None,
    log: Log = silent,
    engine: Engine | None = None,
) -> ChainSummary:
    """Run held-out clips through every stage and compare.

    Args:
        count: number of clips; None takes the whole test split.

    Returns:
        The summary, also written to ``summary.json`` of the run. With another engine than the
        export's, it is ``summary_<engine>.json``, and the export stays unchanged. Without an
        emulator the board's figures are None; else the certificate is renewed.

    Raises:
        M3NetError: a stage failed.
    """
    find_machine(board)  # refuses a board without an emulator before the slow stages
    bundle, dataset = Bundle.load(run.folder / "export"), run.dataset(data_dir)
    engine = engine or bundle.manifest.engine
    check_engine(load_board(board), engine)
    chosen = spread_clips(dataset, count)
    pcm, features = pcm_and_features(dataset, chosen, bundle.frontend)
    scores, names = bundle.run_reference(features), dataset.info.labels
    clips, equal = _Clips(pcm, features, dataset.label_ids(chosen), chosen, names, scores), []
    log(f"{clips.wholes} held-out clips of {dataset.info.name}{clips.in_windows}")
    log("int8 and float on this computer")
    summary = _desktop_summary(run, bundle, board, engine, dataset, clips, log)
    expected = Expected(_source(dataset), pcm, features, scores)
    expected, answer = with_host(bundle, expected, log), None
    if expected.host_scores is None:
        summary["tflm_host_missing"] = tflm_unavailable_reason()
    else:
        summary["accuracy"]["tflm_host"] = clips.accuracy(expected.host_scores)
        equal.append(np.array_equal(expected.host_scores, scores))
    if expected.compiled_scores is not None:
        equal.append(np.array_equal(expected.compiled_scores, scores))
    try:
        measured = _measure(run, bundle, board, engine, clips, log)
    except MissingError as error:
        summary["emulation_missing"] = str(error)
        log(f"no emulation: {error}")
    else:
        equal.append(np.array_equal(measured.from_features.outputs, scores))
        if "live" in measured.cost:
            equal.append(measured.cost["live"]["equal"])
        summary = _with_board(summary, bundle, measured, clips)
        expected = with_fixed_features(bundle.frontend, measured.image, expected)
        stream = None
        if engine == COMPILED:
            builds = stream_folder(firmware_folder(run.folder, board, engine))
            stream = streamed_export(bundle, board, builds, features, log)
        if stream is not None:
            summary["stream"] = stream
            equal.append(stream["bytes_equal"])
        answer = board_answer(measured, stream)
    summary["bytes_equal"] = all(equal) if equal else None
    certify = write_certificate if engine == bundle.manifest.engine else compare
    reason = summary.get("emulation_missing", "")
    summary["drift"] = certify(bundle, expected, answer, reason)["drift"]
    write_json(_summary_path(run.folder, bundle.manifest, engine), summary)
    return summary


def _measure(
    run: Run, bundle: Bundle, board: str, engine: Engine, clips: _Clips, log: Log
) -> Measurement:
    """Build the firmware and run the clips on the emulated board."""
    folder = firmware_folder(run.folder, board, engine)
    log(f"building the firmware for {board}")
    if engine == bundle.manifest.engine:
        image = prove_arena(bundle, board, folder, log)
    else:
        image = starting_firmware(bundle, board, folder, log, engine=engine)
    log(f"running {len(clips.pcm)} clips on the emulated {board}, as features and as sound")
    return measure(bundle, image, Clips(clips.pcm, clips.features), log, certified=True)


def _with_board(
    summary: ChainSummary, bundle: Bundle, measured: Measurement, clips: _Clips
) -> ChainSummary:
    """The summary with the board's figures."""
    compiled = summary["engine"] == COMPILED
    arena_source = ARENA_SOURCE if compiled else f"TFLite Micro on {summary['board']}"
    summary["accuracy"]["emulated"] = clips.accuracy(
        measured.from_features.outputs, measured.from_features.labels
    )
    summary = {**summary, "arena_source": arena_source, **measured.cost}
    heard = measured.from_sound
    summary["end_to_end"] = {
        "accuracy": clips.accuracy(heard.outputs, heard.labels),
        "same_label_as_desktop": float((heard.labels == clips.scores.argmax(1)).mean()),
        **feature_parity(heard, clips.features[..., 0]),
    }
    pace = pace_on(bundle, load_board(summary["board"]).clock_hz, measured.cost)
    summary["pace"] = dataclasses.asdict(pace)
    if measured.image.dsp_missing:
        summary["dsp_missing"] = measured.image.dsp_missing
    return summary


def drift_file(run: Path, summary: ChainSummary) -> str:
    """File with the differences that a summary counts, relative to the run's folder."""
    manifest = Bundle.load(run / "export").manifest
    if summary["engine"] == manifest.engine:
        return "export/certificate.md"
    return _summary_path(run, manifest, summary["engine"]).name


def _summary_path(run: Path, manifest: Manifest, engine: Engine) -> Path:
    """The summary of an engine; the export's engine has ``summary.json``."""
    return run / ("summary.json" if engine == manifest.engine else f"summary_{engine}.json")


def _source(dataset: AudioDataset) -> str:
    """Origin of the clips, as the certificate names it."""
    return f"held-out clips of {dataset.info.name}, {dataset.info.protocol}"


def _desktop_summary(
    run: Run,
    bundle: Bundle,
    board: str,
    engine: Engine,
    dataset: AudioDataset,
    clips: _Clips,
    log: Log,
) -> ChainSummary:
    """The summary with the figures of the desktop; figures of TFLM and the board are None."""
    accuracy = clips.accuracy(clips.scores)
    hits = round(accuracy * clips.wholes)
    made_with = provenance()
    return {
        "run": run.folder.name,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "clips": clips.wholes,
        "accuracy": {
            "float": clips.accuracy(_float_scores(run, dataset, clips.listed, log)),
            "int8_desktop": accuracy,
            "tflm_host": None,
            "emulated": None,
        },
        "bytes_equal": None,
        "parameters": run.metrics().parameters,
        "model_sha256": bundle.manifest.model.sha256,
        "arena_source": bundle.manifest.arena.source,
        "engine": engine,
        "board": board,
        "instructions": None,
        "frontend_instructions": None,
        "arena_bytes": bundle.manifest.arena.bytes,
        "arena_used_bytes": None,
        "stack_bytes": None,
        "frontend_bytes": None,
        "flash_bytes": None,
        "ram_bytes": None,
        "model_bytes": bundle.network.size_bytes,
        "sections": None,
        "int8_accuracy_95": list(wilson_interval(hits, clips.wholes)),
        "versions": made_with["versions"],
        "git_commit": made_with["git_commit"],
    }


def _float_scores(
    run: Run, dataset: AudioDataset, clips: Sequence[Clip], log: Log
) -> npt.NDArray[np.float32]:
    """Scores of the float network on the features of its training, as in ``metrics.json``."""
    from m3net_tf.training.scoring.evaluation import (  # TensorFlow takes seconds
        own_features,
        predict,
    )

    model = run.load_model()
    features = own_features(model, dataset, "test", run.recipe(), log)
    rows = {clip.clip_id: row for row, clip in enumerate(features.clips)}
    return predict(model, features.clean[[rows[clip.clip_id] for clip in clips]])


def chain_table(summary: ChainSummary) -> Table:
    """The summary as a table for the terminal."""
    accuracy = summary["accuracy"]
    title = f"{summary['run']}: {summary['clips']} held-out {summary['dataset']} clips"
    title += f", engine {summary.get('engine', TFLM)}"
    table = Table("", "", title=title, show_header=False)

    def row(name: str, value: float | str | None) -> None:
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
        end_to_end = summary["end_to_end"]
        row(f"accuracy, emulated {board}", accuracy["emulated"])
        compared = "both" if accuracy["tflm_host"] is None else "all three"
        row(f"same output bytes in {compared}", "yes" if summary["bytes_equal"] else "NO")
        row("accuracy from sound to label on the board", end_to_end["accuracy"])
        row("same label there as on the desktop", end_to_end["same_label_as_desktop"])
        row("int8 features within 1 LSB of Python's", end_to_end["features_within_1_lsb"])
        if reason := summary.get("dsp_missing"):
            row("front end on the board", "in whole numbers, without CMSIS-DSP")
            caption.append(f"Front end in whole numbers: {reason}")
        row("flash, bytes", summary["flash_bytes"])
        row("tensor arena, bytes", summary["arena_bytes"])
        row("instructions per frame, front end", summary["frontend_instructions"])
        row("instructions per run, network", summary["instructions"])
        if stream := summary.get("stream"):
            same = "same" if stream["bytes_equal"] else "OTHER"
            row(f"instructions per hop ({stream['hop']} frames)", stream["hop_instructions"])
            row(f"bytes of {stream['hops']:,} hops", f"{same} as the window's")
    row("parameters", summary["parameters"])
    table.caption = "\n".join(caption)
    return table
