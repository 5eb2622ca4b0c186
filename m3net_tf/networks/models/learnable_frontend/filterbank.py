# SPDX-License-Identifier: Apache-2.0
"""Learnt filter banks over the waveform, initialised near a mel filter bank.

A waveform is a map of one row, (batch, 1, samples, 1). A filter bank gives one row per filter at
the waveform's rate.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len

from m3net_tf.networks.layers.precision import Float32Layer
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf

HALF_WIDTH = math.sqrt(2.0 * math.log(2.0)) / math.pi
"""Full width at half maximum of a Gaussian's spectrum in cycles per sample, times its deviation."""
SINC_MIN_HZ = 50.0
"""SincNet's lowest edge and smallest bandwidth."""


def mel_edges_hz(bins: int, min_hz: float, max_hz: float) -> npt.NDArray[np.float64]:
    """Edges of triangular filters on HTK's mel scale: filter n spans edges n to n + 2."""
    low, high = 2595.0 * np.log10(1.0 + np.array([min_hz, max_hz]) / 700.0)
    return 700.0 * (10.0 ** (np.linspace(low, high, bins + 2) / 2595.0) - 1.0)


def convolve(waves: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
    """Centred convolution of every waveform with every filter, with zero padding.

    Waves (batch, samples) and taps (filters, odd width), both float32, to (batch, filters,
    samples). It uses the Fourier transform, in half the time of a direct convolution with 401 taps.
    """
    samples, width = waves.shape[1], taps.shape[1]
    centre = width // 2
    # Wrap-around affects only the first samples of the full convolution, which are cut off.
    length = next_fast_len(samples + centre, real=True)

    # A custom gradient: with TensorFlow's, forward and backward pass take twice as long.
    def transformed(waves: tf.Tensor, taps: tf.Tensor) -> tuple[tf.Tensor, Any]:
        wave_spectra = tf.signal.rfft(waves, [length])  # (batch, half)
        tap_spectra = tf.signal.rfft(taps, [length])  # (filters, half)
        full = tf.signal.irfft(wave_spectra[:, None] * tap_spectra[None], [length])

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            padded = tf.pad(upstream, [[0, 0], [0, 0], [centre, length - centre - samples]])
            spectra = tf.signal.rfft(padded, [length])  # (batch, filters, half)
            to_waves = tf.einsum("bfh,fh->bh", spectra, tf.math.conj(tap_spectra))
            to_taps = tf.einsum("bfh,bh->fh", spectra, tf.math.conj(wave_spectra))
            return (
                tf.signal.irfft(to_waves, [length])[:, :samples],
                tf.signal.irfft(to_taps, [length])[:, :width],
            )

        return full[:, :, centre : centre + samples], gradient

    return tf.custom_gradient(transformed)(waves, taps)


class Between(keras.constraints.Constraint):  # type: ignore[misc]
    """Keeps the learnt parameters of a front end within a range."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def __call__(self, weights: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(weights, self.low, self.high)


class _FilterBank(Float32Layer):
    """Base class of filter banks: arguments and the initial mel scale.

    Args:
        width_samples: odd length of a filter.
        min_hz: lower edge of the first mel filter.
        max_hz: upper edge of the last mel filter.

    Shapes:
        (batch, 1, samples, 1) to (batch, bins, samples, 1).

    Raises:
        ConfigError: the edges do not rise, or exceed half the sample rate.
    """

    why_float32 = "Fourier transforms have no kernels for half precision"
    parts = 1  # filters of real taps for each bin

    def __init__(
        self,
        bins: int = 40,
        width_samples: int = 401,
        *,
        sample_rate_hz: int = 16_000,
        min_hz: float = 60.0,
        max_hz: float = 7800.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= min_hz < max_hz <= sample_rate_hz / 2:
            raise ConfigError(
                f"filter bank from min_hz {min_hz:g} to max_hz {max_hz:g}: give rising edges of at "
                f"most half the sample rate, {sample_rate_hz / 2:g}"
            )
        self.bins = bins
        self.width_samples = width_samples
        self.sample_rate_hz = sample_rate_hz
        self.min_hz = min_hz
        self.max_hz = max_hz
        self._time = np.arange(width_samples, dtype=np.float32) - width_samples // 2

    def _filtered(self, inputs: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
        return convolve(inputs[:, 0, :, 0], taps)[..., None]  # (batch, filters, samples, 1)

    def macs(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of one inference as a direct convolution."""
        del output_shape
        return input_shape[2] * self.parts * self.bins * self.width_samples


@keras.utils.register_keras_serializable("m3net_tf")
class GaborEnergy(_FilterBank):
    """Squared modulus of complex filters: Gabor filters with learnt parameters, or learnt taps.

    Zeghidour et al., "LEAF: A Learnable Frontend for Audio Classification", ICLR 2021, section
    3.1: frequency and width are learnt. The frequency is constrained to 0 to half the sample rate,
    the width of the spectrum to one cycle per filter length to half a cycle per sample. With
    ``free_taps`` these filters are only the initial values, and every tap is learnt: Zeghidour et
    al., "Learning Filterbanks from Raw Speech for Phone Recognition", ICASSP 2018, section 2.

    The square root of a mel filter is at least half its peak over three quarters of its base. That
    is the initial width of each spectrum, because energies are squares.

    Args:
        free_taps: learn the real and imaginary part of each tap instead of frequency and width.

    Shapes:
        (batch, 1, samples, 1) to (batch, bins, samples, 1).
    """

    parts = 2  # real and imaginary

    def __init__(
        self, bins: int = 40, width_samples: int = 401, *, free_taps: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(bins, width_samples, **kwargs)
        self.free_taps = free_taps

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the filters on the mel scale."""
        edges = mel_edges_hz(self.bins, self.min_hz, self.max_hz) / self.sample_rate_hz
        centres = edges[1:-1].astype(np.float32)
        base = edges[2:] - edges[:-2]
        least, most = 2.0 * HALF_WIDTH, self.width_samples * HALF_WIDTH
        deviations = np.clip(HALF_WIDTH / (0.75 * base), least, most).astype(np.float32)
        if self.free_taps:
            self.taps = self.add_weight(
                "taps",
                (2 * self.bins, self.width_samples),
                initializer=_FixedValues(self._gabor(centres, deviations)),
            )
        else:
            self.centres = self.add_weight(
                "centres",
                (self.bins,),
                initializer=_FixedValues(centres),
                constraint=Between(0.0, 0.5),
            )
            self.deviations = self.add_weight(
                "deviations",
                (self.bins,),
                initializer=_FixedValues(deviations),
                constraint=Between(least, most),
            )
        super().build(input_shape)

    def _gabor(self, centres: tf.Tensor, deviations: tf.Tensor) -> tf.Tensor:
        """Real parts of all filters, then their imaginary parts, shape (2 bins, width)."""
        shape = tf.exp(-0.5 * tf.square(self._time / deviations[:, None]))
        shape /= math.sqrt(2.0 * math.pi) * deviations[:, None]
        angle = 2.0 * math.pi * centres[:, None] * self._time
        return tf.concat([shape * tf.cos(angle), shape * tf.sin(angle)], axis=0)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Filter the waveform, then add the squares of both parts."""
        taps = self.taps if self.free_taps else self._gabor(self.centres, self.deviations)
        real, imaginary = tf.split(self._filtered(inputs, taps), 2, axis=1)
        return tf.square(real) + tf.square(imaginary)  # (batch, bins, samples, 1)


@keras.utils.register_keras_serializable("m3net_tf")
class SincMagnitude(_FilterBank):
    """Magnitude of band-pass filters with learnt edges.

    Ravanelli and Bengio, "Speaker Recognition from Raw Waveform with SincNet", SLT 2018, section
    2: a difference of two low-pass filters with a Hamming window. The lower edge is |a| + 50 Hz
    and the bandwidth |b| + 50 Hz, with learnt a and b; edges are limited to half the sample rate.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the edges: adjacent bands of equal width in mel."""
        least = SINC_MIN_HZ / self.sample_rate_hz
        edges = mel_edges_hz(self.bins - 1, self.min_hz, self.max_hz) / self.sample_rate_hz
        low = np.maximum(edges[:-1] - least, 0.0)
        band = np.maximum(np.diff(edges) - least, 0.0)
        self.low = self.add_weight("low", (self.bins,), initializer=_FixedValues(low))
        self.band = self.add_weight("band", (self.bins,), initializer=_FixedValues(band))
        super().build(input_shape)

    def edges(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Lower and upper edges in cycles per sample, each of shape (bins,)."""
        least = SINC_MIN_HZ / self.sample_rate_hz
        low = tf.minimum(tf.abs(self.low) + least, 0.5)
        return low, tf.minimum(low + tf.abs(self.band) + least, 0.5)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Filter the waveform, then take the magnitude."""
        low, high = (_low_pass(edge, self._time) for edge in self.edges())
        taps = (high - low) * np.hamming(self.width_samples).astype(np.float32)
        return tf.abs(self._filtered(inputs, taps))  # (batch, bins, samples, 1)


def _low_pass(edges: tf.Tensor, time: npt.NDArray[np.float32]) -> tf.Tensor:
    """Taps 2 f sinc(2 f t) of ideal low-pass filters, shape (bins, width)."""
    angle = 2.0 * math.pi * edges[:, None] * time
    safe = tf.where(time == 0, 1.0, angle)
    return 2.0 * edges[:, None] * tf.where(time == 0, 1.0, tf.sin(safe) / safe)


class _FixedValues(keras.initializers.Initializer):  # type: ignore[misc]
    """Initialises weights with given values."""

    def __init__(self, values: npt.ArrayLike) -> None:
        self.values = values

    def __call__(self, shape: tf.TensorShape, dtype: Any = None, **_: Any) -> tf.Tensor:
        return tf.reshape(tf.cast(self.values, dtype or tf.float32), shape)
