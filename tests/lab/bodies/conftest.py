# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of bodies: a small teacher with YAMNet's kinds of layers, and sounds."""

import numpy as np
import pytest
import soundfile

from m3net_tf.lab.bodies.yamnet import class_names, read_teacher
from m3net_tf.networks.models import presets_of
from m3net_tf.system.keras import keras, tf

DESIGN = presets_of("mobilenet")["sounds_s"].arguments


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """A file like YAMNet's, over (frames, bins), as wide as the smallest body; random weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((96, 64, 1), batch_size=1)
    bias = {"bias_initializer": "random_uniform"}  # the converter drops biases of 0
    relu = {"padding": "same", "activation": "relu", **bias}
    x = keras.layers.Conv2D(DESIGN["stem"], 3, 2, **relu)(inputs)
    for channels, stride in zip(DESIGN["channels"], DESIGN["strides"], strict=True):
        x = keras.layers.DepthwiseConv2D(3, stride, **relu)(x)
        x = keras.layers.Conv2D(channels, 1, **relu)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(len(class_names()), activation="sigmoid", **bias)(x)
    path = tmp_path_factory.mktemp("teacher") / "teacher.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, x))
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="session")
def teacher(teacher_file):
    """That file, read."""
    return read_teacher(teacher_file)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """A folder with four sources of tones and noise, at two rates, and a broken file."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("birds", "cars", "rain", "voices"), 1):
        (folder / name / "deep").mkdir(parents=True)
        time_s = np.arange(3 * 22_050) / 22_050
        tone = 0.3 * np.sin(2 * np.pi * 300 * number * time_s)
        soundfile.write(folder / name / "deep" / "tone.wav", tone, 22_050)
        noise = 0.1 * rng.standard_normal(16_000 // number)
        soundfile.write(folder / name / "noise.flac", noise, 16_000)
    (folder / "rain" / "broken.ogg").write_bytes(b"OggS of nothing")
    return folder
