# SPDX-License-Identifier: Apache-2.0
"""Settings of live detection that suit a recipe's network, if nobody has chosen others."""

import dataclasses
from collections.abc import Sequence

from m3net_tf.networks.models import presets_of
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.training.recipe import Recipe


def default_detector(recipe: Recipe, window_columns: int, labels: Sequence[str]) -> DetectorConfig:
    """:meth:`.DetectorConfig.default`, with the preset's pace of runs and the recipe's gain."""
    detector = DetectorConfig.default(recipe.frontend, window_columns, labels)
    preset = presets_of(recipe.model.name)[recipe.model.preset]
    return dataclasses.replace(
        detector,
        run_columns=preset.run_columns,
        automatic_gain=recipe.detector.automatic_gain,
    )
