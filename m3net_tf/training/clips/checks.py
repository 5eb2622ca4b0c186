# SPDX-License-Identifier: Apache-2.0
"""Fast checks of a recipe and its data, without TensorFlow."""

from m3net_tf.audio.datasets import AudioDataset, DatasetInfo, dataset_info
from m3net_tf.audio.datasets.folder import require_enough_training
from m3net_tf.audio.datasets.networks import find_teacher
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.networks.models import require_preset
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.recipe import Recipe

HELD_OUT = ("validation", "test")


def require_held_out(split: str) -> None:
    """Check that a split is held out from training.

    Raises:
        ConfigError: it is not; the message lists the held-out splits.
    """
    if split not in HELD_OUT:
        raise ConfigError(f"split {split!r} is unknown: choose one of {', '.join(HELD_OUT)}")


def check_training(recipe: Recipe, dataset: AudioDataset) -> None:
    """Find errors that would otherwise appear only after TensorFlow is loaded, or hours later.

    Raises:
        ConfigError: an unknown network or preset, or a front end that does not fit the clips.
        DataError: fewer than two classes, a split without clips, or too few clips for training.
    """
    require_preset(recipe.model.name, recipe.model.preset)
    folded = dataset_info(recipe.dataset.name).folds
    protocol = recipe.training.cross_validation
    if protocol and (protocol not in folded or dataset.info.multi_label):
        raise ConfigError(
            f"training.cross_validation is {protocol!r}: {recipe.dataset.name} has "
            f"{', '.join(folded) or 'no protocol'} with folds"
            + (", but several labels per clip" if dataset.info.multi_label else "")
        )
    input_shape(dataset.info, recipe.frontend)
    if recipe.distillation.teacher:
        find_teacher(recipe.distillation.teacher)
    dataset.check_trainable()
    if recipe.dataset.training_share == 1:
        require_enough_training(dataset)


def require_streamable(recipe: Recipe) -> None:
    """Check that the training clips of a recipe can be read from shards.

    Raises:
        ConfigError: a key needs the feature cache or the files of the data set.
    """
    augmentation = recipe.augmentation
    for key, value in (
        ("augmentation.copies", augmentation.copies),
        ("augmentation.random_crop", augmentation.random_crop),
        ("fine_tuning.add", recipe.fine_tuning.add),
        ("distillation.teacher", recipe.distillation.teacher),
    ):
        if value:
            raise ConfigError(
                f"{key} is {value} with shards, which have each clip once, with its delivered "
                "length: omit --shards, or remove the key (fresh augments clips of shards)"
            )


def input_shape(info: DatasetInfo, config: FrontendConfig) -> tuple[int, int, int]:
    """Shape (bins, frames, 1) of a clip's features.

    Raises:
        ConfigError: data set and front end differ in rate, or a clip is shorter than a frame.
    """
    if info.sample_rate_hz != config.sample_rate_hz:
        raise ConfigError(
            f"frontend.sample_rate_hz is {config.sample_rate_hz} but data set {info.name} delivers "
            f"{info.sample_rate_hz}: set them to the same rate"
        )
    frames = config.frame_count(info.clip_samples)
    if frames == 0:
        raise ConfigError(
            f"frontend.frame_samples is {config.frame_samples} but a clip of {info.name} has only "
            f"{info.clip_samples} samples: choose a shorter frame"
        )
    return config.feature_bins, frames, 1
