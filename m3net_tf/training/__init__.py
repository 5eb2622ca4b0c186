# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a trained network in a run folder."""

from m3net_tf.training.recipe import Recipe, load_recipe, save_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.start import train

__all__ = ["Recipe", "Run", "load_recipe", "save_recipe", "train"]
