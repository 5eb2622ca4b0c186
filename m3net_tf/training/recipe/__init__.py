# SPDX-License-Identifier: Apache-2.0
"""A recipe: all settings that determine a result."""

from m3net_tf.training.recipe.recipe import Recipe, load_recipe, recipe_with_added, save_recipe

__all__ = ["Recipe", "load_recipe", "recipe_with_added", "save_recipe"]
