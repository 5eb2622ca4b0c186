# SPDX-License-Identifier: Apache-2.0
"""DiffRes and the baselines of its paper."""

from m3net_tf.networks.models.diffres.network import (
    METHODS,
    Design,
    build,
    classifier_network,
    has_diffres,
    importance_network,
    learnt,
    probe,
    warp_layers,
)

__all__ = [
    "METHODS",
    "Design",
    "build",
    "classifier_network",
    "has_diffres",
    "importance_network",
    "learnt",
    "probe",
    "warp_layers",
]
