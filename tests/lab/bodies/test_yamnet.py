# SPDX-License-Identifier: Apache-2.0
"""The teacher: a file's weights as Keras layers, and narrower copies of it."""

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.lab.bodies.pruning import is_narrower, start_narrower
from m3net_tf.lab.bodies.yamnet import FRONTEND, class_names, read_teacher
from m3net_tf.networks.models import build_model
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime.interpreter import load_interpreter
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras


@pytest.fixture(scope="module")
def maps():
    """Features of noise, as the front end gives them."""
    return np.random.default_rng(0).integers(-128, 128, (6, 64, 96)).astype(np.int8)


def student_of(**design):
    return build_model(
        "mobilenet",
        "sounds_s",
        input_shape=(64, 96, 1),
        classes=len(class_names()),
        overrides=design,
        head="sigmoid",
    )


def test_the_classes_are_audiosets():
    names = class_names()
    assert len(names) == len(set(names)) == 521
    assert names[0] == "Speech" and names[1] == "Child speech, kid speaking"


def test_the_layers_compute_what_the_file_computes(teacher_file, teacher, maps):
    logits = teacher.network().predict_on_batch(maps[..., None] / np.float32(128))[1]
    interpreter = load_interpreter(teacher_file.read_bytes())
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for values, wanted in zip(maps, logits, strict=True):
        logarithms = values.T[None, ..., None] * np.float32(FRONTEND.feature_step)
        interpreter.set_tensor(source["index"], logarithms)
        interpreter.invoke()
        scores = interpreter.get_tensor(target["index"])[0]
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-wanted)), atol=1e-4)


def test_a_copy_of_all_channels_is_the_teacher(teacher, maps):
    student = student_of()
    assert is_narrower(student, teacher)
    start_narrower(student, teacher, maps, 0, str)
    pooled = keras.Model(student.input, student.get_layer("pool").output)
    inputs = maps[..., None] / np.float32(128)
    embedding = teacher.network().predict_on_batch(inputs)[0]
    np.testing.assert_allclose(
        pooled.predict_on_batch(inputs)[:, 0, 0], embedding, rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_fewer_channels_explain_most_of_it(teacher, maps):
    student = student_of(stem=6, channels=(12, 32, 40, 64, 64, 96, 100))
    log: list[str] = []
    start_narrower(student, teacher, maps, 0, log.append)
    shares = [float(line.split(" % ")[0].split()[-1]) for line in log]
    assert len(shares) == 7 and min(shares) > 50


@pytest.mark.parametrize(
    "design",
    [
        {"stem": 10},
        {"strides": (1, 2, 1, 2, 1, 2, 2)},
        {"channels": (16,) * 8, "strides": (1, 2, 1, 2, 1, 2, 1, 1)},
    ],
)
def test_another_design_is_not_a_narrower_copy(teacher, design):
    assert not is_narrower(student_of(**design), teacher)


def test_another_network_is_refused():
    with refuses(ModelError, "model.tflite", "m3net data fetch yamnet"):
        read_teacher(FOLDER / "m3net-s-keywords" / "model.tflite")
