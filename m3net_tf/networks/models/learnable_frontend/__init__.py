# SPDX-License-Identifier: Apache-2.0
"""Learnable front ends (TD-fbank, SincNet, LEAF) before a classifier."""

from m3net_tf.networks.models.learnable_frontend.network import (
    FRONTENDS,
    Bank,
    Design,
    build,
)

__all__ = ["FRONTENDS", "Bank", "Design", "build"]
