# SPDX-License-Identifier: Apache-2.0
"""EfficientNet with attention pooling."""

from m3net_tf.networks.models.efficientnet_attention.network import Design, build

__all__ = ["Design", "build"]
