# SPDX-License-Identifier: Apache-2.0
"""The integer warp compared with the float layer of training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3net_tf.audio.datasets import load_dataset, to_pcm16
from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.networks.layers.diffres.warp import FrameWarp, frames_after, rescale_scores
from m3net_tf.runtime.warp import WarpConfig, warp_int8
from m3net_tf.system.keras import tf

LN_MIN, LN_MAX = -14.0, 5.0
STEP = (LN_MAX - LN_MIN) / 255
# Kinds of int8 scores, as functions of a generator and a number of frames.
KINDS = {
    "random": lambda rng, frames: rng.integers(-128, 128, frames),
    "low": lambda rng, frames: rng.integers(-128, -120, frames),
    "equal": lambda rng, frames: np.full(frames, rng.integers(-127, 128)),
    "none": lambda rng, frames: np.full(frames, -128),
    "one_hot": lambda rng, frames: np.where(
        np.arange(frames) == rng.integers(frames), rng.integers(-127, 128), -128
    ),
    "almost_one_hot": lambda rng, frames: np.where(
        np.arange(frames) == rng.integers(frames), 127, -127
    ),
    "second_half": lambda rng, frames: np.where(
        np.arange(frames) < frames // 2, -128, rng.integers(-127, 128, frames)
    ),
}
MAPS = {
    "noise": lambda rng, shape: rng.integers(-128, 128, shape),
    "quiet": lambda rng, shape: rng.integers(-128, -120, shape),
    "silence": lambda rng, shape: np.full(shape, -128),
    "loud": lambda rng, shape: np.full(shape, 127),
    "clicks": lambda rng, shape: np.where(rng.random(shape) < 0.05, 127, -128),
}


def float_warp(features: np.ndarray, scores: np.ndarray, frames_out: int) -> np.ndarray:
    """The float layer, given the same scores: real features, (clips, bins, frames_out, 3)."""
    layer = FrameWarp(frames_out, feature_min=LN_MIN, feature_max=LN_MAX)
    rated = rescale_scores(tf.constant((scores + 128.0) / 256, tf.float32), frames_out)
    return layer([tf.constant(features / 128.0, tf.float32), rated]).numpy()


def nearest(real: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(128 * real + 0.5), -128, 127)


@settings(max_examples=60, derandomize=True)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    sound=st.sampled_from(sorted(MAPS)),
    frames=st.integers(8, 200),
    reduction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_within_one_step_of_the_float_layer(kind, sound, frames, reduction, seed):
    """An additional step only where a frame ends on a row's border, which single precision misses.

    Up to ``frames`` roundings of its sum then put so much of a frame into the row beside its own,
    and that much of a loud frame is above what else is in a silent row.
    """
    rng = np.random.default_rng(seed)
    frames_out = frames_after(frames, reduction)
    features = MAPS[sound](rng, (1, 4, frames, 1)).astype(np.int8)
    scores = KINDS[kind](rng, frames).astype(np.int8)[None]
    config = WarpConfig(4, frames, frames_out, LN_MIN, LN_MAX)
    whole = warp_int8(config, features, scores).astype(int)
    real = float_warp(features, scores, frames_out)
    assert np.abs(whole[..., 2] - nearest(real[..., 2])).max() <= 1

    power = np.exp((real[..., :2] + 1) * 128 * STEP + LN_MIN)
    loudest = np.exp((int(features.max()) + 128) * STEP + LN_MIN)
    spilt = 1.2e-7 * frames * loudest
    low, high = np.maximum(power - spilt, np.exp(LN_MIN)), power + spilt
    low, high = ((np.log(bound) - LN_MIN) / STEP / 128 - 1 for bound in (low, high))
    assert (whole[..., :2] >= nearest(low) - 1).all()
    assert (whole[..., :2] <= nearest(high) + 1).all()


@pytest.mark.parametrize("score", [-128, -127, 0, 127])
def test_equal_scores_merge_neighbours(score):
    """Half of the frames: each row is the mean power of two, whatever the score."""
    rng = np.random.default_rng(4)
    features = rng.integers(-128, 128, (1, 5, 10, 1)).astype(np.int8)
    config = WarpConfig(5, 10, 5, LN_MIN, LN_MAX)
    merged = warp_int8(config, features, np.full((1, 10), score, np.int8))
    power = np.exp((features[0, :, :, 0] + 128.0) * STEP + LN_MIN)
    mean = (power[:, 0::2] + power[:, 1::2]) / 2
    largest = np.maximum(power[:, 0::2], power[:, 1::2]) / 2
    for channel, expected in enumerate((mean, largest)):
        steps = np.floor((np.log(expected) - LN_MIN) / STEP + 0.5) - 128
        np.testing.assert_array_equal(merged[0, :, :, channel], np.maximum(steps, -128))


def test_one_hot_scores_give_that_frame_and_silence():
    rng = np.random.default_rng(5)
    features = rng.integers(-128, 128, (1, 5, 10, 1)).astype(np.int8)
    scores = np.full((1, 10), -128, np.int8)
    scores[0, 6] = -100
    merged = warp_int8(WarpConfig(5, 10, 4, LN_MIN, LN_MAX), features, scores)
    np.testing.assert_array_equal(merged[0, :, 0, 0], features[0, :, 6, 0])
    np.testing.assert_array_equal(merged[0, :, 0, 1], features[0, :, 6, 0])
    assert (merged[0, :, 1:, :2] == -128).all() and (merged[0, :, 1:, 2] == 0).all()


def test_the_batch_changes_nothing():
    rng = np.random.default_rng(6)
    config = WarpConfig(3, 20, 9, LN_MIN, LN_MAX)
    features = rng.integers(-128, 128, (600, 3, 20, 1)).astype(np.int8)
    scores = rng.integers(-128, 128, (600, 20)).astype(np.int8)
    merged = warp_int8(config, features, scores)
    for clip in (0, 255, 256, 599):
        alone = warp_int8(config, features[clip : clip + 1], scores[clip : clip + 1])
        np.testing.assert_array_equal(merged[clip], alone[0])


def test_on_real_speech(real_data):
    """Scores that follow the loudness: all within one step, nearly all equal."""
    dataset = load_dataset("speech_commands", real_data("speech_commands_v2_mini"))
    config = FrontendConfig()
    clips = dataset.split("test")[::8]
    waves = [to_pcm16(dataset.load(clip)) / 32768.0 for clip in clips]
    features = np.stack([features_int8(config, wave) for wave in waves])[..., None]
    scores = np.clip(2.0 * features.mean((1, 3)) + 100, -128, 127).astype(np.int8)
    frames = features.shape[2]
    frames_out = frames_after(frames, 0.5)
    merged = warp_int8(
        WarpConfig(config.feature_bins, frames, frames_out, LN_MIN, LN_MAX), features, scores
    )
    apart = np.abs(merged - nearest(float_warp(features, scores, frames_out)))
    assert apart.max() <= 1
    assert (apart == 0).mean() >= 0.999
