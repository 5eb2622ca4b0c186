# SPDX-License-Identifier: Apache-2.0
"""The papers' networks in stock Keras layers, as a first implementation has them.

Tests compare the package's networks with them. Each has the parameters of its counterpart in
:mod:`m3net_tf.networks.models`, under the same layer names, and gives the same outputs with the
same weights.
"""

from __future__ import annotations

from collections.abc import Callable

from m3net_tf.system.keras import keras
from naive.bilateral import bilateral
from naive.diffres import DiffResLayer, diffres, frame_scores
from naive.efficientnet_attention import attention_head
from naive.m3net import m3net
from naive.spectromasknet import spectromasknet
from naive.warp import Warp, warp_by_loop, warp_by_matrix

__all__ = [
    "NETWORKS",
    "DiffResLayer",
    "Warp",
    "attention_head",
    "bilateral",
    "diffres",
    "frame_scores",
    "m3net",
    "spectromasknet",
    "warp_by_loop",
    "warp_by_matrix",
]

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "m3net": m3net,
    "spectromasknet": spectromasknet,
    "bilateral": bilateral,
    "diffres": diffres,
}
"""The naive network for each paper's network."""
