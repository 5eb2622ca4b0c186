# SPDX-License-Identifier: Apache-2.0
"""Trains a network by a recipe and stores it in a run folder."""

from m3net_tf.training.recipe import Recipe, load_recipe, save_recipe
from m3net_tf.training.run import Run
from m3net_tf.training.start import train

__all__ = ["Recipe", "Run", "load_recipe", "save_recipe", "train"]
