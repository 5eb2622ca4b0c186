# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation to full int8: int8 in, int8 out, int8 between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ModelError
from m3net_tf.frontend import dequantize_features
from m3net_tf.frontend.config import FEATURE_SCALE
from m3net_tf.keras import keras, tf
from m3net_tf.native import native_stderr
from m3net_tf.quantization.runtime import tensor_quantization


def choose_calibration(
    labels: npt.NDArray[np.int32], count: int, seed: int
) -> npt.NDArray[np.int64]:
    """Draw clips for calibration, evenly over the classes.

    Args:
        labels: class indices of the training clips, shape (clips,).
        count: how many to draw; all of them if there are fewer.
        seed: seed of the draw.

    Returns:
        Sorted indices into ``labels``, shape (min(count, clips),).
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turn = np.zeros(len(labels), np.int64)  # how many of its class come before a clip
    for label in np.unique(labels):
        mine = shuffled[labels[shuffled] == label]
        turn[mine] = np.arange(mine.size)
    order = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return np.sort(order[:count])


def quantize_int8(model: keras.Model, calibration: npt.NDArray[np.int8]) -> bytes:
    """Convert a network to int8.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).

    Returns:
        The ``.tflite`` file. Its input has exactly the front end's scale, 1/128 with zero
        point 0, so that the device's int8 columns go in as they are.

    Raises:
        ModelError: a layer has no int8 form, or the input's scale did not come out.
    """
    shape = (1, *model.input_shape[1:])
    spec = tf.TensorSpec(shape, tf.float32, name="features")
    # A fixed batch of one: an open one adds shape arithmetic that costs the device operators.
    function = tf.function(lambda features: model(features, training=False), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], model
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converter.representative_dataset = lambda: _samples(calibration)
    try:
        with native_stderr():
            tflite = converter.convert()
    except Exception as error:  # the converter raises bare Exceptions of several kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{model.name} has a layer without int8 form: replace it ({first[:200]})"
        ) from error
    scale, zero_point = tensor_quantization(tflite, "input")
    if scale != FEATURE_SCALE or zero_point != 0:
        raise ModelError(
            f"{model.name}'s int8 input has scale {scale} and zero point {zero_point} instead of "
            f"{FEATURE_SCALE} and 0: let its first layer take the features unchanged"
        )
    return tflite


def _samples(calibration: npt.NDArray[np.int8]) -> Iterator[list[npt.NDArray[np.float32]]]:
    for index, clip in enumerate(calibration):
        sample = dequantize_features(clip)[None]
        if index == 0:  # both ends of the scale: they fix the input's range
            sample.flat[0], sample.flat[1] = -128 * FEATURE_SCALE, 127 * FEATURE_SCALE
        yield [sample]
