# SPDX-License-Identifier: Apache-2.0
"""A finished run as the teacher of a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras
from m3net_tf.progress import Log
from m3net_tf.training.evaluation import answers, takes_lengths
from m3net_tf.training.features import compute_features, with_lengths
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run, load_recipe_dataset, require_same_held_out


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Source of a teacher's answers: one of the two, or neither without a teacher.

    Attributes:
        model: network that takes the same maps as the trained one, augmented and mixed.
        answers: answers of any other network to the training clips as recorded, shape (clips,
            classes).
    """

    model: keras.Model | None = None
    answers: npt.NDArray[np.float32] | None = None


def load_teacher(
    recipe: Recipe,
    dataset: AudioDataset,
    shape: tuple[int, int, int],
    data_dir: Path | None,
    log: Log,
) -> Teacher:
    """The teacher that a recipe names.

    Args:
        recipe: recipe of the distilled network.
        dataset: its data set.
        shape: its input, (bins, frames, channels).
        data_dir: folder of the data set; None takes the teacher's.
        log: takes lines of progress.

    Raises:
        ConfigError: the teacher has other classes, or may have learnt from clips that are held
            out here.
        ModelError: its run is unfinished or damaged.
        DataError: a clip cannot be read for it.
    """
    if recipe.distillation.run is None:
        return Teacher()
    run = Run(Path(recipe.distillation.run))
    trained_on, labels = run.metrics().dataset, dataset.info.labels
    if trained_on.labels != labels:
        raise ConfigError(
            f"distillation.run {run.folder} has {len(trained_on.labels)} classes that are not "
            f"the {len(labels)} of {dataset.info.name}: name a run of the same classes"
        )
    require_same_held_out(run, dataset, "distillation.run")
    model, teacher_recipe = run.load_model(), run.recipe()
    model.trainable = False
    plain = not takes_lengths(model)
    if plain and teacher_recipe.frontend == recipe.frontend and model.input_shape[1:] == shape:
        return Teacher(model=model)

    # The same clips at the rate and in the length that the teacher was trained for.
    if trained_on.name != dataset.info.name:
        raise ConfigError(
            f"distillation.run {run.folder} was trained on {trained_on.name} with another front "
            f"end: name a run of {dataset.info.name}, or take its front end"
        )
    options = teacher_recipe.dataset.options
    section = dataclasses.replace(recipe.dataset, options=options)
    folder = run.data_folder(data_dir)
    own = load_recipe_dataset(dataclasses.replace(recipe, dataset=section), folder)
    clips = dataset.split("train")
    if [clip.clip_id for clip in own.split("train")] != [clip.clip_id for clip in clips]:
        raise ConfigError(
            f"distillation.run {run.folder} has other clips with its dataset.options ({options}): "
            "train it with this recipe's"
        )
    log(f"answers of {run.folder} to the training clips as recorded")
    features = compute_features(own, "train", teacher_recipe.frontend, log=log)
    if not plain:
        features = with_lengths(features, own, teacher_recipe.frontend)
    return Teacher(answers=answers(model, features))
