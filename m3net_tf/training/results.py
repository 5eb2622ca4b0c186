# SPDX-License-Identifier: Apache-2.0
"""Results of a training: its final network, evaluated, with all files of its run."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NotRequired

from m3net_tf.audio.datasets import AudioDataset, split_facts
from m3net_tf.audio.datasets.statements import SplitFacts
from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.models import learnt_figures
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.system.artifacts import Provenance, provenance, write_json, write_text
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.processor import Computer
from m3net_tf.training.archive import write_archive
from m3net_tf.training.before_after import AddedFigures, before_and_after
from m3net_tf.training.evaluation import evaluate
from m3net_tf.training.features import FeatureSet
from m3net_tf.training.fine_tuning import StartedFrom
from m3net_tf.training.metrics import Evaluation, LabelFigures, MultiLabelFigures
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run, design_of
from m3net_tf.training.run_metrics import RunMetrics
from m3net_tf.training.sections import TrainingSection
from m3net_tf.training.state import TrainingState, without_early_exits

_LEARNT_CLIPS = 32


@dataclasses.dataclass(frozen=True)
class Trained:
    """A training that has ended."""

    state: TrainingState
    recipe: Recipe
    dataset: AudioDataset
    fine_tuning: StartedFrom | None
    build: Callable[[], keras.Model]
    features: Callable[[AudioDataset, str], FeatureSet]
    validation: FeatureSet


def write_results(trained: Trained, run: Run) -> RunMetrics:
    """Evaluate the kept network, and write it with its metrics; removes the state."""
    state, recipe, dataset = trained.state, trained.recipe, trained.dataset
    labels, validation = dataset.info.labels, trained.validation
    final = _kept_network(state, trained.build, recipe.training)
    metrics = _facts(final, state, recipe, dataset)
    if trained.fine_tuning:
        metrics["fine_tuning"] = trained.fine_tuning
    if figures := learnt(final, validation, recipe):
        metrics["learnt"] = figures
    metrics["validation"] = evaluate(final, validation, labels)[1]
    evaluation, metrics["test"] = evaluate(final, trained.features(dataset, "test"), labels)
    if recipe.fine_tuning.add:
        metrics["added"] = before_and_after(
            recipe, run, dataset, final, lambda data: trained.features(data, "test")
        )
    if isinstance(evaluation, Evaluation):
        write_text(run.folder / "confusion_matrix.csv", evaluation.to_csv())
    write_archive(final, run.model_path)
    write_json(run.metrics_path, metrics)  # last, because it marks the run as finished
    for state_file in (run.state_path, run.previous_state_path):
        state_file.unlink(missing_ok=True)
    return run.metrics()


def learnt(model: keras.Model, validation: FeatureSet, recipe: Recipe) -> dict[str, float]:
    """Learnt figures of the network, computed on the first validation clips."""
    maps = tf.constant(dequantize_features(validation.clean[:_LEARNT_CLIPS]))
    return learnt_figures(recipe.model.name, model, maps)


class _TrainedData(SplitFacts):
    """The data set: its split, notes on the copy, classes, and hashes of the clip lists."""

    notes: list[str]
    labels: list[str]
    clip_list_sha256: dict[str, str]


class _Metrics(Provenance):
    """Content of ``metrics.json``, which :class:`RunMetrics` reads."""

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
    added: NotRequired[AddedFigures]
    learnt: NotRequired[dict[str, float]]
    validation: NotRequired[LabelFigures | MultiLabelFigures]
    test: NotRequired[LabelFigures | MultiLabelFigures]


def _kept_network(
    state: TrainingState, build: Callable[[], keras.Model], settings: TrainingSection
) -> keras.Model:
    """The network with the kept weights, in single precision."""
    state.use_kept()
    if not settings.mixed_precision:
        return state.inference_model
    single = build()
    state.model.trainable = True  # frozen layers would return their weights in another order
    single.set_weights(state.model.get_weights())
    return without_early_exits(single)


def _facts(
    final: keras.Model, state: TrainingState, recipe: Recipe, dataset: AudioDataset
) -> _Metrics:
    """Metrics without evaluation: recipe, data set, costs and duration."""
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
        "design_sha256": design_of(recipe),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "devices": state.devices,
        "threads": recipe.training.threads,
        "computers": state.computers,
        "training_s": round(sum(row["seconds"] for row in state.history), 1),
        **provenance(),  # type: ignore[typeddict-item]  # the keys follow
    }
