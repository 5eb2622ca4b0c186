# SPDX-License-Identifier: Apache-2.0
"""Networks by name, each in a file or folder."""

from m3net_tf.networks.models.papers import BilateralNetwork, M3Net, SpectroMaskNet
from m3net_tf.networks.models.registry import (
    Preset,
    build_model,
    design_defaults,
    design_sha256,
    learnt_figures,
    model_names,
    network_design,
    preset_names,
    presets_of,
    require_preset,
)

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
    "preset_names",
    "presets_of",
    "require_preset",
]
