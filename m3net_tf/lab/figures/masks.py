# SPDX-License-Identifier: Apache-2.0
"""SpectroMaskNet's masks: their kinds (figure 9), and learnt ones over the epochs (figure 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from m3net_tf.audio.frontend import features
from m3net_tf.lab.figures.curves import history_column
from m3net_tf.lab.figures.shown import Shown
from m3net_tf.networks.models import network_design
from m3net_tf.networks.models.spectromasknet.block_mask import BlockMask
from m3net_tf.pages.plotting import Drawing, draw_map, new_figure
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf

_SEED = 0
_NAMES = {"none": "original"}


def draw_masks(shown: Sequence[Shown]) -> Drawing:
    """A clip's features under each cell's mask; masked blocks are white.

    The facts have the masked share of each.

    Raises:
        ConfigError: a cell has another network.
        M3NetError: the clip cannot be read.
    """
    figure = new_figure(3.2 * len(shown), 2.8)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    rows: list[tuple[Any, ...]] = []
    for axes, cell in zip(panels, shown, strict=True):
        section = cell.recipe.model
        if section.name != "spectromasknet":
            raise ConfigError(f"{cell.title} has network {section.name}: name spectromasknet")
        design = network_design(section.name, section.preset, section.arguments)
        clip, config = cell.find_clip(), cell.recipe.frontend
        values = features(config, cell.dataset.load(clip))
        kind, hidden = design.mask, np.zeros_like(values, bool)
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


def draw_learnt_masks(shown: Sequence[Shown]) -> Drawing:
    """Block size and masked share of learnt masks over the epochs.

    Raises:
        DataError: the network of a run does not learn them.
    """
    figure = new_figure(8, 3.2)
    panels = figure.subplots(1, 2)
    columns = {"mask_block": "edge of a block (bins and frames)", "mask_ratio": "masked share"}
    rows: list[tuple[str, float, float, float]] = []
    for index, cell in enumerate(shown):
        values = {}
        for axes, (column, label) in zip(panels, columns.items(), strict=True):
            epochs, values[column] = history_column(cell.trained, column)
            axes.plot(epochs, values[column], color=f"C{index}", label=cell.title)
            axes.set(xlabel="epoch", ylabel=label)
        rows += [(cell.title, *row) for row in zip(epochs, *values.values(), strict=True)]
    panels[0].set_ylim(0, 1.2 * max(row[2] for row in rows))
    panels[1].set_ylim(0, 1)
    if len(shown) > 1:
        panels[0].legend(fontsize="small")
    return Drawing(figure, ("run", "epoch", *columns), rows)
