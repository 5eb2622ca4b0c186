# SPDX-License-Identifier: Apache-2.0
"""Figures of a run with added clips: its former run and itself, on old and on new clips."""

from collections import Counter
from collections.abc import Callable
from typing import NotRequired, TypedDict

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.system.keras import keras
from m3net_tf.training.added import held_out_added, list_sha256, read_added
from m3net_tf.training.evaluation import evaluate
from m3net_tf.training.features import FeatureSet
from m3net_tf.training.metrics import LabelFigures, MultiLabelFigures
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run, linked_run

_Figures = LabelFigures | MultiLabelFigures


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
    test_before: _Figures
    held_out_before: NotRequired[_Figures]
    held_out_after: NotRequired[_Figures]


def before_and_after(
    recipe: Recipe,
    run: Run,
    dataset: AudioDataset,
    model: keras.Model,
    test_features: Callable[[AudioDataset], FeatureSet],
) -> AddedFigures:
    """Measure the former and the new network on the test clips and on the held-out added clips."""
    settings = recipe.fine_tuning
    former = linked_run(settings.run).load_model()
    clips, labels = read_added(run.folder), dataset.info.labels
    figures: AddedFigures = {
        "run": str(settings.run),
        "folders": list(settings.add),
        "sha256": list_sha256(clips),
        "train": sum(clip.split == "train" for clip in clips),
        "held_out": sum(clip.split == "test" for clip in clips),
        "recordings": len({clip.group for clip in clips}),
        "reasons": dict(Counter(clip.reason for clip in clips if clip.reason)),
        "test_before": evaluate(former, test_features(dataset), labels)[1],
    }
    held_out = held_out_added(dataset, run.folder, windows=recipe.dataset.in_windows)
    if held_out is not None:
        features = test_features(held_out)
        figures["held_out_before"] = evaluate(former, features, labels)[1]
        figures["held_out_after"] = evaluate(model, features, labels)[1]
    return figures
