# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation to full int8, including input and output, or 16-bit activations.

Networks map (batch, bins, frames, channels) to (batch, classes). Calibration features are int8, of
training clips, shape (clips, bins, frames, channels).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.quantization.scales import align_scales
from m3net_tf.runtime.interpreter import tensor_quantization
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.keras_internals import only_calibrate
from m3net_tf.system.native import native_stderr


def choose_calibration(
    labels: npt.NDArray[np.int32], count: int, seed: int
) -> npt.NDArray[np.int64]:
    """Draw clips for calibration, evenly over the classes.

    Class indices of the training clips, shape (clips,), to sorted indices into them, shape
    (min(count, clips),).
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    rank = np.zeros(len(labels), np.int64)  # position of a clip within its class
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(members.size)
    order = shuffled[np.argsort(rank[shuffled], kind="stable")]
    return np.sort(order[:count])


def quantize_int8(model: keras.Model, calibration: npt.NDArray[np.int8]) -> bytes:
    """Convert a network to the int8 ``.tflite``.

    Its input has exactly the front end's scale, 1/128 with zero point 0, so the device's int8
    columns need no conversion.

    Raises:
        ModelError: a layer has no int8 form, or the input has another scale.
    """
    converter = _converter(model, lambda: _samples(calibration))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return _checked(_converted(converter.convert, model.name), model.name)


def quantize_int16x8(model: keras.Model, calibration: npt.NDArray[np.int8]) -> bytes:
    """Convert a network to a ``.tflite`` of 16-bit activations and 8-bit weights.

    Its input has exactly the scale 1/32 768, so that its values are int8 features shifted left by 8
    bits.

    Raises:
        ModelError: a layer has no such form, or the input has another scale.
    """
    # The scale is the largest magnitude divided by 32 767: -1 would give 1/32 767.
    largest = np.float32(32767 / 32768)

    def samples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for sample in _samples(calibration):
            yield [np.maximum(sample[0], -largest)]

    converter = _converter(model, samples)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    return _checked(_converted(converter.convert, model.name, bits=16), model.name)


def calibrate(model: keras.Model, calibration: npt.NDArray[np.int8]) -> bytes:
    """Convert a network to a float ``.tflite`` with ranges of tensors, for quantisation only.

    :func:`quantize_calibrated` converts it to the result of :func:`quantize_int8`; before that,
    weights and ranges can be changed.

    Raises:
        ModelError: a layer has no TFLite form.
    """
    converter = _converter(model, lambda: _samples(calibration))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    only_calibrate(converter)
    return _converted(converter.convert, model.name)


def quantize_calibrated(tflite: bytes, name: str) -> bytes:
    """Quantise a graph of :func:`calibrate`.

    Raises:
        ModelError: a layer has no int8 form, or the input has another scale.
    """
    return _checked(_converted(lambda: _quantize(tflite, tf.int8, ()), name), name)


def quantize_except(tflite: bytes, name: str, float_tensors: Sequence[str]) -> bytes:
    """Quantise a graph of :func:`calibrate` except for input, output, and some operators.

    ``float_tensors`` are the names of the tensors that the latter compute.

    Raises:
        ModelError: a layer has no int8 form.
    """
    return _converted(lambda: _quantize(tflite, tf.float32, float_tensors), name)


def _quantize(tflite: bytes, ends: tf.DType, float_tensors: Sequence[str]) -> bytes:
    # TensorFlow's own QuantizationDebugger does the same; setup.cfg pins its minor version.
    from tensorflow.lite.python.convert import mlir_quantize

    quantized: bytes = mlir_quantize(
        tflite,
        fully_quantize=ends == tf.int8,
        input_data_type=ends,
        output_data_type=ends,
        denylisted_nodes=list(float_tensors),
    )
    return quantized


def converter_of(model: keras.Model, shape: tuple[int | None, ...]) -> Any:
    """TensorFlow's converter of a network, with its settings still to be made.

    Its input has a shape (batch, bins, frames, channels), with ``None`` for any batch.
    """
    spec = tf.TensorSpec(shape, tf.float32, name="features")
    function = tf.function(
        lambda features: model(features, training=False), input_signature=[spec], autograph=False
    )
    # Given the network itself, TensorFlow would trace and save each Keras layer on its own: most of
    # a conversion's time, and the same bytes.
    variables = tf.Module()
    variables.of_model = list(model.variables)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], variables
    )


def _converter(
    model: keras.Model, samples: Callable[[], Iterator[list[npt.NDArray[np.float32]]]]
) -> Any:
    # A fixed batch of one: an unknown size would add operators for shape arithmetic.
    converter = converter_of(model, (1, *model.input_shape[1:]))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    return converter


def _converted(convert: Callable[[], bytes], name: str, bits: int = 8) -> bytes:
    try:
        with native_stderr():
            return convert()
    except Exception as error:  # the converter raises bare Exceptions of several kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name} has a layer without int{bits} form: replace it ({reason[:200]})"
        ) from error


def _checked(tflite: bytes, name: str) -> bytes:
    scale, zero_point = tensor_quantization(tflite, "input")
    if scale != FEATURE_SCALE or zero_point != 0:
        raise ModelError(
            f"{name}'s int8 input has scale {scale} and zero point {zero_point} instead of "
            f"{FEATURE_SCALE} and 0: its first layer must use the features unchanged"
        )
    return align_scales(tflite)


def _samples(calibration: npt.NDArray[np.int8]) -> Iterator[list[npt.NDArray[np.float32]]]:
    for index, clip in enumerate(calibration):
        sample = dequantize_features(clip)[None]
        if index == 0:  # both limits of the scale, which fix the input's range
            sample.flat[0], sample.flat[1] = -128 * FEATURE_SCALE, 127 * FEATURE_SCALE
        yield [sample]


def evenly_spaced(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """At most ``count`` rows, evenly spaced from the first to the last."""
    chosen = np.linspace(0, len(values) - 1, min(count, len(values))).astype(int)
    return np.asarray(values[chosen])
