# SPDX-License-Identifier: Apache-2.0
"""Uses finished runs, or a file, as the teachers of a new one."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.networks.models.interface import takes_lengths
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.loss.teacher_file import TeacherVectors, teacher_vectors
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run, linked_run, require_same_held_out
from m3net_tf.training.scoring.evaluation import own_features, predict_originals


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher's model, predictions or vectors; all are None without a teacher.

    An ensemble's output is the mean of its networks' probabilities.

    Attributes:
        model: a network with the student's input, which gets the same augmented, mixed maps.
        predictions: probabilities of networks of which one at least has another input, for the
            original training clips, shape (clips, classes).
        vectors: what a file gives that a recipe names instead of runs.
    """

    model: keras.Model | None = None
    predictions: npt.NDArray[np.float32] | None = None
    vectors: TeacherVectors | None = None


def load_teacher(
    recipe: Recipe,
    dataset: AudioDataset,
    shape: tuple[int, int, int],
    data_dir: Path | None,
    log: Log,
) -> Teacher:
    """Load the teacher that a recipe names, or the ensemble of them.

    Args:
        shape: input shape of the student, (bins, frames, channels).
        data_dir: folder of the data set; None means the teacher's.

    Raises:
        ConfigError: the teacher has other classes, or may have been trained on clips that are held
            out here.
        ModelError: its run is unfinished or damaged, or its file does not fit.
        DataError: a clip cannot be read.
    """
    if recipe.distillation.teacher:
        return Teacher(vectors=teacher_vectors(recipe, dataset, shape, log))
    runs = [linked_run(name) for name in recipe.distillation.runs]
    if not runs:
        return Teacher()
    for run in runs:
        _require_fitting(run, dataset)
    teachers = [(run, run.load_model()) for run in runs]
    for _, model in teachers:
        model.trainable = False
    if all(
        run.recipe().frontend == recipe.frontend
        and not takes_lengths(model)
        and model.input_shape[1:] == shape
        for run, model in teachers
    ):
        return Teacher(model=ensemble([model for _, model in teachers], shape))
    predictions = [
        _predictions(model, run, recipe, dataset, data_dir, log) for run, model in teachers
    ]
    return Teacher(predictions=np.mean(predictions, axis=0, dtype=np.float32))


def _require_fitting(run: Run, dataset: AudioDataset) -> None:
    """Refuse a teacher with other classes, or that may know clips that are held out."""
    trained_on = run.metrics().dataset
    labels = dataset.info.labels
    if trained_on.labels != labels:
        raise ConfigError(
            f"distillation.run {run.folder} has {len(trained_on.labels)} classes, which differ "
            f"from the {len(labels)} of {dataset.info.name}: name a run with the same classes"
        )
    require_same_held_out(run, dataset, "distillation.run")


def ensemble(models: Sequence[keras.Model], shape: tuple[int, int, int]) -> keras.Model | None:
    """One network with the mean of the networks' probabilities; None without networks.

    Args:
        shape: their input shape, (bins, frames, channels).
    """
    if len(models) < 2:
        return models[0] if models else None
    named = [  # layers of one network need different names
        keras.Model(model.inputs, model.outputs, name=f"teacher_{number}")
        for number, model in enumerate(models)
    ]
    maps = keras.Input(shape)
    return keras.Model(maps, keras.layers.Average()([model(maps) for model in named]))


def _predictions(
    model: keras.Model,
    run: Run,
    recipe: Recipe,
    dataset: AudioDataset,
    data_dir: Path | None,
    log: Log,
) -> npt.NDArray[np.float32]:
    """Probabilities for the original training clips, at the network's own rate and length."""
    trained_on = run.metrics().dataset
    teacher_recipe = run.recipe()
    if trained_on.name != dataset.info.name:
        raise ConfigError(
            f"distillation.run {run.folder} was trained on {trained_on.name} with another front "
            f"end: name a run of {dataset.info.name}, or use its front end"
        )
    options = teacher_recipe.dataset.options
    section = dataclasses.replace(recipe.dataset, options=options)
    teacher_dataset = load_section(section, run.data_folder(data_dir))
    teacher_ids = [clip.clip_id for clip in teacher_dataset.split("train")]
    if teacher_ids != [clip.clip_id for clip in dataset.split("train")]:
        raise ConfigError(
            f"distillation.run {run.folder} has other clips due to its dataset.options ({options})"
            ": train it with this recipe's options"
        )
    log(f"predictions of {run.folder} for the original training clips")
    features = own_features(model, teacher_dataset, "train", teacher_recipe, log)
    return predict_originals(model, features)
