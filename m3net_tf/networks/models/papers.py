# SPDX-License-Identifier: Apache-2.0
"""The papers' networks by their own names: :func:`build_model` without its first argument.

DiffRes stands before any classifier: :class:`m3net_tf.networks.layers.DiffRes`.
"""

import functools

from m3net_tf.networks.models.registry import build_model

#: M3Net (Jiang et al., AAAI 2025): convolutions around a mirror attention.
M3Net = functools.partial(build_model, "m3net")

#: SpectroMaskNet (Chen et al.): attention on a spectrogram and on its masked copy.
SpectroMaskNet = functools.partial(build_model, "spectromasknet")

#: The bilateral raw-audio network (Sun et al., 2025): two branches over a waveform.
BilateralNetwork = functools.partial(build_model, "bilateral")
