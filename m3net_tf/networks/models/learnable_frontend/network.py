# SPDX-License-Identifier: Apache-2.0
"""LEAF, SincNet or TD-filterbanks between the waveform and any network.

These are the baselines of DiffRes's table 3: filter banks that are trained with the classifier.
With the 64 filters of its AudioSet row they have the table's numbers of parameters: 448, 256 and
51 k.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, TypedDict

from m3net_tf.networks.models.learnable_frontend.compression import PCEN, LogEnergy
from m3net_tf.networks.models.learnable_frontend.filterbank import GaborEnergy, SincMagnitude
from m3net_tf.networks.models.learnable_frontend.pooling import LowpassPooling
from m3net_tf.networks.models.stacking import Classifier, put_in_front
from m3net_tf.system.conversion import AtLeastOne
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

LEAK = 0.2
"""Slope of SincNet's LeakyReLU below zero, from the authors' code."""


class Bank(TypedDict):
    """Arguments of a filter bank: see :class:`.filterbank.GaborEnergy`."""

    bins: int
    width_samples: int
    sample_rate_hz: int
    min_hz: float
    max_hz: float


def _leaf(x: tf.Tensor, window: int, hop: int, bank: Bank) -> tf.Tensor:
    """Zeghidour et al., "LEAF", ICLR 2021: Gabor filters, Gaussian pooling, PCEN."""
    x = GaborEnergy(**bank, name="leaf_filters")(x)  # (bins, samples, 1)
    x = LowpassPooling(window, hop, name="leaf_pool")(x)  # (bins, frames, 1)
    return PCEN(name="leaf_pcen")(x)


def _sincnet(x: tf.Tensor, window: int, hop: int, bank: Bank) -> tf.Tensor:
    """Ravanelli and Bengio, SLT 2018: sinc filters, maximum, layer normalisation, LeakyReLU."""
    x = SincMagnitude(**bank, name="sincnet_filters")(x)  # (bins, samples, 1)
    x = keras.layers.MaxPooling2D((1, window), (1, hop), name="sincnet_pool")(x)
    # Filters become channels, because the normalisation is over channels.
    x = keras.layers.Permute((3, 2, 1), name="sincnet_frames")(x)  # (1, frames, bins)
    x = keras.layers.LayerNormalization(name="sincnet_norm")(x)
    x = keras.layers.LeakyReLU(LEAK, name="sincnet_lrelu")(x)
    return keras.layers.Permute((3, 2, 1), name="sincnet_map")(x)  # (bins, frames, 1)


def _td_fbank(x: tf.Tensor, window: int, hop: int, bank: Bank) -> tf.Tensor:
    """Zeghidour et al., ICASSP 2018: free complex filters, fixed squared Hann pooling, log."""
    x = GaborEnergy(**bank, free_taps=True, name="td_fbank_filters")(x)  # (bins, samples, 1)
    x = LowpassPooling(window, hop, "hann_squared", name="td_fbank_pool")(x)  # (bins, frames, 1)
    return LogEnergy(name="td_fbank_log")(x)


FRONTENDS: dict[str, Callable[[tf.Tensor, int, int, Bank], tf.Tensor]] = {
    "leaf": _leaf,
    "sincnet": _sincnet,
    "td_fbank": _td_fbank,
}


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of a learnt filter bank with a classifier.

    Attributes:
        classifier: the network that follows.
        frontend: kind of the filter bank.
        sample_rate_hz: rate of the waveform; must equal the rate of the recipe's front end.
        window_s: length of a pooling window; filters have its length rounded up to an odd number
            of samples.
        hop_s: time from one frame to the next.
        min_hz: lower edge of the mel filters that initialise the filters.
        max_hz: upper edge of these mel filters.
    """

    classifier: Classifier
    frontend: Literal["leaf", "sincnet", "td_fbank"] = "leaf"
    bins: AtLeastOne = 40
    sample_rate_hz: int = 16_000
    window_s: float = 0.025
    hop_s: float = 0.010
    min_hz: float = 60.0
    max_hz: float = 7800.0


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build a learnt filter bank followed by a classifier.

    The input is a waveform, (1, samples, 1). The classifier gets a map (bins, frames, 1) with one
    frame per complete window.

    Raises:
        ConfigError: an unknown classifier, an input that is not a waveform, or a value out of
            range.
    """
    if input_shape[0] != 1 or input_shape[2] != 1:
        raise ConfigError(
            f"a learnable front end needs a waveform of shape (1, samples, 1), not {input_shape}: "
            "set frontend.kind: waveform"
        )
    window = round(design.window_s * design.sample_rate_hz)
    hop = round(design.hop_s * design.sample_rate_hz)
    if not 4 <= window <= input_shape[1] or hop < 1:
        raise ConfigError(
            f"model.window_s {design.window_s} and hop_s {design.hop_s} give windows of {window} "
            f"samples at a hop of {hop} in clips of {input_shape[1]}: give windows of at least 4 "
            "samples and at most a clip, and a hop of at least 1"
        )
    bank: Bank = {
        "bins": design.bins,
        "width_samples": window + 1 - window % 2,
        "sample_rate_hz": design.sample_rate_hz,
        "min_hz": design.min_hz,
        "max_hz": design.max_hz,
    }
    inputs = keras.Input(input_shape, name="features")  # (1, samples, 1)
    x = FRONTENDS[design.frontend](inputs, window, hop, bank)  # (bins, frames, 1)
    return put_in_front(
        inputs,
        x,
        design.classifier,
        classes,
        name="learnable_frontend",
        refused=("bilateral", "diffres"),
    )
