# SPDX-License-Identifier: Apache-2.0
"""The whole chain on the same held-out clips: float, int8 on the desktop, TFLM, emulated board."""

import dataclasses
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from rich.table import Table

from m3net_tf.audio.datasets import AudioDataset, Clip, protocol_statement
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.sources import MissingError
from m3net_tf.boards.emulation.listening import LiveCost
from m3net_tf.boards.emulation.starting import firmware_folder, prove_arena
from m3net_tf.boards.emulation.streaming import StreamCost
from m3net_tf.boards.measure.certificate import write_certificate
from m3net_tf.boards.measure.comparison import Certificate, compare
from m3net_tf.boards.measure.cost import COST_KEYS, Measurement, measure
from m3net_tf.boards.measure.figures import Figure, figures_table
from m3net_tf.boards.measure.real_time import pace_on
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import ARENA_SOURCE
from m3net_tf.export.manifest import Manifest
from m3net_tf.export.reference import Reference, reference_of, with_engines
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.artifacts import Provenance, of_form, read_json, write_json
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import MultiLabelEvaluation, wilson_interval
from m3net_tf.training.scoring.windows import whole_scores


class Accuracies(TypedDict):
    """Accuracy at each stage, as a share of the clips, or mAP; None if the stage did not run."""

    int8_desktop: float
    tflm_host: float | None
    emulated: float | None
    float: float


class EndToEnd(TypedDict):
    """From samples to label on the board.

    Attributes:
        accuracy: absent where clips have several labels, which have a mean average precision.
        same_label_as_desktop: share of the clips with the desktop's best class.
        features_equal: ``equal_share`` of :class:`.comparison.FeatureFigures`; the next two are
            its ``within_1_lsb_share`` and ``largest_lsb``.
    """

    accuracy: NotRequired[float]
    mean_average_precision: NotRequired[float]
    same_label_as_desktop: float
    features_equal: float
    features_within_1_lsb: float
    features_largest_lsb: int


class ChainSummary(Provenance):
    """Content of ``summary.json``; the board's figures have the names of :class:`.cost.BoardCost`.

    Attributes:
        accuracy: absent where clips have several labels, which have a mean average precision.
        bytes_equal: whether all stages give equal bytes; None if only the desktop ran.
        arena_source: how the arena's size was found.
        int8_accuracy_95: 95 % interval of the accuracy on the desktop; absent without one.
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
    accuracy: NotRequired[Accuracies]
    mean_average_precision: NotRequired[Accuracies]
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
    int8_accuracy_95: NotRequired[list[float]]
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
class _Subject:
    """What the chain runs: held-out clips of a run, on a board with an engine."""

    run: Run
    bundle: Bundle
    dataset: AudioDataset
    clips: tuple[Clip, ...]
    board: str
    engine: Engine

    @property
    def wholes(self) -> int:
        """Number of clips, of which windows count together."""
        return len({clip.whole or clip.clip_id for clip in self.clips})

    @property
    def in_windows(self) -> str:
        """Words on the number of windows; empty where each clip is one."""
        return f" in {len(self.clips)} windows" if self.wholes < len(self.clips) else ""

    def figure(
        self,
        scores: npt.NDArray[np.int8] | npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64] | None = None,
    ) -> float:
        """Share of the clips that are recognised; of windows, by their scores together.

        Where clips have several labels it is the mean average precision.

        Args:
            scores: int8, or 0 to 1, shape (clips, classes).
            labels: answers where a clip is not a window, shape (clips,); default: the best scores.
        """
        quantized = scores.dtype == np.int8
        shares = (scores + 128.0) / 256.0 if quantized else np.asarray(scores, np.float32)
        names = self.dataset.info.labels
        wholes, first = whole_scores(shares, self.clips, names)
        if self.dataset.info.multi_label:
            matrix = self.dataset.label_matrix(self.clips)[first]
            return MultiLabelEvaluation(matrix, wholes, names).mean_average_precision
        if labels is None or len(first) < len(self.clips):
            labels = wholes.argmax(1)
        truth = self.dataset.label_ids(self.clips)
        return float((labels == truth[first]).mean())


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
    bundle = Bundle.load(run.folder / "export")
    engine = engine or bundle.manifest.engine
    dataset = run.dataset(data_dir)
    subject = _Subject(run, bundle, dataset, spread_clips(dataset, count), board, engine)
    log(f"{subject.wholes} held-out clips of {dataset.info.name}{subject.in_windows}")
    image = None
    missing = ""
    try:
        log(f"building the firmware for {board}")
        image = prove_arena(bundle, board, firmware_folder(run.folder, board, engine), log, engine)
    except MissingError as error:
        missing = str(error)
        log(f"no emulation: {error}")
    log("int8 and float on this computer")
    reference = reference_of(bundle, dataset, subject.clips)
    reference = with_engines(bundle, reference, log)
    float_figure = subject.figure(_float_scores(subject, log))
    measured = None
    if image is not None:
        clips = f"{len(subject.clips)} clips"
        log(f"running {clips} on the emulated {board}, as features and as sound")
        hops = engine == COMPILED
        measured = measure(bundle, image, reference, log, certified=True, hops=hops)
    found = compare(bundle, reference, measured, missing)
    if engine == bundle.manifest.engine:
        write_certificate(bundle, found)
    path = _summary_path(run.folder, bundle.manifest, engine)
    summary = _summary(subject, reference, found, float_figure)
    if measured is not None:
        summary = _with_board(summary, subject, measured, found)
    write_json(path, summary)
    return summary


def _float_scores(subject: _Subject, log: Log) -> npt.NDArray[np.float32]:
    """Scores of the float network on the features of its training, as in ``metrics.json``."""
    from m3net_tf.training.scoring.evaluation import (  # TensorFlow takes seconds
        own_features,
        predict,
    )

    model = subject.run.load_model()
    features = own_features(model, subject.dataset, "test", subject.run.recipe(), log)
    rows = {clip.clip_id: row for row, clip in enumerate(features.clips)}
    return predict(model, features.clean[[rows[clip.clip_id] for clip in subject.clips]])


def _summary(
    subject: _Subject, reference: Reference, found: Certificate, float_figure: float
) -> ChainSummary:
    """The summary with the figures of this computer; the board's are None."""
    run = subject.run
    manifest = subject.bundle.manifest
    dataset = subject.dataset
    int8_figure = subject.figure(reference.scores)
    on_host = reference.by_engine.get(TFLM)
    stages: Accuracies = {
        "float": float_figure,
        "int8_desktop": int8_figure,
        "tflm_host": None if on_host is None else subject.figure(on_host),
        "emulated": None,
    }
    summary: ChainSummary = {
        "run": run.folder.name,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "clips": subject.wholes,
        "bytes_equal": bytes_equal(found),
        "parameters": run.metrics().parameters,
        "model_sha256": manifest.model.sha256,
        "arena_source": manifest.arena.source,
        "engine": subject.engine,
        "board": subject.board,
        "instructions": None,
        "frontend_instructions": None,
        "arena_bytes": manifest.arena.bytes,
        "arena_used_bytes": None,
        "stack_bytes": None,
        "frontend_bytes": None,
        "flash_bytes": None,
        "ram_bytes": None,
        "model_bytes": subject.bundle.network.size_bytes,
        "sections": None,
        "drift": found["drift"],
        "versions": found["versions"],
        "git_commit": found["git_commit"],
    }
    if dataset.info.multi_label:
        summary["mean_average_precision"] = stages
    else:
        summary["accuracy"] = stages
        hits = round(int8_figure * subject.wholes)
        summary["int8_accuracy_95"] = list(wilson_interval(hits, subject.wholes))
    if on_host is None:
        summary["tflm_host_missing"] = tflm_unavailable_reason()
    if "missing" in found:
        summary["emulation_missing"] = found["missing"]
    return summary


def bytes_equal(found: Certificate) -> bool | None:
    """Whether all that ran gave the desktop's bytes; None if only the desktop ran."""
    outputs = found["outputs"]
    differences = (
        outputs["different_in_tflm_on_the_host"],
        outputs["different_in_compiled_on_the_host"],
        outputs["different_on_the_board"],
    )
    equal = [count == 0 for count in differences if count is not None]
    if "board" in found and "live" in found["board"]["cost"]:
        equal.append(found["board"]["cost"]["live"]["equal"])
    if "stream" in found:
        equal.append(found["stream"]["bytes_equal"])
    return all(equal) if equal else None


def _with_board(
    summary: ChainSummary, subject: _Subject, measured: Measurement, found: Certificate
) -> ChainSummary:
    """The summary with the board's figures."""
    compiled = subject.engine == COMPILED
    features = found["features"]
    same_label = found["labels_equal_share"]
    assert features is not None and same_label is not None
    by_features = measured.from_features
    by_sound = measured.from_sound
    _, stages = _stages(summary)
    stages["emulated"] = subject.figure(by_features.outputs, by_features.labels)
    from_sound = subject.figure(by_sound.outputs, by_sound.labels)
    pace = pace_on(subject.bundle, load_board(subject.board).clock_hz, measured.cost)
    summary = {
        **summary,
        "arena_source": ARENA_SOURCE if compiled else f"TFLite Micro on {subject.board}",
        **measured.cost,
        "end_to_end": {
            "same_label_as_desktop": same_label,
            "features_equal": features["equal_share"],
            "features_within_1_lsb": features["within_1_lsb_share"],
            "features_largest_lsb": features["largest_lsb"],
        },
        "pace": dataclasses.asdict(pace),
    }
    if subject.dataset.info.multi_label:
        summary["end_to_end"]["mean_average_precision"] = from_sound
    else:
        summary["end_to_end"]["accuracy"] = from_sound
    if measured.stream is not None:
        summary["stream"] = measured.stream
    if measured.image.dsp_missing:
        summary["dsp_missing"] = measured.image.dsp_missing
    return summary


def _stages(summary: ChainSummary) -> tuple[str, Accuracies]:
    """What the stages of a summary have, in words, and their figures."""
    if "mean_average_precision" in summary:
        return "mAP", summary["mean_average_precision"]
    return "accuracy", summary["accuracy"]


def drift_file(run: Path, summary: ChainSummary) -> str:
    """File with the differences that a summary counts, relative to the run's folder."""
    manifest = Bundle.load(run / "export").manifest
    if summary["engine"] == manifest.engine:
        return "export/certificate.md"
    return _summary_path(run, manifest, summary["engine"]).name


def _summary_path(run: Path, manifest: Manifest, engine: Engine) -> Path:
    """The summary of an engine; the export's engine has ``summary.json``."""
    return run / ("summary.json" if engine == manifest.engine else f"summary_{engine}.json")


def chain_table(summary: ChainSummary) -> Table:
    """The summary as a table for the terminal."""
    name, stages = _stages(summary)
    board = summary["board"]
    on_host = stages["tflm_host"]
    tflm = "not run" if on_host is None else on_host
    title = f"{summary['run']}: {summary['clips']} held-out {summary['dataset']} clips"
    title += f", engine {summary.get('engine', TFLM)}"
    notes = [f"Protocol: {protocol_statement(summary)}."]
    rows: list[Figure] = [
        (f"{name}, float", stages["float"]),
        (f"{name}, int8 on the desktop", stages["int8_desktop"]),
        (f"{name}, TFLite Micro on the host", tflm),
    ]
    if "emulation_missing" in summary:
        rows.append((f"{name}, emulated {board}", "not run"))
        notes.append(f"Not emulated: {summary['emulation_missing']}")
    else:
        rows += _board_rows(summary)
    if reason := summary.get("dsp_missing"):
        notes.append(f"Front end in whole numbers: {reason}")
    rows.append(("parameters", summary["parameters"]))
    return figures_table(rows, title, notes)


def _board_rows(summary: ChainSummary) -> list[Figure]:
    name, stages = _stages(summary)
    end_to_end = summary["end_to_end"]
    compared = "both" if stages["tflm_host"] is None else "all three"
    if "mean_average_precision" in end_to_end:
        from_sound: list[Figure] = [
            ("mAP from sound to scores on the board", end_to_end["mean_average_precision"]),
            ("same best class there as on the desktop", end_to_end["same_label_as_desktop"]),
        ]
    else:
        from_sound = [
            ("accuracy from sound to label on the board", end_to_end["accuracy"]),
            ("same label there as on the desktop", end_to_end["same_label_as_desktop"]),
        ]
    rows: list[Figure] = [
        (f"{name}, emulated {summary['board']}", stages["emulated"]),
        (f"same output bytes in {compared}", bool(summary["bytes_equal"])),
        *from_sound,
        ("int8 features within 1 LSB of Python's", end_to_end["features_within_1_lsb"]),
    ]
    if "dsp_missing" in summary:
        rows.append(("front end on the board", "in whole numbers, without CMSIS-DSP"))
    rows += [
        ("flash, bytes", summary["flash_bytes"]),
        ("tensor arena, bytes", summary["arena_bytes"]),
        ("instructions per frame, front end", summary["frontend_instructions"]),
        ("instructions per run, network", summary["instructions"]),
    ]
    if stream := summary.get("stream"):
        same = "same" if stream["bytes_equal"] else "OTHER"
        rows += [
            (f"instructions per hop ({stream['hop']} frames)", stream["hop_instructions"]),
            (f"bytes of {stream['hops']:,} hops", f"{same} as the window's"),
        ]
    return rows
