# SPDX-License-Identifier: Apache-2.0
"""Learnt filter banks compared with slow and obvious ones."""

import math

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.networks.models.learnable_frontend.compression import (
    ENERGY_FLOOR,
    PCEN,
    LogEnergy,
    exponential_average,
)
from m3net_tf.networks.models.learnable_frontend.filterbank import (
    GaborEnergy,
    SincMagnitude,
    convolve,
    mel_edges_hz,
)
from m3net_tf.networks.models.learnable_frontend.pooling import LowpassPooling
from m3net_tf.system.keras import keras, tf

RATE_HZ = 16_000


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tones(hz: np.ndarray, samples: int = 4000) -> np.ndarray:
    """A tone of amplitude 1 each, shape (tones, 1, samples, 1)."""
    return np.sin(2 * np.pi * hz[:, None] * np.arange(samples) / RATE_HZ).astype(np.float32)[
        :, None, :, None
    ]


def middle(maps: tf.Tensor) -> np.ndarray:
    """Mean over time without the edges: shape (clips, filters)."""
    return maps.numpy()[:, :, 500:-500, 0].mean(2)


@pytest.mark.parametrize(("samples", "width"), [(37, 9), (64, 1), (200, 51), (16, 21)])
class TestConvolve:
    def test_is_the_slow_one(self, samples, width):
        waves = noise(3, samples)
        taps = noise(4, width, seed=1)
        start = width // 2
        slow = [[np.convolve(wave, row)[start : start + samples] for row in taps] for wave in waves]
        np.testing.assert_allclose(convolve(waves, taps), slow, atol=1e-5)

    def test_gradients_are_those_of_a_convolution(self, samples, width):
        waves = tf.constant(noise(3, samples))
        taps = tf.constant(noise(4, width, seed=1))
        weights = noise(3, 4, samples, seed=2)

        def direct(waves: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
            kernel = tf.transpose(taps[:, ::-1])[:, None]  # a correlation: reversed
            return tf.transpose(tf.nn.conv1d(waves[..., None], kernel, 1, "SAME"), (0, 2, 1))

        gradients = []
        for function in (convolve, direct):
            with tf.GradientTape() as tape:
                tape.watch([waves, taps])
                total = tf.reduce_sum(function(waves, taps) * weights)
            gradients.append(tape.gradient(total, [waves, taps]))
        for actual, expected in zip(*gradients, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_mel_edges_are_even_in_mel_and_start_and_end_where_they_should():
    edges = mel_edges_hz(38, 60.0, 7800.0)
    assert len(edges) == 40
    np.testing.assert_allclose(edges[[0, -1]], [60, 7800])
    mel = 2595 * np.log10(1 + edges / 700)
    np.testing.assert_allclose(np.diff(mel), np.diff(mel)[0])


class TestGabor:
    def test_each_filter_answers_to_its_mel_frequency(self):
        edges = mel_edges_hz(20, 60.0, 7800.0)
        answers = middle(GaborEnergy(20)(tones(edges[1:-1])))
        np.testing.assert_array_equal(answers.argmax(1), np.arange(20))
        # Half the amplitude of a real tone is at positive frequencies.
        np.testing.assert_allclose(np.diag(answers)[3:], 0.25, rtol=0.02)

    def test_energy_falls_as_a_mel_filter_does(self):
        """A quarter of the peak where a triangle is a quarter high."""
        edges = mel_edges_hz(20, 60.0, 7800.0)
        low, high = edges[10], edges[12]
        sides = np.array([low + high - 0.75 * (high - low), low + high + 0.75 * (high - low)]) / 2
        centre = edges[11]
        sides += centre - (low + high) / 2
        answers = middle(GaborEnergy(20)(tones(np.array([centre, *sides]))))[:, 10]
        np.testing.assert_allclose(answers[1:] / answers[0], 0.25, rtol=0.03)

    def test_free_taps_start_as_gabor_filters_and_have_a_weight_each(self):
        x = noise(2, 1, 500, 1)
        gabor = GaborEnergy(10, 41)
        free = GaborEnergy(10, 41, free_taps=True)
        np.testing.assert_allclose(free(x), gabor(x), rtol=1e-4, atol=1e-6)
        assert gabor.count_params() == 20
        assert free.count_params() == 2 * 10 * 41

    def test_training_keeps_frequency_and_width_within_the_papers_bounds(self):
        layer = GaborEnergy(4, 41)
        layer.build((None, 1, 500, 1))
        layer.centres.assign([-1.0, 0.1, 0.6, 7.0])
        layer.deviations.assign([0.0, 10.0, 1e3, -5.0])
        weights = layer.trainable_weights
        step = keras.optimizers.SGD(0.0)
        step.apply_gradients([(tf.zeros_like(weight), weight) for weight in weights])
        np.testing.assert_allclose(layer.centres, [0, 0.1, 0.5, 0.5])
        # Width of the spectrum, in cycles a sample, between one cycle in 41 samples and a half.
        half_widths = math.sqrt(2 * math.log(2)) / (math.pi * layer.deviations.numpy())
        np.testing.assert_allclose(half_widths[[0, 2, 3]], [1 / 2, 1 / 41, 1 / 2], rtol=1e-5)


class TestSinc:
    def test_bands_lie_side_by_side_and_hold_their_own_tones_alone(self):
        layer = SincMagnitude(10)
        answers = layer(
            tones((edges := mel_edges_hz(9, 60.0, 7800.0))[:-1] * 0.5 + edges[1:] * 0.5)
        )
        peak = answers.numpy()[:, :, 500:-500, 0].max(2)
        np.testing.assert_allclose(np.diag(peak)[3:], 1.0, rtol=0.03)
        others = peak[5:] * (1 - np.eye(10)[5:])
        assert others[:, 3:].max() < 0.1
        low, high = layer.edges()
        np.testing.assert_allclose(np.stack([low, high], 1)[:, 0] * RATE_HZ, edges[:-1], rtol=1e-4)
        np.testing.assert_allclose(high[2:] * RATE_HZ, edges[3:], rtol=1e-4)

    def test_edges_stay_in_order_whatever_the_weights(self):
        layer = SincMagnitude(5)
        layer.build((None, 1, 500, 1))
        layer.low.assign([-0.3, 0.0, 0.45, 2.0, -9.0])
        layer.band.assign([0.1, 0.0, -0.4, 3.0, -0.1])
        low, high = (edge.numpy() for edge in layer.edges())
        assert (low >= 50 / RATE_HZ - 1e-7).all()
        assert (high >= low).all()
        assert (high <= 0.5).all()
        np.testing.assert_allclose(low[0], 0.3 + 50 / RATE_HZ, rtol=1e-6)


class TestPooling:
    @pytest.mark.parametrize("shape", ["gaussian", "hann_squared"])
    @pytest.mark.parametrize(
        ("samples", "window", "hop"), [(1000, 400, 160), (333, 20, 8), (90, 10, 7), (90, 5, 20)]
    )
    def test_is_the_slow_one(self, shape, samples, window, hop):
        x = noise(2, 3, samples, 1)
        layer = LowpassPooling(window, hop, shape)
        layer.build(x.shape)
        if shape == "gaussian":
            layer.deviations.assign([0.2, 0.4, 0.5])
        frames = 1 + (samples - window) // hop
        taps = np.broadcast_to(layer.taps(), (3, window))
        slow = [(x[:, :, i * hop : i * hop + window, 0] * taps).sum(2) for i in range(frames)]
        np.testing.assert_allclose(layer(x)[..., 0], np.stack(slow, 2), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer(x), tf.function(layer)(x), rtol=1e-4, atol=1e-5)

    def test_as_many_frames_as_a_mel_front_end(self):
        config = FrontendConfig(frame_samples=400, hop_samples=160, fft_samples=512)
        for samples in (400, 559, 560, 16_000, 16_079, 16_080):
            pooled = LowpassPooling()(np.zeros((1, 1, samples, 1), np.float32))
            assert pooled.shape == (1, 1, config.frame_count(samples), 1)

    def test_windows_are_symmetric_and_add_up_to_one(self):
        for shape in ("gaussian", "hann_squared"):
            layer = LowpassPooling(400, 160, shape)
            layer.build((None, 2, 400, 1))
            taps = layer.taps().numpy()
            np.testing.assert_allclose(taps, taps[:, ::-1], rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(taps.sum(1), 1, rtol=0.02)  # a Gaussian's ends are cut
            assert taps.argmax(1)[0] in (199, 200)
        hann = np.hanning(402)[1:-1] ** 2  # sampled between its zeros
        np.testing.assert_allclose(taps[0], hann / hann.sum(), atol=2e-5)


class TestPCEN:
    @pytest.mark.parametrize("frames", [1, 2, 7, 64, 98])
    def test_average_is_the_slow_one(self, frames):
        x = np.abs(noise(2, 3, frames, 1))
        smoothing = np.array([0.0, 0.04, 1.0], np.float32).reshape(3, 1, 1)
        slow = [x[:, :, 0]]
        for frame in range(1, frames):
            slow.append((1 - smoothing[:, 0]) * slow[-1] + smoothing[:, 0] * x[:, :, frame])
        np.testing.assert_allclose(
            exponential_average(x, smoothing), np.stack(slow, 2), rtol=1e-5, atol=1e-6
        )

    def test_is_the_papers_formula(self):
        energy = np.abs(noise(2, 3, 20, 1)) + 0.1
        smooth = exponential_average(energy, np.full((3, 1, 1), 0.1, np.float32)).numpy()
        expected = (energy / smooth**0.8 + 3) ** (1 / 4) - 3 ** (1 / 4)
        layer = PCEN()
        layer.build(energy.shape)
        layer.set_weights([np.full((3, 1, 1), value) for value in (0.8, 0.1, 3.0, 4.0)])
        np.testing.assert_allclose(layer(energy), expected, rtol=1e-4, atol=1e-5)

    def test_silence_and_its_gradients_are_finite(self):
        layer = PCEN()
        x = tf.Variable(
            np.concatenate([np.zeros((1, 2, 9, 1)), np.ones((1, 2, 9, 1))], 2), tf.float32
        )
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(tf.cast(x, tf.float32)))
        gradients = tape.gradient(total, layer.trainable_weights)
        assert len(gradients) == 4
        assert all(np.isfinite(gradient).all() for gradient in gradients)

    def test_training_keeps_the_bounds(self):
        layer = PCEN()
        layer.build((None, 1, 9, 1))
        beyond = {"alpha": 2.0, "smoothing": -1.0, "delta": -1.0, "root": 0.2}
        for weight in layer.trainable_weights:
            weight.assign(tf.fill(weight.shape, beyond[weight.name.split(":")[0]]))
        step = keras.optimizers.SGD(0.0)
        step.apply_gradients([(tf.zeros_like(w), w) for w in layer.trainable_weights])
        trained = {w.name.split(":")[0]: float(w[0, 0, 0]) for w in layer.trainable_weights}
        assert trained == pytest.approx(
            {"alpha": 1.0, "smoothing": 0.0, "delta": 1e-3, "root": 1.0}
        )


def test_log_energy():
    x = np.array([0.0, 1e-7, 1.0], np.float32).reshape(1, 1, 3, 1)
    expected = np.log(x.astype(np.float64) + ENERGY_FLOOR)
    np.testing.assert_allclose(LogEnergy()(x), expected, rtol=1e-5, atol=1e-6)
