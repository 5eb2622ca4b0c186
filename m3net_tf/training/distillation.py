# SPDX-License-Identifier: Apache-2.0
"""Uses a finished run as the teacher of a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras
from m3net_tf.progress import Log
from m3net_tf.training.evaluation import predict_originals, takes_lengths
from m3net_tf.training.features import original_features, with_lengths
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import linked_run, load_recipe_dataset, require_same_held_out


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher's model or its predictions; both are None without a teacher.

    Attributes:
        model: a network with the student's input, which gets the same augmented, mixed maps.
        predictions: probabilities of any other network for the original training clips, shape
            (clips, classes).
    """

    model: keras.Model | None = None
    predictions: npt.NDArray[np.float32] | None = None


def load_teacher(
    recipe: Recipe,
    dataset: AudioDataset,
    shape: tuple[int, int, int],
    data_dir: Path | None,
    log: Log,
) -> Teacher:
    """Load the teacher that a recipe names.

    Args:
        recipe: recipe of the distilled network.
        dataset: its data set.
        shape: its input shape, (bins, frames, channels).
        data_dir: folder of the data set; None means the teacher's.
        log: receives progress lines.

    Raises:
        ConfigError: the teacher has other classes, or may have been trained on clips that are held
            out here.
        ModelError: its run is unfinished or damaged.
        DataError: a clip cannot be read.
    """
    if recipe.distillation.run is None:
        return Teacher()
    run = linked_run(recipe.distillation.run)
    trained_on, labels = run.metrics().dataset, dataset.info.labels
    if trained_on.labels != labels:
        raise ConfigError(
            f"distillation.run {run.folder} has {len(trained_on.labels)} classes, which differ "
            f"from the {len(labels)} of {dataset.info.name}: name a run with the same classes"
        )
    require_same_held_out(run, dataset, "distillation.run")
    model, teacher_recipe = run.load_model(), run.recipe()
    model.trainable = False
    plain = not takes_lengths(model)
    if plain and teacher_recipe.frontend == recipe.frontend and model.input_shape[1:] == shape:
        return Teacher(model=model)

    # The same clips with the teacher's rate and length.
    if trained_on.name != dataset.info.name:
        raise ConfigError(
            f"distillation.run {run.folder} was trained on {trained_on.name} with another front "
            f"end: name a run of {dataset.info.name}, or use its front end"
        )
    options = teacher_recipe.dataset.options
    section = dataclasses.replace(recipe.dataset, options=options)
    folder = run.data_folder(data_dir)
    teacher_dataset = load_recipe_dataset(dataclasses.replace(recipe, dataset=section), folder)
    teacher_ids = [clip.clip_id for clip in teacher_dataset.split("train")]
    if teacher_ids != [clip.clip_id for clip in dataset.split("train")]:
        raise ConfigError(
            f"distillation.run {run.folder} has other clips due to its dataset.options ({options})"
            ": train it with this recipe's options"
        )
    log(f"predictions of {run.folder} for the original training clips")
    features = original_features(teacher_dataset, "train", teacher_recipe, log)
    if not plain:
        features = with_lengths(features, teacher_dataset, teacher_recipe.frontend)
    return Teacher(predictions=predict_originals(model, features))
