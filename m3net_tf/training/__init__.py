# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a trained network in a run folder."""

from typing import TYPE_CHECKING, Any

from m3net_tf.training.recipe import Recipe, load_recipe, save_recipe
from m3net_tf.training.run import Run

if TYPE_CHECKING:
    from m3net_tf.training.trainer import train

__all__ = ["Recipe", "Run", "load_recipe", "save_recipe", "train"]


def __getattr__(name: str) -> Any:
    """Training needs TensorFlow, which takes seconds to import; reading a run does not."""
    if name == "train":
        from m3net_tf.training.trainer import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
