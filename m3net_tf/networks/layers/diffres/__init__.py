# SPDX-License-Identifier: Apache-2.0
"""DiffRes: fewer frames for any network, by learnt importance."""

from m3net_tf.networks.layers.diffres.front import SCORES, WARP, DiffRes, diffres

__all__ = ["SCORES", "WARP", "DiffRes", "diffres"]
