# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run on held-out clips, or mAP where they have several labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, final

import numpy as np
import numpy.typing as npt

from m3net_tf.export import Bundle
from m3net_tf.export.reference import reference_of
from m3net_tf.system.artifacts import Provenance, provenance, read_json
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.checks import require_held_out
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.cross_validation import RESULT, FoldsAccuracy
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import own_features, predict_originals
from m3net_tf.training.scoring.metrics import ClassScores, MultiLabelEvaluation, wilson_interval
from m3net_tf.training.scoring.windows import whole_scores


@final
class StageAccuracy(TypedDict):
    """How well the clips are recognised.

    Attributes:
        accuracy_95: 95 % interval of the accuracy, low and high.
        mean_auc: area under the ROC curve of each class against all others, averaged over the
            classes; None if only one class has clips. Absent where no scores were kept.
        average_precision: of each class with clips, from its score; absent likewise.
    """

    accuracy: float
    accuracy_95: list[float]
    mean_auc: NotRequired[float | None]
    average_precision: NotRequired[dict[str, float]]


@final
class StagePrecision(TypedDict):
    """How well clips with several labels are recognised: mAP, and figures of each class."""

    mean_average_precision: float
    classes: dict[str, ClassScores]


class ClipsResult(Provenance):
    """Accuracy of a run on a split; mAP where clips have several labels.

    Attributes:
        int8_desktop: figures of the exported network on 16-bit samples, as on a board; absent
            without one.
        cross_validation: accuracy on all clips by the run's cross-validation; absent without one.
    """

    run: str
    dataset: str
    protocol: str
    statement: str
    split: str
    clips: int
    int8_desktop: NotRequired[StageAccuracy | StagePrecision]
    float: StageAccuracy | StagePrecision
    cross_validation: NotRequired[StageAccuracy]


def evaluate_clips(
    run: Run, data_dir: Path | None = None, split: str = "test", log: Log = silent
) -> ClipsResult:
    """Accuracy (or mAP) of a run's float network and, if exported, of its int8 network.

    Args:
        split: ``validation`` or ``test``.

    Raises:
        M3NetError: an error of a stage.
    """
    require_held_out(split)
    dataset = run.dataset(data_dir)
    recipe = run.recipe()
    model = run.load_model()
    held_out = own_features(model, dataset, split, recipe, log)
    scores = predict_originals(model, held_out)
    result: ClipsResult = {
        "run": run.folder.name,
        "dataset": dataset.info.name,
        "protocol": dataset.info.protocol,
        "statement": run.protocol_statement(dataset),
        "split": split,
        "clips": len({clip.whole or clip.clip_id for clip in held_out.clips}),
        "float": _figures(run, scores, held_out),
        **provenance(),  # type: ignore[typeddict-item]  # the keys follow
    }
    if split == "test" and (run.folder / RESULT).exists():
        folds = read_json(run.folder / RESULT, FoldsAccuracy)
        interval = [folds["accuracy_95_low"], folds["accuracy_95_high"]]
        result["cross_validation"] = {"accuracy": folds["accuracy"], "accuracy_95": interval}
    if (run.folder / "export" / "manifest.json").exists():
        bundle = Bundle.load(run.folder / "export")
        int8_scores = (reference_of(bundle, dataset, held_out.clips).scores + 128.0) / 256.0
        result["int8_desktop"] = _figures(run, int8_scores, held_out)
    return result


def _figures(
    run: Run, scores: npt.NDArray[Any], held_out: FeatureSet
) -> StageAccuracy | StagePrecision:
    metrics = run.metrics()
    labels = metrics.dataset.labels
    if held_out.matrix is None:
        return stage_accuracy(scores, held_out, labels)
    scores, first = whole_scores(scores, held_out.clips, labels)
    evaluation = MultiLabelEvaluation(held_out.matrix[first], scores, labels)
    return {
        "mean_average_precision": evaluation.mean_average_precision,
        "classes": evaluation.by_class(metrics.thresholds),
    }


def stage_accuracy(
    scores: npt.NDArray[Any], held_out: FeatureSet, labels: Sequence[str]
) -> StageAccuracy:
    """How well whole clips are recognised by scores, shape (clips, classes), of their windows."""
    scores, first = whole_scores(scores, held_out.clips, labels)
    truth = held_out.labels[first]
    hits = int((scores.argmax(1) == truth).sum())
    ranked = MultiLabelEvaluation(np.eye(len(labels))[truth], scores, tuple(labels)).to_dict()
    return {
        "accuracy": hits / len(first),
        "accuracy_95": list(wilson_interval(hits, len(first))),
        "mean_auc": ranked["mean_auc"],
        "average_precision": ranked["average_precision"],
    }
