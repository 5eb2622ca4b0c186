# SPDX-License-Identifier: Apache-2.0
"""Results of a training: its final network, evaluated, with all files of its run."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from m3net_tf.audio.datasets import AudioDataset, split_facts
from m3net_tf.audio.datasets.statements import SplitFacts
from m3net_tf.networks.models import design_sha256
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.networks.models.interface import without_early_exits
from m3net_tf.system.artifacts import Provenance, provenance, write_json, write_text
from m3net_tf.system.keras import keras
from m3net_tf.system.processor import Computer
from m3net_tf.training.clips.added import held_out_added, list_sha256, read_added
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loop.fine_tuning import StartedFrom
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loss.teacher_file import TeacherFacts
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import TrainingSection
from m3net_tf.training.run import Run, linked_run
from m3net_tf.training.run.archive import write_archive
from m3net_tf.training.run.metrics import RunMetrics
from m3net_tf.training.scoring.evaluation import evaluate, learnt
from m3net_tf.training.scoring.metrics import (
    Evaluation,
    LabelFigures,
    MultiLabelEvaluation,
    MultiLabelFigures,
)

Features = Callable[[AudioDataset, str], FeatureSet]
"""The features of a split as the network gets them."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training that has ended."""

    state: TrainingState
    recipe: Recipe
    dataset: AudioDataset
    fine_tuning: StartedFrom | None
    build: Callable[[], keras.Model]
    features: Features
    validation: FeatureSet
    teacher: TeacherFacts | None = None


def write_results(trained: Trained, run: Run) -> RunMetrics:
    """Evaluate the kept network, and write it with its metrics; removes the state."""
    state, recipe, dataset = trained.state, trained.recipe, trained.dataset
    labels, validation = dataset.info.labels, trained.validation
    final = _kept_network(state, trained.build, recipe.training)
    metrics = _facts(final, state, recipe, dataset)
    if trained.fine_tuning:
        metrics["fine_tuning"] = trained.fine_tuning
    if trained.teacher:
        metrics["teacher"] = trained.teacher
    if figures := learnt(final, validation, recipe):
        metrics["learnt"] = figures
    validated, metrics["validation"] = evaluate(final, validation, labels)
    if isinstance(validated, MultiLabelEvaluation):
        metrics["thresholds"] = validated.thresholds()
    evaluation, metrics["test"] = evaluate(final, trained.features(dataset, "test"), labels)
    if recipe.fine_tuning.add:
        metrics["added"] = before_and_after(recipe, run, dataset, final, trained.features)
    if isinstance(evaluation, Evaluation):
        write_text(run.folder / "confusion_matrix.csv", evaluation.to_csv())
    write_archive(final, run.model_path)
    write_json(run.metrics_path, metrics)  # last, because it marks the run as finished
    for state_file in (run.state_path, run.previous_state_path):
        state_file.unlink(missing_ok=True)
    return RunMetrics.read(run.metrics_path)


_SplitFigures = LabelFigures | MultiLabelFigures


class AddedFigures(TypedDict):
    """The added clips of a run, and what they changed.

    Attributes:
        run: folder of the former run.
        sha256: hash of the clips, their classes and splits.
        recordings: number of recordings that the added clips are from.
        reasons: number of clips by the reason for which they were captured.
        test_before: figures of the former run on the test clips, which are the same.
        held_out_before: figures of the former run on the held-out added clips; absent without any.
        held_out_after: figures of the new run on them; absent without any.
    """

    run: str
    folders: list[str]
    sha256: str
    train: int
    held_out: int
    recordings: int
    reasons: dict[str, int]
    test_before: _SplitFigures
    held_out_before: NotRequired[_SplitFigures]
    held_out_after: NotRequired[_SplitFigures]


class _TrainedData(SplitFacts):
    """The data set: its split, notes on the copy, classes, and hashes of the clip lists."""

    notes: list[str]
    labels: list[str]
    clip_list_sha256: dict[str, str]


class _Metrics(Provenance):
    """Content of ``metrics.json``, which :class:`RunMetrics` reads.

    Attributes:
        thresholds: of each class, from the validation clips; absent where a clip has one label.
    """

    recipe: Mapping[str, Any]
    dataset: _TrainedData
    parameters: int
    macs: int
    design_sha256: str
    epochs: int
    best_epoch: int
    devices: int
    threads: int
    computers: list[Computer]
    training_s: float
    fine_tuning: NotRequired[StartedFrom]
    teacher: NotRequired[TeacherFacts]
    added: NotRequired[AddedFigures]
    learnt: NotRequired[dict[str, float]]
    validation: NotRequired[_SplitFigures]
    thresholds: NotRequired[dict[str, float]]
    test: NotRequired[_SplitFigures]


def _kept_network(
    state: TrainingState, build: Callable[[], keras.Model], settings: TrainingSection
) -> keras.Model:
    """The network with the kept weights, in single precision."""
    state.model.set_weights(state.kept)
    if not settings.mixed_precision:
        return state.inference_model
    single = build()
    state.model.trainable = True  # frozen layers would return their weights in another order
    single.set_weights(state.network.get_weights())
    return without_early_exits(single)


def _facts(
    final: keras.Model, state: TrainingState, recipe: Recipe, dataset: AudioDataset
) -> _Metrics:
    """Metrics without evaluation: recipe, data set, costs and duration."""
    network = recipe.model
    return {
        "recipe": recipe.to_dict(),
        "dataset": {
            **split_facts(dataset),
            "notes": list(dataset.info.notes),
            "labels": list(dataset.info.labels),
            "clip_list_sha256": dataset.clip_list_hash(),
        },
        "parameters": final.count_params(),
        "macs": count_macs(final),
        "design_sha256": design_sha256(network.name, network.preset, network.arguments),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "devices": state.devices,
        "threads": recipe.training.threads,
        "computers": state.computers,
        "training_s": round(sum(row["seconds"] for row in state.history), 1),
        **provenance(),  # type: ignore[typeddict-item]  # the keys follow
    }


def before_and_after(
    recipe: Recipe, run: Run, dataset: AudioDataset, model: keras.Model, features: Features
) -> AddedFigures:
    """Measure the former and the new network on the test clips and on the held-out added clips."""
    settings, labels = recipe.fine_tuning, dataset.info.labels
    former = linked_run(settings.run).load_model()
    clips = read_added(run.folder)
    figures: AddedFigures = {
        "run": str(settings.run),
        "folders": list(settings.add),
        "sha256": list_sha256(clips),
        "train": sum(clip.split == "train" for clip in clips),
        "held_out": sum(clip.split == "test" for clip in clips),
        "recordings": len({clip.group for clip in clips}),
        "reasons": dict(Counter(clip.reason for clip in clips if clip.reason)),
        "test_before": evaluate(former, features(dataset, "test"), labels)[1],
    }
    held_out = held_out_added(dataset, run.folder, windows=recipe.dataset.in_windows)
    if held_out is not None:
        maps = features(held_out, "test")
        figures["held_out_before"] = evaluate(former, maps, labels)[1]
        figures["held_out_after"] = evaluate(model, maps, labels)[1]
    return figures
