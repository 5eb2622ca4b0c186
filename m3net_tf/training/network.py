# SPDX-License-Identifier: Apache-2.0
"""The network of a recipe, untrained."""

from collections.abc import Iterator
from contextlib import contextmanager

from m3net_tf.networks.models import build_model
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import TrainingSection


def build_network(
    recipe: Recipe, shape: tuple[int, int, int], multi_label: bool, classes: int
) -> keras.Model:
    """The untrained network of a recipe.

    Args:
        shape: (bins, frames, 1) of its features.
    """
    return build_model(
        recipe.model.name,
        recipe.model.preset,
        input_shape=shape,
        classes=classes,
        overrides=recipe.model.arguments,
        feature_range={
            key: getattr(recipe.frontend, key) for key in ("feature_min", "feature_max", "log")
        },
        head="sigmoid" if has_sigmoids(recipe.training, multi_label=multi_label) else "softmax",
    )


def has_sigmoids(settings: TrainingSection, *, multi_label: bool) -> bool:
    """Whether a network has independent probabilities per class instead of a distribution."""
    return multi_label or settings.loss == "binary_cross_entropy"


@contextmanager
def half_precision(settings: TrainingSection) -> Iterator[None]:
    """Context whose new layers compute in half precision under ``mixed_precision``."""
    if not settings.mixed_precision:
        yield
        return
    before = keras.mixed_precision.global_policy()
    half = settings.half_precision
    if half == "auto":
        half = "float16" if tf.config.list_physical_devices("GPU") else "bfloat16"
    keras.mixed_precision.set_global_policy(f"mixed_{half}")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
