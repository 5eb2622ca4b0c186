# SPDX-License-Identifier: Apache-2.0
"""BC-ResNet."""

from m3net_tf.networks.models.bc_resnet.network import PRESETS, Design, build

__all__ = ["PRESETS", "Design", "build"]
