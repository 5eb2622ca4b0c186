# SPDX-License-Identifier: Apache-2.0
"""Bodies for everybody's sounds: what a linear classifier on them recognises after a few clips.

The body stays as it is. For each test fold, clips of each class are drawn from the other folds, and
a classifier is fitted to the embeddings of their windows and of augmented copies, as the training
that ``m3net init`` proposes fits it. A clip counts by the mean of the scores of its windows with
sound. All bodies get the same draws.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import numpy.typing as npt
import scipy.special
import scipy.stats
from threadpoolctl import threadpool_limits

from m3net_tf.audio.datasets import AudioDataset, Clip, dataset_info, dataset_names, load_dataset
from m3net_tf.audio.datasets.protocols import MissingFoldError
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.starter.project import BODY_AUGMENTATION
from m3net_tf.lab.bench.body_cost import BodyCost, body_cost
from m3net_tf.lab.bench.body_embeddings import Body, Embeddings, embed_clips, open_bodies
from m3net_tf.lab.bench.body_head import int8_head
from m3net_tf.lab.bench.from_nothing import FROM_NOTHING, trained_from_nothing
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError, M3NetError
from m3net_tf.system.markdown import markdown_table
from m3net_tf.system.progress import Log, silent, track
from m3net_tf.training.cross_validation import clustered_interval
from m3net_tf.training.loop.head import fit_head
from m3net_tf.training.recipe.sections import AugmentationSection

SHOTS = (1, 3, 5, 10, 20, None)
"""Clips of each class by default; None: all of the folds that do not test."""
DRAWS = 10
Indices = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]
Recognise = Callable[[Indices, Indices], Sequence[Right]]
"""From indices of clips that train and that test: which of the latter are recognised, by kind."""


class Accuracy(TypedDict):
    """Share of the clips of all folds that are recognised.

    Attributes:
        accuracy: mean over the clips and the draws.
        accuracy_95: its 95 % interval: clips of one recording resemble each other (see
            :func:`.clustered_interval`), and draws differ (Student's t).
        folds: accuracy on each fold, mean over the draws.
        draws: accuracy with each draw, mean over the clips of all folds.
    """

    accuracy: float
    accuracy_95: tuple[float, float]
    folds: list[float]
    draws: list[float]


class ShotsAccuracy(TypedDict):
    """Accuracy with some clips of each class.

    Attributes:
        int8: body and classifier in int8, as on a board; absent for a file of another publisher.
        float: the classifier in floats; the body as it is. Absent for a network from nothing.
        missing: why there are no figures.
    """

    int8: NotRequired[Accuracy]
    float: NotRequired[Accuracy]
    missing: NotRequired[str]


class BodyFacts(TypedDict):
    """A body.

    Attributes:
        sha256: of the network with its classifier, or of the file of another publisher.
        window_s: seconds of a window.
        channels: of the embedding.
        trained_on: data set that it was trained on; '' if that is not known.
        no_cost: why costs are not measured.
    """

    sha256: str
    window_s: float
    channels: int
    trained_on: str
    cost: NotRequired[BodyCost]
    no_cost: NotRequired[str]


class DatasetBodies(TypedDict):
    """Bodies on a data set.

    Attributes:
        clips: number of clips in all folds.
        folds: the folds that the folder has.
        accuracy: by body, and by clips of each class: a number, or ``all``.
    """

    protocol: str
    clips: int
    folds: list[int]
    accuracy: dict[str, dict[str, ShotsAccuracy]]


class BodyResult(Provenance):
    """Bodies, and their accuracy by data set."""

    bodies: dict[str, BodyFacts]
    data: dict[str, DatasetBodies]
    draws: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How clips are drawn.

    Attributes:
        shots: clips of each class; None for all.
        draws: of each number of clips.
    """

    shots: Sequence[int | None] = SHOTS
    draws: int = DRAWS
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Folds:
    """The clips of a data set with official folds.

    Attributes:
        fold: of each clip, shape (clips,).
        labels: index of each clip's class, shape (clips,).
    """

    dataset: AudioDataset
    clips: tuple[Clip, ...]
    fold: Indices
    labels: npt.NDArray[np.int32]

    @property
    def present(self) -> list[int]:
        """The folds that the folder has."""
        return [int(fold) for fold in np.unique(self.fold)]

    def drawn(self, fold: int, shots: int | None, draw: int, seed: int) -> Indices:
        """Indices of ``shots`` clips of each class, or of all, that are not in a fold.

        A class with fewer clips gives all of them. More clips contain the fewer ones of the same
        draw.
        """
        rng = np.random.default_rng([seed, fold, draw])
        others = np.flatnonzero(self.fold != fold)
        chosen = [
            rng.permutation(others[self.labels[others] == label])[:shots]
            for label in range(len(self.dataset.info.labels))
        ]
        return np.sort(np.concatenate(chosen))

    def draws(self, shots: int | None, most: int) -> int:
        """How many draws differ, at most ``most``: one where all clips are taken."""
        if shots is None:
            return 1
        classes = len(self.dataset.info.labels)
        counts = [
            np.bincount(self.labels[self.fold != fold], minlength=classes) for fold in self.present
        ]
        return most if np.max(counts) > shots else 1


def read_folds(name: str, folder: Path | None, rate_hz: int) -> Folds:
    """The clips of the official folds that a folder has.

    Raises:
        ConfigError: the data set has no folds, or several labels for a clip.
        DataError: the folder is missing, or has a single fold.
    """
    official = dataset_info(name).folds
    if not official:
        raise ConfigError(f"data set {name} has no official folds: name one with, such as esc10")
    protocol, count = next(iter(official.items()))
    options: dict[str, Any] = {}
    if dataset_info(name).sample_rate_hz != rate_hz:
        options["sample_rate_hz"] = rate_hz
    fold_of: dict[str, int] = {}
    for number in range(1, count + 1):
        try:
            dataset = load_dataset(name, folder, protocol=protocol, fold=number, **options)
        except MissingFoldError:
            continue
        fold_of |= {clip.clip_id: number for clip in dataset.split("test")}
    clips = tuple(sorted(dataset.clips, key=lambda clip: clip.clip_id))
    fold = np.array([fold_of[clip.clip_id] for clip in clips])
    return Folds(dataset, clips, fold, dataset.label_ids(clips))


def run_bench_body(
    names: Sequence[str],
    data: Mapping[str, Path | None],
    *,
    outputs: Sequence[str] = (),
    plan: Plan = Plan(),
    board: str = DEFAULT_BOARD,
    from_nothing: bool = False,
    log: Log = silent,
) -> BodyResult:
    """Measure bodies.

    Args:
        names: see :func:`.open_bodies`, as for ``outputs``.
        data: folder by name of the data set; None for the user's cache.
        plan: the draws, which are the same for all bodies.
        board: whose costs are measured.
        from_nothing: also train networks from nothing on the same draws, which takes hours.

    Raises:
        ModelError: a network is missing or has no classifier at its end.
        ConfigError: a data set has no folds.
        DataError: a data set is missing, or a clip cannot be read.
    """
    bodies = [body for name in names for body in open_bodies(name, outputs)]
    augmentation = AugmentationSection(**BODY_AUGMENTATION)
    measured: dict[str, DatasetBodies] = {}
    channels: dict[str, int] = {}
    for name, folder in data.items():
        for body in bodies:
            folds = read_folds(name, folder, body.rate_hz)
            facts = measured.setdefault(name, _dataset_facts(folds))
            embeddings = embed_clips(body, folds.dataset, folds.clips, augmentation, log)
            channels[body.name] = embeddings.windows.shape[1]
            facts["accuracy"][body.name] = _of_body(body, embeddings, folds, plan, log)
        if from_nothing:
            folds = read_folds(name, folder, dataset_info(name).sample_rate_hz)
            facts = measured.setdefault(name, _dataset_facts(folds))
            facts["accuracy"][FROM_NOTHING] = _of_nothing(folds, plan, board, log)
    return {
        "bodies": {
            body.name: _body_facts(body, channels.get(body.name, 0), board, log) for body in bodies
        },
        "data": measured,
        "draws": plan.draws,
        "seed": plan.seed,
        **provenance(),
    }


def _dataset_facts(folds: Folds) -> DatasetBodies:
    return {
        "protocol": folds.dataset.info.protocol,
        "clips": len(folds.clips),
        "folds": folds.present,
        "accuracy": {},
    }


def _body_facts(body: Body, channels: int, board: str, log: Log) -> BodyFacts:
    facts: BodyFacts = {
        "sha256": body.sha256,
        "window_s": body.samples / body.rate_hz,
        "channels": channels,
        "trained_on": body.trained_on,
    }
    if body.network is None:
        facts["no_cost"] = "a file of another publisher, which the compiled engine does not run"
        return facts
    try:
        facts["cost"] = body_cost(*body.network, board, log)
    except M3NetError as error:
        facts["no_cost"] = str(error)
    return facts


def _of_body(
    body: Body, embeddings: Embeddings, folds: Folds, plan: Plan, log: Log
) -> dict[str, ShotsAccuracy]:
    """Accuracy of a body by clips of each class."""
    windows = embeddings.real(embeddings.windows)
    classes = len(folds.dataset.info.labels)

    def recognise(training: Indices, testing: Indices) -> list[Right]:
        seen, clip = embeddings.training(training)
        weights, bias = fit_head(seen, folds.labels[clip], classes, clip)
        scores = scipy.special.softmax(windows @ weights + bias, axis=1)
        answers = [embeddings.over_windows(scores)[testing]]
        if embeddings.quantization:
            stored = embeddings.windows.astype(np.int8)
            calibrating = stored[np.isin(embeddings.clip, training)]
            head = int8_head(weights, bias, calibrating, embeddings.quantization)
            answers.append(embeddings.over_windows(head.scores(stored))[testing])
        return [each.argmax(axis=1) == folds.labels[testing] for each in answers]

    kinds = ("float", "int8") if embeddings.quantization else ("float",)
    # One thread: the same order of sums on any machine, and no waiting for a busy core.
    with threadpool_limits(1):
        return _by_shots(f"{body.name}, classifiers", kinds, recognise, folds, plan, log)


def _of_nothing(folds: Folds, plan: Plan, board: str, log: Log) -> dict[str, ShotsAccuracy]:
    """Accuracy of networks that are trained from nothing, by clips of each class."""

    def recognise(training: Indices, testing: Indices) -> list[Right]:
        seen, tested = ([folds.clips[at] for at in places] for places in (training, testing))
        answers = trained_from_nothing(folds.dataset, seen, tested, board, log)
        return [answers == folds.labels[testing]]

    return _by_shots(FROM_NOTHING, ("int8",), recognise, folds, plan, log)


def _by_shots(
    subject: str,
    kinds: Sequence[str],
    recognise: Recognise,
    folds: Folds,
    plan: Plan,
    log: Log,
) -> dict[str, ShotsAccuracy]:
    """Accuracy of each kind by clips of each class, over all folds and draws."""
    found: dict[str, ShotsAccuracy] = {}
    total = sum(folds.draws(shots, plan.draws) for shots in plan.shots) * len(folds.present)
    with track(log, f"{subject}: {folds.dataset.info.name}", total, "trainings") as task:
        for shots in plan.shots:
            draws = folds.draws(shots, plan.draws)
            right = np.zeros((len(kinds), draws, len(folds.clips)), np.bool_)
            label = "all" if shots is None else str(shots)
            try:
                for fold, draw in itertools.product(folds.present, range(draws)):
                    testing = np.flatnonzero(folds.fold == fold)
                    training = folds.drawn(fold, shots, draw, plan.seed)
                    right[:, draw, testing] = recognise(training, testing)
                    task.advance()
            except M3NetError as error:
                found[label] = {"missing": str(error)}
                continue
            figures = {
                kind: accuracy_of(each, folds) for kind, each in zip(kinds, right, strict=True)
            }
            found[label] = cast(ShotsAccuracy, figures)
    return found


def accuracy_of(right: Right, folds: Folds) -> Accuracy:
    """Accuracy and its interval.

    Args:
        right: whether each clip was recognised, shape (draws, clips).
    """
    shares = right.mean(axis=0)
    draws = right.mean(axis=1)
    mean = float(shares.mean())
    low, high = clustered_interval(shares, [clip.group for clip in folds.clips])
    of_draws = 0.0
    if len(draws) > 1:
        quantile = float(scipy.stats.t.ppf(0.975, len(draws) - 1))
        of_draws = quantile * float(draws.std(ddof=1)) / len(draws) ** 0.5
    return {
        "accuracy": mean,
        "accuracy_95": (
            max(0.0, mean - float(np.hypot(mean - low, of_draws))),
            min(1.0, mean + float(np.hypot(high - mean, of_draws))),
        ),
        "folds": [float(shares[folds.fold == fold].mean()) for fold in folds.present],
        "draws": [float(each) for each in draws],
    }


def body_report(result: BodyResult) -> str:
    """The figures as Markdown: a table for each data set, and one for the costs."""
    lines: list[str] = []
    for name, facts in result["data"].items():
        folds = ", ".join(map(str, facts["folds"]))
        lines += [f"## {name}: {facts['clips']} clips, folds {folds}", ""]
        lines += ["Accuracy by clip and clips of each class, in %; 95 % interval in brackets.", ""]
        rows = []
        reasons: list[str] = []
        for body, by_shots in facts["accuracy"].items():
            for kind in ("int8", "float"):
                cells = [_cell(each, kind) for each in by_shots.values()]
                if any(cells):
                    rows.append((body, kind, *cells))
            reasons += [
                f"{body}, {count}: {each['missing']}\n"
                for count, each in by_shots.items()
                if "missing" in each
            ]
        shots = next(iter(facts["accuracy"].values()))
        lines += markdown_table(("body", "classifier", *shots), rows)
        lines += reasons
        lines += [
            f"{body} was trained on {name}: its figures here are no test.\n"
            for body, about in result["bodies"].items()
            if _publication(about["trained_on"]) == _publication(name)
        ]
    lines += ["## Cost", ""]
    lines += _cost_lines(result["bodies"])
    return "\n".join(lines)


def _publication(dataset: str) -> str:
    """What a data set is, or is a part of."""
    known = dataset in dataset_names()
    return dataset_info(dataset).folder or dataset if known else dataset


def _cell(figures: ShotsAccuracy, kind: str) -> str:
    found = figures.get("int8") if kind == "int8" else figures.get("float")
    if found is None:
        return ""
    low, high = found["accuracy_95"]
    return f"{100 * found['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _cost_lines(bodies: Mapping[str, BodyFacts]) -> list[str]:
    costs = {name: facts["cost"] for name, facts in bodies.items() if "cost" in facts}
    flashes = dict.fromkeys(
        flash for cost in costs.values() for flash in cost.get("cycles_per_second", {})
    )
    head = (
        *("body", "board", "window, s", "instructions/s", "front end, instructions/s"),
        *(f"cycles/s, {flash}" for flash in flashes),
        *("arena, bytes", "flash, bytes", "weights and tables, bytes"),
    )
    rows = [
        (
            name,
            cost["board"],
            f"{cost['window_s']:.3f}",
            f"{cost['instructions_per_second']:,}",
            f"{cost['frontend_instructions_per_second']:,}",
            *(f"{cost.get('cycles_per_second', {}).get(flash, 0):,}" for flash in flashes),
            f"{cost['arena_bytes']:,}",
            f"{cost['flash_bytes']:,}",
            f"{cost['network_flash_bytes']:,}",
        )
        for name, cost in costs.items()
    ]
    reasons = {name: facts["no_cost"] for name, facts in bodies.items() if "no_cost" in facts}
    reasons |= {name: cost["no_cycles"] for name, cost in costs.items() if "no_cycles" in cost}
    lines = markdown_table(head, rows) if rows else []
    return lines + [f"{name} is not measured: {reason}\n" for name, reason in reasons.items()]
