# SPDX-License-Identifier: Apache-2.0
"""A file as teacher: its vectors for clips and stored copies, and what a network learns of them."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.networks.models import build_model
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training import Recipe, Run, train
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.loss.imitation import imitating
from m3net_tf.training.loss.teacher_file import TeacherVectors, teacher_vectors

pytestmark = pytest.mark.usefixtures("private_cache")

SHAPE = (40, 49, 1)
SAMPLES, HOP = 6_000, 3_000
STORED = {"mixup_probability": 0.0, "copies": 1}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.tflite`` from 6,000 samples to two outputs of a layer, behind a ReLU."""
    keras.utils.set_random_seed(4)
    waves = keras.Input((SAMPLES,), batch_size=1)
    maps = keras.layers.Reshape((SAMPLES // 100, 100))(waves)
    dense = keras.layers.Dense(5, name="bands", activation="relu")(maps)
    pooled = keras.layers.GlobalAveragePooling1D(name="pool")(dense)
    scores = keras.layers.Dense(3, name="scores", activation="sigmoid")(pooled)
    network = keras.Model(waves, scores)
    path = tmp_path_factory.mktemp("teacher") / "teacher.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    network.save(path.with_suffix(".keras"))
    return path


def vectors_of(recipe: Recipe, log=lambda _: None) -> TeacherVectors:
    return teacher_vectors(recipe, load_section(recipe.dataset, None), SHAPE, log)


def compressed(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def test_the_vectors_are_means_over_windows_and_stored(tiny_recipe, teacher):
    recipe = tiny_recipe(
        augmentation=STORED, distillation={"teacher": str(teacher), "teacher_output": "pool/Mean"}
    )
    dataset = load_section(recipe.dataset, None)
    network = keras.models.load_model(teacher.with_suffix(".keras"))
    network = keras.Model(network.input, network.get_layer("pool").output)
    lines: list[str] = []
    vectors = vectors_of(recipe, lines.append)
    assert lines[0] == "teacher's vectors of 40 train clips, 1 augmented copy each"
    for number, clip in enumerate(dataset.split("train")[:4]):
        wave = dataset.load(clip)
        starts = np.linspace(0, 10_000, 5).astype(int)  # at most 3,000 apart
        windows = [wave[None, start : start + SAMPLES] for start in starts]
        expected = np.mean([compressed(network(each).numpy()[0]) for each in windows], axis=0)
        np.testing.assert_allclose(vectors.rows[0, number][0], expected, atol=1e-5)
    assert vectors.rows.shape == (2, 40, 1, 5)
    assert not np.array_equal(vectors.rows[0], vectors.rows[1])
    standardised = vectors.of(np.zeros(40, int), np.arange(40))
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-4)
    spread = standardised.std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1, atol=1e-4)

    lines.clear()
    other = dataclasses.replace(recipe.frontend, mel_bins=24)  # the waveforms are the same
    again = vectors_of(dataclasses.replace(recipe, frontend=other), lines.append)
    assert lines == []
    np.testing.assert_array_equal(again.rows, vectors.rows)


def test_a_keras_file_may_take_the_maps_of_the_student(tiny_recipe, tiny_run):
    path = Run(tiny_run).model_path
    recipe = tiny_recipe(
        augmentation=STORED, distillation={"teacher": str(path), "teacher_output": "logits"}
    )
    network = Run(tiny_run).load_model()
    network = keras.Model(network.input, network.get_layer("logits").output)
    maps = compute_features(load_section(recipe.dataset, None), "train", recipe.frontend).clean
    expected = compressed(network.predict_on_batch(dequantize_features(maps)))
    vectors = vectors_of(recipe)
    np.testing.assert_allclose(vectors.rows[0][:, 0], expected, atol=1e-5)


def test_an_int8_file_gets_and_gives_real_values(tiny_recipe, exported_run):
    path = exported_run / "export" / "model.tflite"
    recipe = tiny_recipe(augmentation=STORED, distillation={"teacher": str(path)})
    rows = vectors_of(recipe).rows
    network = Run(exported_run).load_model()
    maps = compute_features(load_section(recipe.dataset, None), "train", recipe.frontend).clean
    expected = compressed(network.predict_on_batch(dequantize_features(maps)))
    np.testing.assert_allclose(rows[0][:, 0], expected, atol=0.1)


@pytest.mark.parametrize("mixed_precision", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_trained_network_has_no_part_of_the_imitation(
    tiny_recipe, teacher, tmp_path, mixed_precision
):
    recipe = tiny_recipe(
        augmentation=STORED,
        distillation={"teacher": str(teacher), "weight": 0.5},
        training={"mixed_precision": mixed_precision},
    )
    metrics = train(recipe, tmp_path / "run")
    assert metrics.values["teacher"] == {
        "file": "teacher.tflite",
        "sha256": hashlib.sha256(teacher.read_bytes()).hexdigest(),
        "output": "",
        "values": 3,
    }
    network = Run(tmp_path / "run").load_model()
    plain = build_model("m3net", "mcu", classes=10, overrides=recipe.model.arguments)
    assert network.output_shape == (None, 10)
    assert [w.shape for w in network.weights] == [w.shape for w in plain.weights]


@pytest.mark.slow
def test_without_labels_the_classifier_is_not_trained(tiny_recipe, teacher, tmp_path):
    recipe = tiny_recipe(
        augmentation=STORED,
        distillation={"teacher": str(teacher), "weight": 1.0},
        training={"keep": "last", "weight_average": 0.0, "epochs": 4},
    )
    train(recipe, tmp_path / "run")
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    losses = [float(line.split(",")[1]) for line in history[1:]]
    assert losses[-1] < losses[0]
    keras.utils.set_random_seed(recipe.training.seed)
    start = build_model("m3net", "mcu", classes=10, overrides=recipe.model.arguments)
    end = Run(tmp_path / "run").load_model()
    before, after = (network.get_weights() for network in (start, end))
    assert [np.array_equal(*pair) for pair in zip(before[-2:], after[-2:], strict=True)] == [1, 1]
    assert not np.array_equal(before[0], after[0])


@pytest.mark.slow
def test_a_training_resumes(tiny_recipe, teacher, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(history, ended):
        if len(history) == 1:
            raise StoppedError

    recipe = tiny_recipe(augmentation=STORED, distillation={"teacher": str(teacher)})
    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "stopped", after_epoch=stop)
    train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "whole")
    one, two = (Run(tmp_path / name).load_model().get_weights() for name in ("stopped", "whole"))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher_output": "pol"}, ("teacher_output is 'pol'", "pool/Mean")),
        ({"teacher_sample_rate_hz": 8_000}, ("at 8000 Hz", "delivers 16000 Hz")),
    ],
)
def test_a_teacher_that_does_not_fit(tiny_recipe, teacher, change, words):
    recipe = tiny_recipe(augmentation=STORED, distillation={"teacher": str(teacher), **change})
    with refuses(ModelError, str(teacher), *words):
        vectors_of(recipe)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"text", ("neither a .tflite nor a .keras",)), (b"\0\0\0\0TFL3 damaged", ("cannot be run",))],
)
def test_a_file_that_is_no_network(tiny_recipe, tmp_path, content, words):
    path = tmp_path / "teacher.bin"
    path.write_bytes(content)
    recipe = tiny_recipe(augmentation=STORED, distillation={"teacher": str(path)})
    with refuses(ModelError, str(path), *words):
        vectors_of(recipe)


def test_maps_of_another_front_end(tiny_recipe, tiny_run):
    path = Run(tiny_run).model_path
    recipe = tiny_recipe(
        augmentation=STORED, distillation={"teacher": str(path)}, frontend={"mel_bins": 24}
    )
    with refuses(ModelError, str(path), "(40, 49, 1)", "(24, 49, 1)"):
        teacher_vectors(recipe, load_section(recipe.dataset, None), (24, 49, 1), lambda _: None)


@pytest.mark.parametrize(
    "key", ["fresh", "mixup_probability", "between_class_probability", "cutmix_probability"]
)
def test_what_changes_a_sound_later_is_refused(tiny_recipe, key):
    values = {"mixup_probability": 0.0, "copies": 0, key: True if key == "fresh" else 0.5}
    with refuses(ConfigError, f"augmentation.{key} is", "distillation.teacher"):
        tiny_recipe(augmentation=values, distillation={"teacher": "a.tflite"})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"run": "a", "teacher": "b"}, "name one"),
        ({"teacher_output": "a"}, "name distillation.teacher"),
        ({"teacher": "b", "weight": 1.0}, "training.keep to last"),
    ],
)
def test_keys_that_do_not_fit_together(tiny_recipe, section, words):
    with refuses(ConfigError, "distillation", words):
        tiny_recipe(augmentation=STORED, distillation=section)


def test_a_missing_file_is_named_before_anything_is_computed(tiny_recipe, tmp_path):
    path = tmp_path / "yamnet.tflite"
    recipe = tiny_recipe(augmentation=STORED, distillation={"teacher": str(path)})
    with refuses(ConfigError, str(path), "is not a file"):
        train(recipe, tmp_path / "run")


def test_a_network_without_a_vector_before_its_classes():
    inputs = keras.Input((4, 6, 1))
    outputs = keras.layers.Flatten()(keras.layers.Conv2D(3, (4, 1))(inputs))
    with refuses(ConfigError, "before the classes", "maps"):
        imitating(keras.Model(inputs, outputs, name="maps"), 8)


def test_recipes_without_a_teacher_keep_their_hashes(tiny_recipe):
    assert "teacher" not in tiny_recipe().hashed_values()["distillation"]
    changed = tiny_recipe(augmentation=STORED, distillation={"teacher": "a.tflite"})
    assert changed.hashed_values()["distillation"]["teacher"] == "a.tflite"
