# SPDX-License-Identifier: Apache-2.0
"""Normal sounds only, on a stand-in for machines: US8K's air conditioners and idling engines.

One of them is normal; a fault is another source, mixed in at several levels. Each fold tests once:
its recordings and its faults are not learnt. A recording of US8K is another machine each time, so
this is harder than one machine's own sound, and no figure of MIMII or DCASE compares with it. Or
the first half of a recording is learnt and the second half tested: one machine on one day, which is
easier than another day.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.anomaly.learning import learn_normal
from m3net_tf.anomaly.making import AnomalyTest, anomaly_test, recordings_of
from m3net_tf.audio.datasets import AudioDataset, load_dataset, to_pcm16
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.export.enrolment import embedding_network
from m3net_tf.runtime.classifier import find_model
from m3net_tf.runtime.metadata import Metadata, read_metadata
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.progress import Log, silent, track

MACHINES = ("air_conditioner", "engine_idling")
LEVELS_DB = (-6, 0, 6, 12)
"""Levels of the faults above the normal sound."""
_RESAMPLES = 500
_LEAST_CLIPS = 8  # of a recording that is learnt by half

Float = npt.NDArray[np.float64]


class LevelFigures(TypedDict):
    """Means over machines and folds, or over recordings, for one level of the faults.

    Attributes:
        auc_95: 95 % interval, from a bootstrap of whole recordings.
    """

    auc: float
    auc_95: tuple[float, float]
    pauc: float


class NormalBenchResult(Provenance):
    """Figures of :func:`run_bench_normal`.

    Attributes:
        own: whether the first half of each recording was learnt.
        levels: by the level of the faults in dB.
        cells: AUC by machine and fold, or by recording, then by level.
    """

    body: str
    background: list[str]
    own: bool
    normal_clips: int
    recordings: int
    levels: dict[str, LevelFigures]
    cells: dict[str, dict[str, float]]


class _Trial(NamedTuple):
    """Clips that are learnt, others that are tested, and the sources of faults."""

    name: str
    learnt: list[Clip]
    tested: list[Clip]
    sources: list[Clip]


@dataclasses.dataclass(frozen=True)
class _Cell:
    """A machine and the fold that tests, or a recording.

    Attributes:
        groups: recording of each normal clip, shape (clips,).
        normal: scores of the normal clips, shape (clips,).
        faults: scores of the same clips with faults, by level.
    """

    name: str
    groups: npt.NDArray[np.str_]
    normal: Float
    faults: dict[int, Float]


def run_bench_normal(
    data_dir: Path,
    body: Path,
    background: Sequence[Path] = (),
    *,
    machines: Sequence[str] = MACHINES,
    own: bool = False,
    seed: int = 0,
    log: Log = silent,
) -> NormalBenchResult:
    """Measure how well a body tells faults from normal sounds.

    Args:
        data_dir: folder of US8K, of two folds or more.
        body: name, run or ``.tflite`` of a trained network.
        background: folders of other sounds, by which the outputs are whitened.
        machines: classes of US8K, one of which is normal at a time.
        own: learn the first half of each recording with clips enough, and test the second half,
            instead of folds.
        seed: decides which fault is mixed into which clip.

    Raises:
        DataError, ModelError: as :func:`.embedding_network`, or the data are missing.
    """
    tflite, metadata = read_metadata(find_model(body))
    rate_hz = metadata.frontend.sample_rate_hz
    dataset = load_dataset("us8k", data_dir, sample_rate_hz=rate_hz)
    embedding = embedding_network(tflite, metadata, background, log)
    trials = (_halves if own else _folds)(dataset.clips, machines)
    cells = [_cell(dataset, embedding, metadata, trial, seed, log) for trial in trials]
    return {
        "body": str(body),
        "background": [folder.name for folder in background],
        "own": own,
        "normal_clips": sum(len(cell.normal) for cell in cells),
        "recordings": len({group for cell in cells for group in cell.groups.tolist()}),
        "levels": {str(level): _figures(cells, level, seed, own) for level in LEVELS_DB},
        "cells": {
            cell.name: {
                str(level): _measured(cell.normal, scores)["auc"]
                for level, scores in cell.faults.items()
            }
            for cell in cells
        },
        **provenance(),
    }


def normal_markdown(result: NormalBenchResult) -> str:
    """The figures as Markdown, without single recordings."""
    shown = {} if result["own"] else result["cells"]
    rows = [
        (
            f"{int(level):+d} dB",
            f"{figures['auc']:.3f} ({figures['auc_95'][0]:.3f} to {figures['auc_95'][1]:.3f})",
            f"{figures['pauc']:.3f}",
            *(f"{cell[level]:.3f}" for cell in shown.values()),
        )
        for level, figures in result["levels"].items()
    ]
    columns = ("faults", "AUC (95 %)", "pAUC", *shown)
    return "\n".join(markdown_table(columns, rows))


def _fold(clip: Clip) -> str:
    return clip.clip_id.split("/")[0]


def _folds(clips: Sequence[Clip], machines: Sequence[str]) -> Iterator[_Trial]:
    """Each machine and fold, which tests; the other folds are learnt."""
    for machine in machines:
        normal = [clip for clip in clips if clip.label == machine]
        for fold in sorted({_fold(clip) for clip in clips}):
            learnt = [clip for clip in normal if _fold(clip) != fold]
            tested = [clip for clip in normal if _fold(clip) == fold]
            yield _Trial(f"{machine}, {fold}", learnt, tested, _sources(clips, machine, fold))


def _halves(clips: Sequence[Clip], machines: Sequence[str]) -> Iterator[_Trial]:
    """Each recording, whose second half tests.

    Two clips between the halves are left out, because clips in a row overlap.
    """
    for machine in machines:
        normal = [clip for clip in clips if clip.label == machine]
        for group in sorted({clip.group for clip in normal}):
            own = sorted((clip for clip in normal if clip.group == group), key=_position)
            if len(own) >= _LEAST_CLIPS:
                half = len(own) // 2
                sources = _sources(clips, machine, _fold(own[0]))
                yield _Trial(f"{machine}, {group}", own[: half - 1], own[half + 1 :], sources)


def _position(clip: Clip) -> tuple[int, ...]:
    """Occurrence and number of a clip in its recording: the end of its name."""
    _, _, occurrence, number = Path(clip.clip_id).stem.split("-")
    return int(occurrence), int(number)


def _sources(clips: Sequence[Clip], machine: str, fold: str) -> list[Clip]:
    """Clips of a fold that become faults."""
    others = [clip for clip in clips if clip.label not in (*MACHINES, machine)]
    return [clip for clip in others if _fold(clip) == fold]


def _cell(
    dataset: AudioDataset,
    embedding: bytes,
    metadata: Metadata,
    trial: _Trial,
    seed: int,
    log: Log,
) -> _Cell:
    learnt = tuple(dataclasses.replace(clip, split="train") for clip in trial.learnt)
    recordings = recordings_of(dataclasses.replace(dataset, clips=learnt), "train")
    network = learn_normal(embedding, metadata, recordings, log)
    score = network.clip_scorer()
    sources = trial.sources
    rng = np.random.default_rng(seed)
    scores: dict[int | None, list[float]] = {level: [] for level in (None, *LEVELS_DB)}
    with track(log, trial.name, len(trial.tested), "clips") as task:
        for clip in trial.tested:
            sound = dataset.load(clip)
            fault = dataset.load(sources[rng.integers(len(sources))])
            fault = fault * np.sqrt(_power(sound) / _power(fault))
            for level in scores:
                gain = 0.0 if level is None else 10 ** (level / 20)
                scores[level].append(score([to_pcm16(sound + np.float32(gain) * fault)]))
            task.advance()
    arrays = {level: np.array(values) for level, values in scores.items()}
    return _Cell(
        trial.name,
        np.array([clip.group for clip in trial.tested]),
        arrays[None],
        {level: arrays[level] for level in LEVELS_DB},
    )


def _power(sound: npt.NDArray[np.float32]) -> float:
    return max(float(np.mean(np.square(sound, dtype=np.float64))), 1e-12)


def _measured(normal: Float, faults: Float) -> AnomalyTest:
    anomalous = np.repeat([False, True], [len(normal), len(faults)])
    return anomaly_test(np.concatenate([normal, faults]), anomalous)


def _figures(cells: Sequence[_Cell], level: int, seed: int, own: bool) -> LevelFigures:
    measured = [_measured(cell.normal, cell.faults[level]) for cell in cells]
    rng = np.random.default_rng(seed)
    if own:
        drawn = rng.choice([each["auc"] for each in measured], (_RESAMPLES, len(cells))).mean(
            axis=1
        )
    else:
        drawn = np.array([_drawn_auc(cells, level, rng) for _ in range(_RESAMPLES)])
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return {
        "auc": float(np.mean([each["auc"] for each in measured])),
        "auc_95": (low, high),
        "pauc": float(np.mean([each["pauc"] for each in measured])),
    }


def _drawn_auc(cells: Sequence[_Cell], level: int, rng: np.random.Generator) -> float:
    return float(np.mean([_auc(*_resampled(cell, level, rng)) for cell in cells]))


def _auc(normal: Float, faults: Float) -> float:
    """Share of pairs in which the fault scores higher: scikit-learn's AUC, in less time."""
    above = faults[:, None] - normal
    return float((above > 0).mean() + (above == 0).mean() / 2)


def _resampled(cell: _Cell, level: int, rng: np.random.Generator) -> tuple[Float, Float]:
    """Scores of recordings that are drawn with repetition, all clips of each."""
    names = np.unique(cell.groups)
    drawn = rng.choice(names, len(names))
    clips = np.concatenate([np.flatnonzero(cell.groups == name) for name in drawn])
    return cell.normal[clips], cell.faults[level][clips]
