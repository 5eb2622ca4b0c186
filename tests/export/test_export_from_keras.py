# SPDX-License-Identifier: Apache-2.0
"""A Keras network of one's own, with the layers for networks of others, as a ``.tflite``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend import frontend_preset
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.export.from_file import export_file
from m3net_tf.export.from_keras import save_tflite
from m3net_tf.networks.layers import DiffRes, MirrorAttention, classifier
from m3net_tf.runtime import Classifier
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras

pytestmark = pytest.mark.usefixtures("private_cache")

BOARD = "mps2_an386"
CONFIG = frontend_preset("mcu")
LABELS = ("clap", "snap", "other")
SHAPE = (CONFIG.feature_bins, 20, 1)
FEATURES = np.random.default_rng(0).integers(-128, 128, (32, *SHAPE)).astype(np.int8)


def network(first: keras.layers.Layer) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(first(inputs))
    x = MirrorAttention(depthwise_norm=True)(x)
    return keras.Model(inputs, classifier(x, len(LABELS)))


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> tuple[keras.Model, Path]:
    """A network that begins with DiffRes, and its file."""
    model = network(DiffRes(0.5))
    path = tmp_path_factory.mktemp("own") / "own.tflite"
    save_tflite(model, path, FEATURES, frontend=CONFIG, labels=LABELS)
    return model, path


def test_all_engines_have_its_bytes_which_are_near_keras(own):
    model, path = own
    reference = Classifier(path, engine="litert")
    assert reference.labels == LABELS
    scores = reference.run(FEATURES)
    np.testing.assert_array_equal(Classifier(path).run(FEATURES), scores)
    expected = model(FEATURES / np.float32(128), training=False)
    np.testing.assert_allclose((scores + 128.0) / 256, expected, atol=0.03)


def test_its_export_has_both_networks_and_their_c(own, tmp_path):
    _, path = own
    bundle = export_file(path, tmp_path)
    assert bundle.labels == LABELS
    assert len(bundle.compiled) == len(bundle.network.parts) == 2
    np.testing.assert_array_equal(bundle.run_reference(FEATURES), Classifier(path).run(FEATURES))


def test_only_tflite_micro_refuses_an_operator_that_it_lacks(tmp_path):
    model = network(keras.layers.Activation("gelu"))
    path = tmp_path / "own.tflite"
    save_tflite(model, path, FEATURES, frontend=CONFIG, labels=LABELS)
    bundle = export_file(path, tmp_path)
    assert "GELU" in bundle.manifest.operators
    np.testing.assert_array_equal(
        Classifier(path, engine="compiled").run(FEATURES), bundle.run_reference(FEATURES)
    )
    with refuses(ModelError, "GELU", "engine compiled"):
        bundle.set_engine("tflm")
    with refuses(ModelError, "GELU", "engine compiled"):
        export_file(path, tmp_path / "tflm", engine="tflm")


@pytest.mark.slow
def test_a_board_runs_it(own, tmp_path, m3net):
    if reason := why_no_emulation(BOARD):
        pytest.skip(reason)
    status, _, error = m3net("export", own[1], "--out", tmp_path, "--board", BOARD)
    assert not status, error
    certificate = json.loads((tmp_path / "export" / "certificate.json").read_text())
    assert certificate["scope"] == "emulated board" and not certificate["drift"]


@pytest.mark.slow
def test_what_no_device_runs_is_refused_before_a_file_is_written(tmp_path):
    def save(model: keras.Model, **changes: object) -> None:
        settings = {"frontend": CONFIG, "labels": LABELS, **changes}
        calibration = settings.pop("calibration", FEATURES)
        save_tflite(model, tmp_path / "own.tflite", calibration, **settings)

    inputs = keras.Input(SHAPE)
    behind = DiffRes(0.5)(keras.layers.Conv2D(1, 3, padding="same")(inputs))
    with refuses(ConfigError, "before DiffRes"):
        save(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(behind)))
    plain = network(keras.layers.Activation("linear"))
    with refuses(ConfigError, "(clips, 40, 20, 1)"):
        save(plain, calibration=FEATURES[..., 0])
    with refuses(ModelError, "3 classes", "labels"):
        save(plain, labels=LABELS[:2])
    with refuses(ConfigError, "feature_range", "-14.0", "5.0"):
        save(network(DiffRes(0.5, feature_range={"feature_min": -12.0})))
    assert not [*tmp_path.iterdir()]
