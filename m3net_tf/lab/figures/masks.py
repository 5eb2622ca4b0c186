# SPDX-License-Identifier: Apache-2.0
"""Kinds of SpectroMaskNet's masks: figure 9 of its paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3net_tf.audio.frontend import features
from m3net_tf.lab.figures.shown import Shown
from m3net_tf.networks.models import network_design
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.pages.plotting import Drawing, draw_map, new_figure
from m3net_tf.system.keras import tf

_SEED = 0
_NAMES = {"none": "original"}


def draw_masks(shown: Sequence[Shown]) -> Drawing:
    """A clip's features under each cell's mask; masked blocks are white.

    The facts have the masked share of each.

    Raises:
        M3NetError: the clip cannot be read.
    """
    figure = new_figure(3.2 * len(shown), 2.8)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    rows: list[tuple[Any, ...]] = []
    for axes, cell in zip(panels, shown, strict=True):
        section = cell.recipe.model
        design = network_design(section.name, section.preset, section.arguments)
        clip = cell.find_clip()
        config = cell.recipe.frontend
        values = features(config, cell.dataset.load(clip))
        kind = design.mask
        hidden = np.zeros_like(values, bool)
        if kind != "none":
            layer = BlockMask(kind, design.mask_block, design.mask_ratio, seed=_SEED)
            maps = tf.constant(values[None, ..., None], tf.float32)
            layer.build(maps.shape)
            hidden = layer.mask(maps)[0, ..., 0].numpy() > 0
        end_s = values.shape[1] * config.hop_samples / config.sample_rate_hz
        image = draw_map(
            axes,
            np.ma.array(values, mask=hidden),
            end_s,
            vmin=values.min(),
            vmax=values.max(),
        )
        axes.set(xlabel="time (s)", ylabel="mel bin")
        axes.set_title(_NAMES.get(kind, kind.replace("_", " ")))
        rows.append((cell.title, clip.clip_id, clip.label, kind, float(hidden.mean())))
    figure.colorbar(image, ax=panels[-1], label="ln power")
    return Drawing(figure, ("cell", "clip", "label", "mask", "masked_share"), rows)
