# SPDX-License-Identifier: Apache-2.0
"""DiffRes's layers compared with the paper's algorithm, its equations and slow loops."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3net_tf.networks.layers.diffres.frame_importance import (
    conv_encoder,
    frame_importance,
    res_conv_1d,
)
from m3net_tf.networks.layers.diffres.released import fill_scores, released_guide_loss
from m3net_tf.networks.layers.diffres.time_pooling import AdaptiveAveragePooling, FrameSampling
from m3net_tf.networks.layers.diffres.warp import (
    FrameScores,
    FrameWarp,
    activeness,
    frames_after,
    guide_loss,
    rescale_scores,
    warp,
    warp_matrix,
    warp_weights,
)
from m3net_tf.networks.models.efficientnet_attention.attention_pooling import (
    AttentionHeads,
    attention_classifier,
)
from m3net_tf.networks.positions import positional_encoding
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system.keras import keras, tf

BINS, FRAMES = 6, 24
# Kinds of scores before rescaling, as functions of a generator and a number of frames.
KINDS = {
    "random": lambda rng, frames: rng.uniform(size=frames),
    "uneven": lambda rng, frames: 10.0 ** rng.uniform(-8, 0, size=frames),
    "equal": lambda rng, frames: np.full(frames, 0.5),
    "one_hot": lambda rng, frames: np.eye(frames)[rng.integers(frames)],
    "almost_one_hot": lambda rng, frames: np.eye(frames)[rng.integers(frames)] + 1e-6,
    "two_hot": lambda rng, frames: np.eye(frames)[rng.integers(frames, size=2)].max(0) + 1e-9,
    "silence": lambda rng, frames: np.zeros(frames),
    "tiny": lambda rng, frames: np.full(frames, 1e-38),
    "half_zero": lambda rng, frames: np.where(np.arange(frames) < frames // 2, 0, 1.0),
}
CASES = {
    "kind": st.sampled_from(sorted(KINDS)),
    "frames": st.integers(8, 3000),
    "reduction": st.floats(0.1, 0.9),
    "seed": st.integers(0, 2**31),
}
PROPERTY = settings(max_examples=60, derandomize=True)


def scores_of(kind: str, frames: int, frames_out: int, seed: int) -> tf.Tensor:
    raw = KINDS[kind](np.random.default_rng(seed), frames)
    return rescale_scores(tf.constant(raw[None], tf.float32), frames_out)


def equation_5(scores: np.ndarray, rows: int) -> np.ndarray:
    """Each frame whole, in the row in which the sum of the scores ends."""
    matrix = np.zeros((rows, scores.size))
    total = 0.0
    for j, score in enumerate(scores):
        total += score
        matrix[min(max(int(np.ceil(total - 1e-9)) - 1, 0), rows - 1), j] = score
    return matrix


def algorithm_1(matrix: np.ndarray, last_column: bool = True) -> np.ndarray:
    """The paper's loop as printed, except that the last column takes part by default."""
    w = matrix.copy()
    rows, columns = w.shape
    i = j = 0
    total = 0.0
    while i < rows - 1 and j < columns - (0 if last_column else 1):
        if w[i, j] > 0:
            total += w[i, j]
            j += 1
        else:
            w[i, j] = 1 - total
            w[i + 1, j] -= w[i, j]
            i += 1
            total = 0.0
    return w


def equations_9_to_12(matrix: np.ndarray) -> np.ndarray:
    """The paper's vectorised form, appendix A.5."""
    p = np.cumsum(1 - matrix.sum(1))[:, None]
    q = np.pad(np.diff(np.sign(matrix), axis=1), [(0, 0), (1, 0)])
    u = p * np.maximum(-q, 0)
    v = np.pad(p[:-1] * np.maximum(q[1:], 0), [(1, 0), (0, 0)])
    return u - v + matrix


def features(clips: int = 2, frames: int = FRAMES, seed: int = 0) -> tf.Tensor:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.uniform(-1, 1, (clips, BINS, frames, 1)), tf.float32)


class TestScores:
    @PROPERTY
    @given(**CASES)
    def test_rescaled_scores_keep_their_bounds(self, kind, frames, reduction, seed):
        frames_out = frames_after(frames, reduction)
        scores = scores_of(kind, frames, frames_out, seed).numpy()[0].astype(np.float64)
        assert (scores >= 0).all()
        assert scores.max() <= 1 + 1e-6
        assert scores.sum() <= frames_out * (1 + 1e-5)
        raw = KINDS[kind](np.random.default_rng(seed), frames)
        if raw.max() > 1e-37:  # proportions stay
            np.testing.assert_allclose(scores / scores.max(), raw / raw.max(), atol=1e-6)

    def test_by_hand(self):
        raw = tf.constant([[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.1, 0.7]])
        expected = [[0.2, 0.4, 0.6, 0.8], [1 / 7, 1 / 7, 1 / 7, 1]]
        np.testing.assert_allclose(rescale_scores(raw, 2), expected, rtol=1e-6)

    @pytest.mark.parametrize(
        ("frames", "reduction", "frames_out"),
        [(1000, 0.9, 100), (98, 0.25, 73), (49, 0.5, 24), (8, 0.9, 1)],
    )
    def test_frames_left(self, frames, reduction, frames_out):
        assert frames_after(frames, reduction) == frames_out


class TestWarpMatrix:
    @PROPERTY
    @given(**{**CASES, "frames": st.integers(8, 120)})
    def test_is_that_of_the_slow_loop(self, kind, frames, reduction, seed):
        frames_out = frames_after(frames, reduction)
        scores = scores_of(kind, frames, frames_out, seed)
        exact = scores.numpy()[0].astype(np.float64)
        # The loop takes a score of exactly 0 for the end of its row: it gets the others.
        some = exact > 0
        slow = np.zeros((frames_out, frames))
        slow[:, some] = algorithm_1(equation_5(exact[some], frames_out))
        # The excess of the scores over t, in single precision, is cut off.
        cut = max(exact.sum() - frames_out, 0)
        np.testing.assert_allclose(warp_matrix(scores, frames_out)[0], slow, atol=2e-6 + cut)

    @pytest.mark.parametrize("kind", ["random", "uneven", "equal"])
    @pytest.mark.parametrize(("frames", "frames_out"), [(40, 20), (101, 75), (60, 7)])
    def test_is_that_of_equations_9_to_12(self, kind, frames, frames_out):
        scores = scores_of(kind, frames, frames_out, seed=5)
        plain = equation_5(scores.numpy()[0].astype(np.float64), frames_out)
        np.testing.assert_allclose(
            warp_matrix(scores, frames_out)[0], equations_9_to_12(plain), atol=1e-5
        )
        np.testing.assert_allclose(
            warp_matrix(scores, frames_out, fill_rows=False)[0], plain, atol=1e-5
        )

    def test_printed_loop_differs_in_the_last_frame_alone(self):
        scores = scores_of("random", 30, 12, seed=1)
        plain = equation_5(scores.numpy()[0].astype(np.float64), 12)
        printed = algorithm_1(plain, last_column=False)
        whole = algorithm_1(plain)
        np.testing.assert_array_equal(printed[:, :-1], whole[:, :-1])
        np.testing.assert_allclose(equations_9_to_12(plain), whole, atol=1e-12)

    def test_by_hand(self):
        scores = tf.constant([[0.6, 0.6, 0.3, 0.9, 0.6]])
        expected = [[0.6, 0.4, 0, 0, 0], [0, 0.2, 0.3, 0.5, 0], [0, 0, 0, 0.4, 0.6]]
        np.testing.assert_allclose(warp_matrix(scores, 3)[0], expected, atol=1e-6)

    @PROPERTY
    @given(**CASES)
    def test_rows_sum_to_one_and_weights_lie_in_a_band(self, kind, frames, reduction, seed):
        frames_out = frames_after(frames, reduction)
        scores = scores_of(kind, frames, frames_out, seed)
        row, here, after = (value.numpy()[0] for value in warp_weights(scores, frames_out))
        assert (here >= 0).all()
        assert (after >= 0).all()
        assert (np.diff(row) >= 0).all()  # monotone
        assert (np.diff(row) <= 1 + (here[:-1] == 0)).all()  # no row is jumped over
        assert row.min() >= 0
        assert row.max() <= frames_out - 1
        assert after[row == frames_out - 1].max(initial=0) == 0
        # Each frame gives out its score, in two neighbouring rows at most.
        exact = scores.numpy()[0].astype(np.float64)
        # In single precision their sum may slightly exceed t; the excess is cut off.
        cut = max(exact.sum() - frames_out, 0)
        assert cut < 1e-6 * frames
        np.testing.assert_allclose(here + after, exact, atol=1e-6 + cut)
        sums = np.bincount(row, here, frames_out) + np.bincount(
            np.minimum(row + 1, frames_out - 1), after, frames_out
        )
        full = int(np.floor(exact.sum() - 1e-3))
        np.testing.assert_allclose(sums[:full], 1, atol=1e-5)  # rows that the scores fill
        np.testing.assert_allclose(sums.sum(), min(exact.sum(), frames_out), rtol=1e-5)
        assert sums.max() <= 1 + 1e-5


class TestWarp:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_the_product_with_the_matrix(self, kind):
        scores = scores_of(kind, 50, 23, seed=3)
        values = tf.random.stateless_uniform((1, 50, 4), (1, 2))
        sums, maxima = warp(values, warp_weights(scores, 23), 23, maxima=3)
        matrix = warp_matrix(scores, 23)
        np.testing.assert_allclose(sums, matrix @ values, rtol=1e-5, atol=1e-6)
        largest = (matrix[0, :, :, None] * values[0, None, :, :3]).numpy().max(1)
        np.testing.assert_allclose(maxima[0], largest, rtol=1e-5, atol=1e-6)

    def test_clips_do_not_mix(self):
        raw = tf.random.stateless_uniform((5, 40), (1, 2))
        values = tf.random.stateless_uniform((5, 40, 3), (3, 4))
        scores = rescale_scores(raw, 16)
        together = warp(values, warp_weights(scores, 16), 16, 3)
        for clip in range(5):
            clip_slice = slice(clip, clip + 1)
            alone = warp(values[clip_slice], warp_weights(scores[clip_slice], 16), 16, 3)
            for a, b in zip(alone, together, strict=True):
                np.testing.assert_allclose(a, b[clip_slice], rtol=1e-6)

    def test_gradient_is_that_of_the_slow_loop(self):
        """Differences of the paper's loop, in double precision."""
        rng = np.random.default_rng(4)
        frames, frames_out = 14, 6
        # Scores whose sums are not close to whole numbers, where the weights have corners.
        scores = rescale_scores(tf.constant(rng.uniform(0.2, 1, (1, frames))), frames_out)
        weights = rng.normal(size=(frames_out, frames))

        def slow(values: np.ndarray) -> float:
            return float((algorithm_1(equation_5(values, frames_out)) * weights).sum())

        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = tf.reduce_sum(warp_matrix(scores, frames_out)[0] * weights)
        gradient = tape.gradient(loss, scores).numpy()[0]
        exact = scores.numpy()[0]
        step = 1e-6
        for j in range(frames):
            down = exact.copy()
            down[j] -= step  # upwards the sum would exceed t
            assert gradient[j] == pytest.approx((slow(exact) - slow(down)) / step, abs=1e-4)

    @settings(max_examples=25, derandomize=True)
    @given(**{**CASES, "frames": st.integers(8, 400)})
    def test_gradients_are_finite(self, kind, frames, reduction, seed):
        frames_out = max(1, int((1 - reduction) * frames))
        raw = tf.constant(KINDS[kind](np.random.default_rng(seed), frames)[None], tf.float32)
        for x in (features(1, frames, seed % 1000), tf.fill((1, BINS, frames, 1), -1.0)):
            scores_layer = FrameScores(1 - frames_out / frames - 1e-9)
            layer = FrameWarp(frames_out)
            with tf.GradientTape() as tape:
                tape.watch([x, raw])
                scores = scores_layer([x, raw])
                out = layer([x, scores])
                loss = tf.reduce_sum(tf.square(out)) + tf.add_n(scores_layer.losses)
            assert np.isfinite(out).all()
            for gradient in tape.gradient(loss, [x, raw]):
                assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("frames", [8, 3000])
    @pytest.mark.parametrize("reduction", [0.1, 0.5, 0.875])
    def test_short_and_long_clips(self, frames, reduction):
        x = features(1, frames)
        frames_out = frames_after(frames, reduction)
        raw = tf.random.stateless_uniform((1, frames), (1, 2))
        out = FrameWarp(frames_out)([x, FrameScores(reduction)([x, raw])])
        assert out.shape == (1, BINS, frames_out, 3)
        assert np.isfinite(out).all()

    def test_scores_of_one_change_nothing(self):
        x = features()
        out = FrameWarp(FRAMES)([x, tf.ones((2, FRAMES))])
        np.testing.assert_allclose(out[..., :1], x, atol=1e-5)
        np.testing.assert_allclose(out[..., 1:2], x, atol=1e-5)
        encoding = np.broadcast_to(positional_encoding(FRAMES, BINS).T, (2, BINS, FRAMES))
        np.testing.assert_allclose(out[..., 2], encoding, atol=1e-6)

    @pytest.mark.parametrize(("log", "low", "high"), [("ln", -14.0, 5.0), ("db", -80.0, 0.0)])
    def test_powers_are_merged_not_their_logarithms(self, log, low, high):
        x = features(1, 4)
        layer = FrameWarp(2, feature_min=low, feature_max=high, log=log)
        out = layer([x, tf.fill((1, 4), 0.5)]).numpy()
        value = low + (128 * x.numpy()[0, ..., 0] + 128) * (high - low) / 255
        power = np.exp(value) if log == "ln" else 10 ** (value / 10)
        pairs = power.reshape(BINS, 2, 2)
        for channel, merged in enumerate((pairs.mean(2), pairs.max(2) / 2)):
            back = np.log(merged) if log == "ln" else 10 * np.log10(merged)
            expected = (back - low) / (high - low) * 255 / 128 - 1
            np.testing.assert_allclose(out[0, ..., channel], np.maximum(expected, -1), atol=1e-4)

    def test_silence_stays_silent(self):
        x = tf.fill((1, BINS, FRAMES, 1), -1.0)
        out = FrameWarp(10)([x, scores_of("random", FRAMES, 10, 0)])
        np.testing.assert_allclose(out[..., :2], -1, atol=1e-5)

    @pytest.mark.parametrize(
        ("left_out", "kept"), [("maximum", [0, 2]), ("encoding", [0, 1]), ("fill_rows", None)]
    )
    def test_ablations(self, left_out, kept):
        x = features()
        scores = scores_of("random", FRAMES, 11, 0)
        scores = tf.tile(scores, (2, 1))
        full = FrameWarp(11)([x, scores]).numpy()
        out = FrameWarp(11, **{left_out: False})([x, scores]).numpy()
        if kept:
            np.testing.assert_array_equal(out, full[..., kept])
        else:
            assert out.shape == full.shape
            assert np.abs(out - full).max() > 0.05

    def test_half_precision_networks_warp_in_single_precision(self):
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            layer = FrameWarp(12)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        x = tf.cast(features(), tf.float16)
        raw = tf.cast(tf.tile(scores_of("random", FRAMES, 12, 0), (2, 1)), tf.float16)
        out = layer([x, raw])
        assert out.dtype == tf.float32
        expected = FrameWarp(12)([tf.cast(x, tf.float32), tf.cast(raw, tf.float32)])
        np.testing.assert_array_equal(out, expected)

    @pytest.mark.slow
    def test_at_least_three_times_as_fast_as_a_loop(self):
        """Forward and backward; the loop is as fast as possible: it visits only a row's frames."""
        clips, frames, frames_out = 2, 300, 150
        x = features(clips, frames)
        scores = rescale_scores(tf.random.stateless_uniform((clips, frames), (1, 2)), frames_out)
        layer = FrameWarp(frames_out, encoding=False)
        fast = tf.function(lambda: with_gradient(lambda s: layer([x, s]), scores))
        outputs, gradient = fast()
        power = tf.transpose(layer.power_of(x[..., 0]), (0, 2, 1))

        def loop(values: tf.Tensor) -> tf.Tensor:
            merged = warp_by_loop(power, values, frames_out)  # (clips, left, BINS, 2)
            return tf.transpose(layer.features_of(merged), (0, 2, 1, 3))

        expected, slow_gradient = with_gradient(loop, scores)
        np.testing.assert_allclose(outputs, expected, atol=1e-4)
        np.testing.assert_allclose(gradient, slow_gradient, rtol=1e-2, atol=1e-2)
        assert best_of(3, fast) * 3 < best_of(1, lambda: with_gradient(loop, scores))


def with_gradient(function, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(scores)
        out = function(scores)
        loss = tf.reduce_sum(tf.square(out))
    return out, tape.gradient(loss, scores)


def warp_by_loop(power: tf.Tensor, scores: tf.Tensor, frames_out: int) -> tf.Tensor:
    """Mean and maximum frame by frame, row by row, in plain Python."""
    clips = []
    for clip in range(power.shape[0]):
        rows: list[list[tf.Tensor]] = [[]]
        room = tf.constant(1.0)
        for j in range(power.shape[1]):
            weight = scores[clip, j]
            frame = power[clip, j]
            if weight >= room and len(rows) < frames_out:
                rows[-1].append(room * frame)
                weight = weight - room
                room = tf.constant(1.0)
                rows.append([])
            rows[-1].append(weight * frame)
            room -= weight
        merged = [tf.stack([tf.add_n(r), tf.reduce_max(tf.stack(r), 0)], -1) for r in rows]
        merged += [tf.zeros_like(merged[0])] * (frames_out - len(merged))
        clips.append(tf.stack(merged))
    return tf.stack(clips)


def best_of(times: int, function) -> float:
    """Seconds of the processor: other programs may keep it busy."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        function()[1].numpy()
        seconds.append(time.process_time() - start)
    return min(seconds)


class TestGuide:
    def test_empty_frames_with_high_scores_are_penalised(self):
        scores = tf.constant([[0.9, 0.1, 0.5, 0.4], [0.9, 0.1, 0.5, 0.4]])
        empty = tf.constant([[True, True, False, False], [False, False, False, False]])
        with tf.GradientTape() as tape:
            tape.watch(scores)
            loss = guide_loss(scores, empty, reduction=0.5, threshold=0.5)
        # By hand: ((0.9 / 0.5 - 0.5) + 0) / 2 empty frames.
        np.testing.assert_allclose(loss, [0.65, 0.0], rtol=1e-6)
        expected = [[1.0, 0, 0, 0], [0, 0, 0, 0]]  # a step down lowers it; full frames do not care
        np.testing.assert_allclose(tape.gradient(loss, scores), expected, rtol=1e-6)

    def test_layer_adds_it_to_the_losses(self):
        x = np.full((1, BINS, FRAMES, 1), -1.0, np.float32)
        x[:, :, : FRAMES // 2] = 0.5  # loud, then silent
        raw = tf.ones((1, FRAMES))
        layer = FrameScores(0.25, guide_weight=3.0, guide_threshold=0.5)
        scores = layer([tf.constant(x), raw])
        np.testing.assert_array_equal(layer.empty(tf.constant(x))[0], np.arange(FRAMES) >= 12)
        np.testing.assert_allclose(scores, 0.75, rtol=1e-6)
        assert float(layer.losses[0]) == pytest.approx(3 * (0.75 / 0.25 - 0.5))
        without = FrameScores(0.25, guide_weight=0.0)
        np.testing.assert_array_equal(without([tf.constant(x), raw]), scores)
        assert not without.losses

    def test_activeness_is_the_spread_of_full_frames(self):
        scores = np.array([[0.9, 0.1, 0.5, 0.4], [0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.3, 0.4]])
        empty = np.array([[True, False, False, False], [False] * 4, [True] * 4])
        rho = activeness(tf.constant(scores), tf.constant(empty), reduction=0.5)
        np.testing.assert_allclose(rho, [np.std([0.1, 0.5, 0.4]) / 0.5, 0, 0], atol=1e-7)


class TestReleased:
    """Where the authors' code differs from the text."""

    @pytest.mark.parametrize("kind", ["random", "uneven", "almost_one_hot", "two_hot", "half_zero"])
    def test_scores_fill_the_rows(self, kind):
        scores = scores_of(kind, 200, 150, 0)
        filled = fill_scores(scores, 150).numpy()[0].astype(float)
        plain = scores.numpy()[0].astype(float)
        inside = [1e-4 < value < 1 - 1e-4 for value in plain]
        room = sum(1 - value for value, raised in zip(plain, inside, strict=True) if raised)
        share = min((150 - plain.sum()) / room, 1.0) if room and 150 - plain.sum() >= 1 else 0.0
        expected = [
            v + (1 - v) * share if raised else v for v, raised in zip(plain, inside, strict=True)
        ]
        np.testing.assert_allclose(filled, expected, atol=1e-5)
        if kind == "random":  # the text's reading leaves rows empty
            assert 0.6 < plain.sum() / 150 < 0.75
            assert filled.sum() == pytest.approx(150, rel=1e-5)

    def test_layers_use_it(self):
        x = features() / 2
        raw = tf.constant(np.random.default_rng(1).uniform(0, 1, (2, FRAMES)), tf.float32)
        layer = FrameScores(0.25, reading="released")
        with tf.GradientTape() as tape:
            tape.watch(raw)
            scores = layer([x, raw])
        np.testing.assert_allclose(scores, fill_scores(rescale_scores(raw, 18), 18))
        assert np.isfinite(tape.gradient(scores, raw)).all()

    def test_guide_loss(self):
        scores = tf.constant([[0.9, 0.1, 0.5, 0.4], [0.2, 0.1, 0.5, 0.4], [0.9, 0.9, 0.9, 0.9]])
        empty = tf.constant([[True, True, False, False], [True, True, False, False], [False] * 4])
        # By hand: the mean of the empty frames, 0.5 and 0.15, against half of 1 - 0.25.
        np.testing.assert_allclose(released_guide_loss(scores, empty, 0.25), [0.5, 0, 0], rtol=1e-6)

    def test_empty_are_the_quietest_frames_of_the_batch(self):
        x = np.full((2, BINS, FRAMES, 1), 0.0, np.float32)
        x[:, :, :3], x[1, :, 3:6] = -0.5, -0.9
        empty = FrameScores(0.25, reading="released").empty(tf.constant(x)).numpy()
        assert not empty[0].any()
        np.testing.assert_array_equal(np.flatnonzero(empty[1]), [3, 4, 5])

    def test_maximum_is_scaled(self):
        pair = [features(1), tf.constant(np.full((1, FRAMES), 0.5), tf.float32)]
        plain = FrameWarp(12)(pair).numpy()
        scaled = FrameWarp(12, maximum_scale=2.0)(pair).numpy()
        np.testing.assert_array_equal(scaled[..., [0, 2]], plain[..., [0, 2]])
        step = 19 / 255 * 128  # ln units of a feature
        np.testing.assert_allclose((scaled - plain)[..., 1] * step, np.log(2), rtol=1e-3)

    def test_order_and_channels_of_the_networks(self):
        inputs = keras.Input((40, 20, 1))
        model = keras.Model(inputs, frame_importance(inputs, reading="released"))
        kinds = [type(layer).__name__ for layer in model.layers][2:8]
        assert kinds[:3] == ["Conv2D", "ReLU", "BatchNormalization"] and "LeakyReLU" not in kinds
        widths = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        assert widths == [40, 40, 20, 20, 10, 10, 10, 10, 1, 1]
        encoder = keras.Model(inputs, conv_encoder(inputs, reading="released"))
        for weight in encoder.weights:
            if "conv" in weight.name:
                weight.assign(tf.zeros_like(weight))
        sounds = tf.random.stateless_normal((1, 40, 20, 1), (1, 2))
        np.testing.assert_allclose(encoder(sounds), sounds, atol=1e-6)  # the skip alone


class TestNetworks:
    @pytest.mark.parametrize("reading", ["paper", "released"])
    def test_parameters(self, reading):
        """Origin: DiffRes, section 3 (82 371) and 3.1 (493 824), for 128 bins."""
        inputs = keras.Input((128, 20, 1))
        for block, expected in ((frame_importance, 82_371), (conv_encoder, 493_824)):
            model = keras.Model(inputs, block(inputs, reading=reading))
            assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == expected

    @pytest.mark.parametrize("bins", [10, 40, 64, 257])
    def test_any_number_of_bins(self, bins):
        inputs = keras.Input((bins, 20, 1))
        assert frame_importance(inputs).shape == (None, 20)
        assert conv_encoder(inputs).shape == (None, bins, 20, 1)

    def test_scores_can_take_any_value(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 200, 1))
        model = keras.Model(inputs, frame_importance(inputs))
        scores = model(tf.random.stateless_normal((4, 16, 200, 1), (1, 2)), training=True)
        assert float(tf.reduce_min(scores)) < 0.2
        assert float(tf.reduce_max(scores)) > 0.8

    def test_padding_keeps_frames_in_place(self):
        inputs = keras.Input((1, 9, 4))
        block = keras.Model(inputs, res_conv_1d(inputs, 4))
        impulse = np.zeros((1, 1, 9, 4), np.float32)
        impulse[0, 0, 4] = 1
        moved = np.abs(block(impulse) - block(0 * impulse)).max(-1)[0, 0]
        np.testing.assert_array_equal(moved > 0, True)  # 4 + 4 frames reach: all 9

    def test_frame_importance_in_int8(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 20, 1))
        model = keras.Model(inputs, frame_importance(inputs))
        rng = np.random.default_rng(0)
        maps = rng.integers(-128, 128, (32, 16, 20, 1)).astype(np.int8)
        for _ in range(3):
            model(maps / np.float32(128), training=True)  # statistics
        tflite = quantize_int8(model, maps)
        scores = run_reference(tflite, maps[:8])
        expected = model(maps[:8] / np.float32(128))
        np.testing.assert_allclose((scores + 128.0) / 256, expected, atol=0.1)
        if reason := tflm_unavailable_reason():
            pytest.skip(reason)
        np.testing.assert_array_equal(run_tflm(tflite, maps[:8]), scores)


class TestPooling:
    @pytest.mark.parametrize(
        ("frames", "frames_out"), [(24, 12), (24, 18), (98, 73), (7, 7), (9, 1)]
    )
    def test_against_loops(self, frames, frames_out):
        x = features(2, frames).numpy()
        pooled = AdaptiveAveragePooling(frames_out)(x).numpy()
        picked = FrameSampling(frames_out)(x).numpy()
        assert pooled.shape == picked.shape == (2, BINS, frames_out, 1)
        for i in range(frames_out):
            first = int(np.floor(i * frames / frames_out))
            end = int(np.ceil((i + 1) * frames / frames_out))
            np.testing.assert_allclose(pooled[:, :, i], x[:, :, first:end].mean(2), atol=1e-6)
            np.testing.assert_array_equal(picked[:, :, i], x[:, :, first])


class TestAttention:
    def test_heads_by_hand(self):
        rng = np.random.default_rng(0)
        attention = rng.uniform(0.1, 1, (2, 1, 5, 6)).astype(np.float32)
        scores = rng.normal(size=(2, 1, 5, 6)).astype(np.float32)
        layer = AttentionHeads(2)
        layer.build([attention.shape, scores.shape])
        np.testing.assert_array_equal(layer.head_weights, [0.5, 0.5])  # equal at first
        layer.head_weights.assign([0.3, 0.7])
        weighed = (attention / attention.sum(2, keepdims=True) * scores).sum(2, keepdims=True)
        expected = 0.3 * weighed[..., :3] + 0.7 * weighed[..., 3:]
        np.testing.assert_allclose(layer([attention, scores]), expected, rtol=1e-4, atol=1e-5)

    def test_nothing_attended_to(self):
        out = AttentionHeads(1)([tf.zeros((1, 1, 5, 3)), tf.ones((1, 1, 5, 3))])
        np.testing.assert_array_equal(out, tf.zeros((1, 1, 1, 3)))

    @pytest.mark.parametrize("multi_label", [False, True])
    def test_probabilities(self, multi_label):
        inputs = keras.Input((3, 5, 8))
        model = keras.Model(inputs, attention_classifier(inputs, 6, 4, multi_label=multi_label))
        assert model.count_params() == 2 * 4 * 9 * 6 + 4
        out = model(tf.random.stateless_normal((7, 3, 5, 8), (1, 2))).numpy()
        assert out.shape == (7, 6)
        assert ((out > 0) & (out < 1)).all()
        assert np.allclose(out.sum(1), 1) != multi_label
