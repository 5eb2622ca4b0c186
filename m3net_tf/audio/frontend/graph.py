# SPDX-License-Identifier: Apache-2.0
"""The front end in TensorFlow (float32), for use inside ``tf.data``."""

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import microfrontend, reference
from m3net_tf.audio.frontend.config import FEATURE_SCALE, MU, FrontendConfig
from m3net_tf.system.keras import tf

_BLOCK_FRAMES = 48  # a multiple of the blocks of AVX2 (24) and AVX-512 (48)


def batch_features(
    config: FrontendConfig, audio: npt.NDArray[np.float32], dtype: str = "int8"
) -> npt.NDArray[np.int8] | npt.NDArray[np.float32]:
    """Features of a batch, compiled: half the time, and no clip depends on another.

    Args:
        audio: waveforms in [-1, 1), shape (batch, samples).
        dtype: ``int8`` for :func:`features_int8`, ``float32`` for :func:`features_float`.

    Returns:
        Features, shape (batch, feature_bins, frames).
    """
    return np.asarray(_compiled(config, dtype)(audio, np.float32(config.feature_step)))


@functools.lru_cache(maxsize=16)
def _compiled(config: FrontendConfig, dtype: str) -> tf.types.experimental.PolymorphicFunction:
    # The step is an argument because the graph optimiser turns a division by a constant into a
    # multiplication, which rounds one value in a million differently. Clips are computed one by
    # one because TensorFlow rounds a sum by the shape of its operands.
    def compute(audio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        def one_clip(clip: tf.Tensor) -> tf.Tensor:
            return features_of(dtype)(config, clip[None], step)[0]

        return tf.map_fn(one_clip, audio, fn_output_signature=dtype)

    signature = [tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((), tf.float32)]
    return tf.function(compute, input_signature=signature, autograph=False)


def features_of(dtype: str) -> Callable[..., tf.Tensor]:
    """:func:`features_int8` or :func:`features_float`, by the type of their result."""
    return {"int8": features_int8, "float32": features_float}[dtype]


def features_int8(
    config: FrontendConfig, audio: tf.Tensor, step: tf.Tensor | float | None = None
) -> tf.Tensor:
    """Convert waveforms to int8 features; eager and traced results are equal.

    Args:
        audio: waveforms in [-1, 1), float32, shape (..., samples).
        step: the config's ``feature_step`` as a tensor, if it must not become a constant.

    Returns:
        int8 features, shape (..., feature_bins, frames).
    """
    steps = tf.floor(_steps(config, audio, step) + 0.5)
    return tf.cast(tf.clip_by_value(steps, -128.0, 127.0), tf.int8)


def features_float(
    config: FrontendConfig, audio: tf.Tensor, step: tf.Tensor | None = None
) -> tf.Tensor:
    """The network's input without rounding: waveforms to float32 features in [-1, 1].

    Args and shapes as :func:`features_int8`, whose result divided by 128 differs by rounding.
    """
    return tf.clip_by_value(_steps(config, audio, step) * FEATURE_SCALE, -1.0, 1.0)


def _steps(config: FrontendConfig, audio: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
    """Features in int8 steps, neither rounded nor limited."""
    audio = tf.convert_to_tensor(audio, tf.float32)
    if config.level_db is not None:
        mean_square = tf.reduce_mean(tf.square(audio), axis=-1, keepdims=True)
        audio *= 10.0 ** (config.level_db / 20.0) * tf.where(
            mean_square > 0, tf.math.rsqrt(tf.maximum(mean_square, 1e-37)), 1.0
        )
    step = config.feature_step if step is None else step
    if config.kind == "waveform":
        if config.log == "mu":
            audio = tf.sign(audio) * tf.math.log1p(MU * tf.abs(audio)) / np.log1p(MU)
        return ((audio - config.feature_min) / step - 128.0)[..., None, :]
    if config.kind == "microfrontend":
        return (_microfrontend(config, audio) - config.feature_min) / step - 128.0
    taper = reference.window(config)
    if config.centred:
        half = config.fft_samples // 2
        audio = tf.pad(audio, [[0, 0]] * (audio.shape.rank - 1) + [[half, half]])
        before = (config.fft_samples - config.frame_samples) // 2
        taper = np.pad(taper, (before, config.fft_samples - config.frame_samples - before))
    frames = tf.signal.frame(audio, taper.size, config.hop_samples)  # (..., frames, samples)
    if config.remove_mean:
        frames -= tf.reduce_mean(frames, axis=-1, keepdims=True)
    if config.preemphasis:
        frames -= config.preemphasis * tf.concat([frames[..., :1], frames[..., :-1]], axis=-1)
    spectrum = tf.signal.rfft(frames * tf.constant(taper, tf.float32), [config.fft_samples])
    features = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    if config.power == 1:
        features = tf.sqrt(features)
    if config.kind == "mel":
        features = _transform_frames(features, reference.mel_filterbank(config))
    if config.log != "none":
        features = tf.math.log(tf.maximum(features + config.log_offset, config.log_floor))
        if config.log == "db":
            features *= 10.0 / np.log(10.0)
    if config.clip_range_db:
        loudest = tf.reduce_max(features, axis=[-2, -1], keepdims=True)
        features = tf.maximum(features - loudest, -config.clip_range_db)
    if config.mfcc_coefficients:
        features = _transform_frames(features, reference.dct_matrix(config))
    steps = (features - config.feature_min) / step - 128.0
    return tf.linalg.matrix_transpose(steps)  # (..., feature_bins, frames)


def _microfrontend(config: FrontendConfig, audio: tf.Tensor) -> tf.Tensor:
    """Features of waveforms (..., samples), shape (..., feature_bins, frames)."""

    def compute(waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.stack([microfrontend.features(wave) for wave in waves]).astype(np.float32)

    waves = tf.reshape(audio, [-1, tf.shape(audio)[-1]])
    features = tf.numpy_function(compute, [waves], tf.float32)
    features.set_shape((None, config.feature_bins, None))
    return tf.reshape(features, tf.concat([tf.shape(audio)[:-1], tf.shape(features)[1:]], 0))


def _transform_frames(frames: tf.Tensor, matrix: npt.NDArray[np.float64]) -> tf.Tensor:
    """Multiply a matrix (outputs, inputs) by each frame: (..., frames, inputs) to outputs.

    TensorFlow multiplies blocks of frames, and rounds an incomplete block differently. Padding to
    whole blocks rounds all frames alike.
    """
    count = tf.shape(frames)[-2]
    padding = [[0, 0]] * (frames.shape.rank - 2) + [[0, -count % _BLOCK_FRAMES], [0, 0]]
    padded = tf.pad(frames, padding)
    return tf.linalg.matmul(padded, tf.constant(matrix.T, tf.float32))[..., :count, :]
