# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` from elsewhere: with recipe and labels it classifies and becomes firmware."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from refusals import refuses

from m3net_tf import Classifier
from m3net_tf.audio.frontend import features, frontend_preset
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.runtime.desktop import run_compiled
from m3net_tf.runtime.interpreter import load_interpreter, run_raw, run_tflm
from m3net_tf.runtime.metadata import network_of
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf

pytestmark = pytest.mark.usefixtures("private_cache")

BOARD = "mps2_an386"


@pytest.fixture
def other(exported, tmp_path) -> Path:
    """The tiny run's network as a stranger would get it."""
    path = tmp_path / "other.tflite"
    path.write_bytes(exported.tflite)
    return path


@pytest.fixture
def names(exported, tmp_path) -> Path:
    """A text file with the network's class names."""
    path = tmp_path / "labels.txt"
    path.write_text("\ufeff" + "\r\n".join(exported.labels) + "\n\n")
    return path


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe with the tiny run's front end, spelt as in YAML by hand."""
    path = tmp_path / "recipe.yaml"
    path.write_text("frontend: {preset: mcu, hop_ms: 20, log_floor: 1e-6}\n")
    return path


def test_it_has_the_scores_of_the_export(exported, vectors, other, names, recipe, tiny_run):
    expected = Classifier(exported.folder).classify(vectors[0][0])
    for given in (recipe, str(tiny_run / "recipe.yaml"), "mcu", exported.frontend):
        for labels in (names, str(names), exported.labels):
            classifier = Classifier(other, recipe=given, labels=labels)
            assert classifier.labels == exported.labels
            assert classifier.metadata.frontend == exported.frontend
            assert classifier.metadata.detector == exported.detector
    np.testing.assert_array_equal(classifier.classify(vectors[0][0]).scores, expected.scores)
    assert classifier.recognizer()


def test_archives_of_other_tools_are_left_out(exported, other, names):
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("labels.txt", "something else")
    assert network_of(other.read_bytes()) == exported.tflite
    assert Classifier(other, recipe="mcu", labels=names).metadata.manifest["model"]["sha256"] == (
        exported.manifest.model.sha256
    )


WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "tf_keras", "librosa")))
from m3net_tf.__main__ import main
sys.argv = ["m3net", "classify", *sys.argv[1:]]
main()
"""


def test_the_command_needs_no_tensorflow(vectors, other, names, recipe, tmp_path, write_wav):
    clip = write_wav(tmp_path / "clip.wav", vectors[0][0])
    words = [clip, "--model", other, "--recipe", recipe, "--labels", names, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = np.array(list(json.loads(done.stdout)["scores"].values()))
    np.testing.assert_array_equal(scores * 256 - 128, vectors[1][0])


# --- the export ----------------------------------------------------------------------------------


def test_its_export_has_front_end_and_labels(exported, other, names, recipe, tmp_path):
    bundle = export_file(other, tmp_path / "run", recipe=recipe, labels=names)
    assert bundle.tflite == exported.tflite and bundle.compiled
    assert bundle.frontend == exported.frontend and bundle.labels == exported.labels
    assert bundle.detector == exported.detector
    assert bundle.manifest.model.name == "other" and bundle.manifest.licence == "unknown"
    assert Classifier(tmp_path / "run").labels == exported.labels
    renamed = export_file(other, tmp_path / "run", recipe=recipe, labels=exported.labels[::-1])
    assert renamed.labels == exported.labels[::-1]
    lines: list[str] = []
    export_file(other, tmp_path / "run", lines.append, recipe="mcu", labels=exported.labels[::-1])
    assert lines == [f"{bundle.folder} is already exported"]


def test_a_run_takes_neither(tiny_run, m3net):
    status, _, error = m3net("export", tiny_run, "--recipe", "mcu")
    assert status == 2 and "is not a file: --recipe and --labels are for a .tflite file" in error


@pytest.mark.parametrize(
    ("name", "writer"), [("stock.keras", "Keras 3.15.1"), ("stock.h5", "Keras in HDF5")]
)
@pytest.mark.parametrize(
    "words",
    [
        "export {}",
        "export {} --recipe mcu --labels x",
        "compile {} --out c",
        "classify x --model {}",
    ],
)
def test_a_network_that_keras_saved_is_called_one(
    words, name, writer, tmp_path, monkeypatch, m3net, classify, capsys
):
    monkeypatch.chdir(tmp_path)
    if name.endswith(".keras"):
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", "{}")
    else:
        Path(name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    command, *rest = words.format(name).split()
    if command == "classify":
        status = classify(*rest)
        error = capsys.readouterr().err
    else:
        status, _, error = m3net(command, *rest)
    assert status == 2 and error.count("\n") == 1
    assert f"{name}: the file is a network of {writer}: convert it to " in error


@pytest.mark.slow
def test_a_board_recognises_with_it(other, names, recipe, tmp_path, m3net):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    words = ["export", other, "--recipe", recipe, "--labels", names, "--out", tmp_path / "run"]
    status, _, error = m3net(*words, "--board", BOARD)
    assert not status, error
    folder = Bundle.load(tmp_path / "run" / "export").folder
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["holds"] and certificate["scope"] == "emulated board"
    assert certificate["labels_equal_share"] == 1.0  # from sound to label


# --- what does not fit ---------------------------------------------------------------------------


def test_what_is_given_must_be_complete(exported, other, names, recipe):
    with refuses(ModelError, "metadata", "recipe", "labels"):
        Classifier(other)
    with refuses(ConfigError, "other.tflite"):
        Classifier(other, recipe=recipe)
    with refuses(ConfigError, "other.tflite"):
        Classifier(other, labels=names)
    with refuses(ConfigError, "metadata", "recipe"):
        Classifier(exported.folder, recipe=recipe, labels=names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is neither a recipe nor a front end: name a YAML file .* or one of mcu, kaldi"),
        ("[a]", "is not a recipe: give it a section frontend"),
        ("a: 1", "is not a recipe: give it a section frontend"),
        ("frontend: 3", r"recipe.yaml: section 'frontend' is 3: give keys and values"),
        ("frontend: {bins: 3}", r"recipe.yaml: unknown key 'bins' in section 'frontend'"),
        ("frontend: {preset: cat}", r"recipe.yaml: front end 'cat' is unknown; choose from mcu"),
    ],
)
def test_a_recipe_without_front_end(text, message, other, names, tmp_path):
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Classifier(other, recipe=path, labels=names)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], "has 10 classes, but labels names 2: give a name for each"),
        (["a", "a"], "labels: class 'a' is named twice"),
        ("absent.txt", r"absent\.txt cannot be read .*: name a text file with a class on each"),
    ],
)
def test_labels_that_do_not_fit(labels, message, other):
    with pytest.raises((ConfigError, ModelError), match=message):
        Classifier(other, recipe="mcu", labels=labels)


def test_a_gap_in_the_labels(other, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("a\n\nb\n")
    with refuses(ConfigError, "labels.txt", "2"):
        Classifier(other, recipe="mcu", labels=path)


def converted(
    path: Path,
    shape: Sequence[int] = (40, 49, 1),
    *,
    low: float = -14.0,
    high: float = 5.0,
    softmax: bool = True,
    quantized: bool = True,
    ends: tf.DType = tf.int8,
) -> Path:
    """A network of three classes, by TFLite's converter with the settings of its manual."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    hidden = keras.layers.Flatten()(inputs)
    activation = "softmax" if softmax else None
    model = keras.Model(inputs, keras.layers.Dense(3, activation=activation)(hidden))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        values = np.linspace(low, high, int(np.prod(shape)), dtype=np.float32)
        converter.representative_dataset = lambda: [[values.reshape(1, *shape)]]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = ends
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own
        path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantized": False}, "takes float32 .* is not int8 inside: convert it"),
        ({"softmax": False}, "so it gives no probabilities: put a softmax at its end"),
        ({"shape": (49, 40, 1)}, r"is 1 x 49 x 40 x 1, .* 1 x 40 x FRAMES x 1 .*Permute\(\(2, 1"),
        ({"shape": (1960,)}, "input is 1 x 1960, .*: give the recipe of its training, or put a"),
        (
            {"high": 3.0},
            "stands for -14 to 3, .* for -14 to 5: in the recipe .*feature_max to 3",
        ),
    ],
)
def test_a_network_that_does_not_fit(options, message, tmp_path):
    path = converted(tmp_path / "other.tflite", **options)
    with pytest.raises(ModelError, match=rf"other\.tflite: the network.*{message}"):
        Classifier(path, recipe="mcu", labels=list("abc"))


def test_features_in_their_own_units(tmp_path):
    """A network that was trained on the front end's values, not on values from -1 to 1."""
    path = converted(tmp_path / "other.tflite", high=3.0)
    with pytest.raises(ModelError) as refused:
        Classifier(path, recipe="mcu", labels=list("abc"))
    ends = re.search(r"feature_min to (\S+) and feature_max to (\S+);", str(refused.value))
    values = {"preset": "mcu", "feature_min": float(ends[1]), "feature_max": float(ends[2])}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"frontend": values}))
    classifier = Classifier(path, recipe=recipe, labels=list("abc"))
    noise = np.random.default_rng(0).normal(0, 0.05, classifier.window_samples)
    pcm = (32768 * noise).astype(np.int16)
    interpreter = load_interpreter(path.read_bytes())
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    real = features(frontend_preset("mcu"), pcm / 32768)
    int8 = np.clip(np.round(real / scale) + zero_point, -128, 127).astype(np.int8)
    scores = run_raw(interpreter, int8[None, ..., None])[0]
    np.testing.assert_allclose(classifier.classify(pcm).scores, (scores + 128.0) / 256, atol=0.02)


@pytest.mark.parametrize("ends", [tf.float32, tf.uint8])
def test_float_and_uint8_ends_become_int8(ends, vectors, tmp_path):
    scores = {}
    for kind in (tf.int8, ends):
        path = converted(tmp_path / f"{kind.name}.tflite", low=-1.0, high=127 / 128, ends=kind)
        classifier = Classifier(path, recipe="mcu", labels=list("abc"))
        scores[kind] = classifier.classify(vectors[0][0]).scores
        assert classifier.metadata.manifest["model"]["input_quantization"] == [1 / 128, 0]
    np.testing.assert_array_equal(scores[ends], scores[tf.int8])
    lines: list[str] = []
    bundle = export_file(path, tmp_path / "run", lines.append, recipe="mcu", labels=list("abc"))
    assert f"input 0 is int8, in the file {ends.name}" in lines[0]
    features = np.random.default_rng(0).integers(-128, 128, (2, 40, 49, 1)).astype(np.int8)
    expected = bundle.run_reference(features)
    np.testing.assert_array_equal(bundle.network.run(run_tflm, features), expected)
    np.testing.assert_array_equal(bundle.network.run(run_compiled, features), expected)
