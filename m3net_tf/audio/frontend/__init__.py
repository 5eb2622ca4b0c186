# SPDX-License-Identifier: Apache-2.0
"""Converts a waveform to a network's int8 input, in Python and in C.

One :class:`FrontendConfig` drives three implementations that compute the same features: the NumPy
reference (:mod:`.reference`), the TensorFlow version for ``tf.data`` (:mod:`.graph`, imported on
demand so that this package does not load TensorFlow) and the C version on CMSIS-DSP, whose tables
:mod:`.ctables` writes. Cores without FPU compute in fixed point; :mod:`.fixed` reproduces their
results bit for bit. :mod:`.waveform` describes how a device uses raw samples as features.
"""

from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.audio.frontend.ctables import write_c_tables
from m3net_tf.audio.frontend.fixed import fixed_features_int8
from m3net_tf.audio.frontend.presets import PRESETS, frontend_preset, named_frontend
from m3net_tf.audio.frontend.reference import (
    dequantize_features,
    feature_hz,
    features,
    features_int8,
    log_mel,
    mel_filterbank,
    mel_spectrogram,
    quantize_features,
    spectrogram,
)
from m3net_tf.audio.frontend.waveform import column_bins, column_count

__all__ = [
    "PRESETS",
    "FrontendConfig",
    "column_bins",
    "column_count",
    "dequantize_features",
    "feature_hz",
    "features",
    "features_int8",
    "fixed_features_int8",
    "frontend_preset",
    "log_mel",
    "mel_filterbank",
    "mel_spectrogram",
    "named_frontend",
    "quantize_features",
    "spectrogram",
    "write_c_tables",
]
