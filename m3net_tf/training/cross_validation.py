# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a recipe on all clips, each tested by a network that was trained without its fold."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import Clip, dataset_info, protocol_statement
from m3net_tf.system.artifacts import Provenance, provenance, read_json, write_json
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.metrics import wilson_interval
from m3net_tf.training.scoring.windows import whole_scores
from m3net_tf.training.start import train

RESULT = "cross_validation.json"


class FoldsAccuracy(TypedDict):
    """Accuracy over the clips of all folds.

    Attributes:
        accuracy_95_low: lower end of its 95 % interval; see :func:`clustered_interval`.
    """

    accuracy: float
    accuracy_95_low: float
    accuracy_95_high: float


class CrossValidation(FoldsAccuracy, Provenance):
    """Content of ``cross_validation.json``: figures over the clips of all folds.

    Attributes:
        statement: how clips were held out, in words.
        clips: number of clips, without cut or artificial silence.
    """

    protocol: str
    statement: str
    clips: int
    groups: int
    recall: dict[str, float]
    fold_accuracy: list[float]


@writes_into("run", makes=True)
def cross_validate(
    recipe: Recipe, run: Run, data_dir: Path | None = None, log: Log = silent
) -> CrossValidation:
    """Train once for each fold of ``training.cross_validation``; resumes after a stop.

    Args:
        run: folder that receives the result, and the runs of the folds in ``folds``.

    Raises:
        M3NetError: as :func:`.start.train`.
    """
    path = run.folder / RESULT
    if path.exists():
        done: CrossValidation = read_json(path, CrossValidation)
        return done
    protocol = recipe.training.cross_validation
    folds = dataset_info(recipe.dataset.name).folds[protocol]
    tested: list[_Tested] = []
    statements = set()
    for fold in range(1, folds + 1):
        log(f"cross-validation: fold {fold} of {folds}")
        plan = fold_recipe(recipe, fold)
        train(plan, run.folder / "folds" / str(fold), data_dir, log)
        tested.append(_test(plan, run.folder / "folds" / str(fold), data_dir, log))
        log(
            f"fold {fold}: {tested[-1].right.sum()} of "
            f"{counted(tested[-1].right.size, 'clip')} recognised"
        )
        dataset = load_section(plan.dataset, data_dir)
        statements.add(protocol_statement(dataset).replace(f", fold {fold} tests", ""))
    clips = [clip for fold in tested for clip in fold.clips]
    right = np.concatenate([fold.right for fold in tested])
    groups = [clip.group for clip in clips]
    low, high = clustered_interval(right, groups)
    sizes = Counter(clip.label for clip in clips)
    hits = Counter(clip.label for clip, hit in zip(clips, right, strict=True) if hit)
    result: CrossValidation = {
        "protocol": protocol,
        "statement": "; ".join(sorted(statements)),
        "clips": len(clips),
        "groups": len(set(groups)),
        "accuracy": float(right.mean()),
        "accuracy_95_low": low,
        "accuracy_95_high": high,
        "recall": {label: hits[label] / sizes[label] for label in sorted(sizes)},
        "fold_accuracy": [float(fold.right.mean()) for fold in tested],
        **provenance(),
    }
    write_json(path, result)
    return result


def fold_recipe(recipe: Recipe, fold: int) -> Recipe:
    """The recipe that tests on one fold of ``training.cross_validation``."""
    protocol = recipe.training.cross_validation
    return dataclasses.replace(
        recipe,
        dataset=dataclasses.replace(recipe.dataset, protocol=protocol, fold=fold),
        training=dataclasses.replace(recipe.training, cross_validation=""),
    )


@dataclasses.dataclass(frozen=True)
class _Tested:
    """The test clips of a fold, without silence, and whether each was recognised."""

    clips: Sequence[Clip]
    right: npt.NDArray[np.bool_]


def _test(recipe: Recipe, folder: Path, data_dir: Path | None, log: Log) -> _Tested:
    """Test a fold's network on its clips."""
    from m3net_tf.system.keras import keras
    from m3net_tf.training.scoring.evaluation import own_features, predict_originals

    run = Run(folder)
    dataset = run.dataset(data_dir)
    model = run.load_model()
    features = own_features(model, dataset, "test", recipe, log)
    scores = predict_originals(model, features)
    keras.backend.clear_session()
    scores, first = whole_scores(scores, features.clips, dataset.info.labels)
    listed = [i for i, row in enumerate(first) if not features.clips[row].synthetic]
    right = scores.argmax(1) == features.labels[first]
    return _Tested([features.clips[row] for row in first[listed]], right[listed])


def clustered_interval(
    right: npt.NDArray[np.bool_ | np.floating], groups: Sequence[str]
) -> tuple[float, float]:
    """95 % interval of an accuracy on clips, where clips of one group resemble each other.

    Wilson's interval for the effective number of clips: their number, divided by the ratio of the
    variance between groups to the variance of independent clips, where it is above 1 (Kish, Survey
    Sampling, 1965, section 8.2).

    Args:
        right: whether each clip was recognised, or in which share of several trials; shape
            (clips,).
    """
    count = len(right)
    share = float(right.mean())
    sizes = Counter(groups)
    hits = dict.fromkeys(groups, 0.0)
    for group, hit in zip(groups, right.tolist(), strict=True):
        hits[group] += hit
    independent = share * (1 - share) / count
    effect = 1.0
    if independent and len(sizes) > 1:
        deviations = [hits[group] - share * size for group, size in sizes.items()]
        between = math.fsum(value**2 for value in deviations) / count**2
        effect = max(1.0, between * len(sizes) / (len(sizes) - 1) / independent)
    return wilson_interval(share * count / effect, count / effect)
