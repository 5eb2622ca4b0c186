# SPDX-License-Identifier: Apache-2.0
"""``python stock_keras.py FOLDER`` converts models of Keras 3 as its manual says.

It is a program of its own because the package runs Keras 2, and a process has one of them.
"""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "0"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

CALIBRATION = 4


def convolutions() -> Any:
    """Dilation in all forms, squeeze and excitation, a dense layer on a sequence, flattening."""
    source = keras.Input((12, 10, 2))
    image = layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same", activation="relu")(source)
    image = layers.DepthwiseConv2D(3, dilation_rate=2)(image)
    gate = layers.Reshape((1, 1, 4))(layers.GlobalAveragePooling2D()(image))
    gate = layers.Dense(4, activation="sigmoid")(layers.Dense(3, activation="relu")(gate))
    sequence = layers.Reshape((8, 24))(layers.Multiply()([image, gate]))
    sequence = layers.Conv1D(5, 3, dilation_rate=2, padding="causal")(sequence)
    sequence = layers.Conv1D(5, 2, dilation_rate=3, padding="same")(sequence)
    sequence = layers.Dense(3, activation="sigmoid")(sequence)
    return keras.Model(source, layers.Dense(3, activation="softmax")(layers.Flatten()(sequence)))


def attention() -> Any:
    """A block of a transformer."""
    source = keras.Input((5, 8))
    sequence = layers.LayerNormalization()(source)
    sequence = layers.MultiHeadAttention(2, 3)(sequence, sequence)
    sequence = middle = layers.Add()([source, sequence])
    sequence = layers.LayerNormalization()(sequence)
    sequence = layers.Dense(8)(layers.Dense(12, activation="relu")(sequence))
    pooled = layers.GlobalAveragePooling1D()(layers.Add()([middle, sequence]))
    return keras.Model(source, layers.Dense(3, activation="softmax")(pooled))


def normalizations() -> Any:
    """NEG and SQUARE, which the converter leaves in float."""
    source = keras.Input((8, 6, 4))
    image = layers.GroupNormalization(2)(layers.Conv2D(4, 3)(source))
    image = layers.LayerNormalization(axis=[1, 2, 3])(layers.Conv2D(4, 2)(image))
    image = layers.RMSNormalization()(layers.Conv2D(4, 2)(image))
    return keras.Model(source, layers.UnitNormalization()(layers.Conv2D(4, 2)(image)))


def activations() -> Any:
    """GELU in both forms, EXP, LOG and ReLU between two numbers."""
    source = keras.Input((8, 6, 4))
    image = source
    for name in ("gelu", "hard_tanh", "selu", "mish"):
        image = layers.Conv2D(4, 2, activation=name)(image)
    return keras.Model(source, keras.activations.gelu(image, approximate=True))


def recurrent() -> Any:
    """Unrolled cells; the converter refuses loops of an unknown batch size."""
    source = keras.Input((4, 3))
    sequence = layers.LSTM(5, unroll=True, return_sequences=True)(source)
    hidden = layers.GRU(4, unroll=True)(sequence)
    return keras.Model(source, layers.Dense(3, activation="softmax")(hidden))


def reset_before() -> Any:
    """SPLIT_V with an empty rest, and splits in float where nothing reads one of the parts."""
    source = keras.Input((4, 3))
    hidden = layers.GRU(4, unroll=True, reset_after=False)(source)
    return keras.Model(source, layers.Dense(3, activation="softmax")(hidden))


#: Models by the name of their file, and the type of their ends.
MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    make.__name__: (make, tf.int8)
    for make in (convolutions, attention, normalizations, activations, recurrent, reset_before)
} | {"wide_convolutions": (convolutions, tf.int16), "wide_reset_before": (reset_before, tf.int16)}


def convert(model: Any, ends: Any) -> bytes:
    """By the settings of the converter's manual."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(CALIBRATION, 1, *model.input_shape[1:])).astype(np.float32)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([clip] for clip in values)
    wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    operators = wide if ends == tf.int16 else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
    converter.target_spec.supported_ops = [operators]
    converter.inference_input_type = converter.inference_output_type = ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        return bytes(converter.convert())


def main(folder: Path) -> None:
    """Write ``NAME.tflite`` for each model; conversion takes a second each."""
    for name, (make, ends) in MODELS.items():
        keras.utils.set_random_seed(1)
        (folder / f"{name}.tflite").write_bytes(convert(make(), ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
