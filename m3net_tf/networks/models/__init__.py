# SPDX-License-Identifier: Apache-2.0
"""Networks by name, each in a file or folder."""

from m3net_tf.networks.models.papers import BilateralNetwork, M3Net, SpectroMaskNet
from m3net_tf.networks.models.registry import (
    build_model,
    design_defaults,
    design_sha256,
    learnt_figures,
    model_names,
    network_design,
    presets_of,
    register_layers,
    require_preset,
)
from m3net_tf.networks.presets import Preset

__all__ = [
    "BilateralNetwork",
    "M3Net",
    "Preset",
    "SpectroMaskNet",
    "build_model",
    "design_defaults",
    "design_sha256",
    "learnt_figures",
    "model_names",
    "network_design",
    "presets_of",
    "register_layers",
    "require_preset",
]
