# SPDX-License-Identifier: Apache-2.0
"""From a waveform to the int8 feature map that a network sees, in Python and in C.

One :class:`FrontendConfig` feeds three implementations of the same numbers: the NumPy reference
(:mod:`.reference`), the TensorFlow one for ``tf.data`` (:mod:`.graph`, imported on demand so that
this room needs no TensorFlow) and the C one on CMSIS-DSP, whose tables :mod:`.ctables` writes.
Cores without FPU compute in whole numbers, and :mod:`.fixed` gives their bits; :mod:`.waveform`
says how a device takes samples as they are.
"""

from m3net_tf.frontend.config import FrontendConfig
from m3net_tf.frontend.ctables import write_c_tables
from m3net_tf.frontend.fixed import fixed_features_int8
from m3net_tf.frontend.presets import PRESETS, frontend_preset
from m3net_tf.frontend.reference import (
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
from m3net_tf.frontend.waveform import column_bins, column_count

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
    "quantize_features",
    "spectrogram",
    "write_c_tables",
]
