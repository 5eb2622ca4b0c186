# SPDX-License-Identifier: Apache-2.0
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from quantization_helpers import clips, separable
from refusals import refuses

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.cli import training
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.networks.models.bilateral.sequence import UnrolledBiLSTM
from m3net_tf.quantization import repair
from m3net_tf.quantization.methods import Method, Quantized, Quantizer
from m3net_tf.quantization.observation import watch
from m3net_tf.quantization.qat import LEFT_OUT, SIMULATED, ChannelQuantizer, simulate_int8
from m3net_tf.quantization.repair import Repair, first_expensive_layer
from m3net_tf.quantization.wrapping import copy_wrapped, plain_copy
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.tflite.read import read_graph
from m3net_tf.training import save_recipe
from m3net_tf.training.recipe.sections import DistillationSection
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import predict

pytestmark = pytest.mark.usefixtures("private_cache")
CALIBRATION = clips(32)
HELD_OUT = clips(24, seed=9)
NETWORKS = ("m3net", "spectromasknet", "bilateral", "diffres")


@pytest.mark.parametrize(
    "presets",
    [("s",), pytest.param(("mcu", "small", "m", "l", "paper"), marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_each_layer_is_simulated_or_left_out_with_a_reason(network, presets):
    known_presets = presets_of(network)
    for preset in presets:
        if preset in known_presets:
            for layer in build_model(network, preset).layers:
                assert (type(layer) in SIMULATED) != (type(layer) in LEFT_OUT), layer.name
    assert not SIMULATED.keys() & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())


@pytest.fixture(scope="module")
def quantized() -> tuple[keras.Model, Quantized]:
    model = separable()
    return model, Quantizer(model, CALIBRATION).quantize(Method())


def rounded(kernel: tf.Variable, axes: int) -> np.ndarray:
    quantizer = ChannelQuantizer(axes)
    layer = keras.layers.Layer()
    weights = quantizer.build(kernel.shape, "kernel", layer)
    return quantizer(kernel, True, weights).numpy()


@pytest.mark.parametrize(
    ("name", "attribute", "axes"), [("stem_conv", "kernel", 1), ("ds_dw", "depthwise_kernel", 2)]
)
def test_weights_are_rounded_as_the_converter_rounds_the_folded_ones(
    quantized, name, attribute, axes
):
    kernel = getattr(quantized[0].get_layer(name), attribute)
    graph = read_graph(quantized[1].network.tflite)
    weights = next(op.constant(1) for op in graph.operations if graph.keras_layer(op) == name)
    channels = weights.shape[-1] if axes == 2 else weights.shape[0]
    converted = np.moveaxis(weights, 0, -1) if axes == 1 else weights
    converted = converted.reshape(-1, channels).astype(float)
    simulated = rounded(kernel, axes).reshape(-1, channels)
    simulated = simulated / np.abs(simulated).max(0) * np.abs(converted).max(0)
    # Folding is in single precision: a weight between two steps may go either way.
    assert np.abs(simulated - converted).max() < 1.01
    assert (np.abs(simulated - converted) < 0.01).mean() > 0.98


def test_a_simulated_network_computes_what_int8_computes(quantized):
    """Weights and two tensors are rounded up to the layer that is compared."""
    model = quantized[0]
    tflite = quantized[1].network.tflite
    graph = read_graph(tflite)
    tensor = next(op.output.index for op in graph.operations if graph.keras_layer(op) == "ds_pw")
    int8 = np.concatenate([values[tensor] for values in watch(tflite, HELD_OUT, [tensor])])
    simulated = simulate_int8(model, CALIBRATION).model
    simulated(tf.constant(dequantize_features(CALIBRATION)), training=True)  # ranges of weights

    def error(network: keras.Model, layer: str) -> float:
        inner = keras.Model(network.input, network.get_layer(layer).output)
        return float(np.abs(predict(inner, HELD_OUT) - int8).mean())

    assert error(simulated, "quant_ds_relu") < 0.3 * error(model, "ds_relu")


def test_stripped_untrained_it_is_what_it_was():
    model = separable()
    wrapped = simulate_int8(model, CALIBRATION)
    wrapped.model(tf.constant(dequantize_features(CALIBRATION)), training=True)
    stripped = wrapped.strip()
    assert [layer.name for layer in stripped.layers] == [layer.name for layer in model.layers]
    for weights, original in zip(stripped.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, original)


def test_what_is_trained():
    """Never normalisations, nor layers before the first named one."""
    model = separable()
    count = len([layer for layer in model.layers if layer.weights])
    assert count == 7
    assert len(simulate_int8(model, CALIBRATION).model.trainable_variables) == 2 * 4
    later = simulate_int8(model, CALIBRATION, "ds_pw").model.trainable_variables
    assert len(later) == 2 * 2
    with refuses(ConfigError, "'ds_px'"):
        simulate_int8(model, CALIBRATION, "ds_px")


def test_a_layer_that_is_in_neither_table():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, keras.layers.GaussianNoise(0.1, name="noise")(inputs), name="odd")
    with refuses(ConfigError, "GaussianNoise"):
        simulate_int8(model, np.zeros((1, 4, 4, 1), np.int8))


def test_a_recurrent_layer_keeps_its_weights_and_learns():
    """Its kernels are in a list, which the wrapper replaces by rounded ones."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((1, 3, 4))
    x = UnrolledBiLSTM(2, name="lstm")(inputs)
    x = keras.layers.Conv2D(3, (1, 3), name="dense")(x)
    outputs_ = keras.layers.Softmax(name="probabilities")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, outputs_, name="recurrent")
    features = np.random.default_rng(0).integers(-128, 128, (8, 1, 3, 4)).astype(np.int8)
    wrapped = simulate_int8(model, features)
    maps = tf.constant(dequantize_features(features))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(wrapped.model(maps, training=True)[:, 0])
    weights = wrapped.model.trainable_variables
    assert len(weights) == 6 + 2
    gradients = tape.gradient(loss, weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert np.abs(gradient.numpy()).max() > 0, weight.name
        weight.assign(weight + 0.1 * gradient)
    stripped = wrapped.strip().get_layer("lstm")
    before = model.get_layer("lstm").get_weights()
    assert [array.shape for array in stripped.get_weights()] == [array.shape for array in before]
    assert all(
        (trained != original).any()
        for trained, original in zip(stripped.get_weights(), before, strict=True)
    )


def test_copies_have_weights_of_their_own():
    model = separable()
    copy, weights = copy_wrapped(model, lambda layer: layer)
    weights["dense"][0].assign(tf.zeros_like(weights["dense"][0]))
    assert np.abs(model.get_layer("dense").kernel.numpy()).max() > 0
    plain = plain_copy(model, weights)
    np.testing.assert_array_equal(predict(plain, HELD_OUT), predict(copy, HELD_OUT))


def test_where_a_repair_by_training_begins():
    model = separable()
    assert (
        first_expensive_layer(["output", "dense", "ds_pw", "ds_dw", "stem_conv"], model) == "ds_dw"
    )
    assert first_expensive_layer(["stem_conv", "dense"], model) is None
    assert first_expensive_layer(["output", "classifier/ds_pw"], model) == "ds_pw"


def test_a_run_that_learnt_no_labels_needs_another_teacher(tiny_run, tmp_path):
    folder = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    recipe = Run(folder).recipe()
    changed = dataclasses.replace(
        recipe,
        augmentation=dataclasses.replace(recipe.augmentation, mixup_probability=0.0),
        training=dataclasses.replace(recipe.training, keep="last"),
        distillation=DistillationSection(teacher="a.tflite", weight=1.0),
    )
    save_recipe(changed, folder / "recipe.yaml")
    with refuses(ConfigError, "distillation.teacher", "--teacher"):
        training.quantize(folder, method="qat", ranking_clips=0)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Run:
    """A run that m3net quantize pruned and rounded, with itself as its teacher."""
    folder = tmp_path_factory.mktemp("qat") / "tiny"
    shutil.copytree(tiny_run, folder)
    training.quantize(
        folder,
        method="qat+prune50",
        epochs=1,
        teacher=folder,
        first_layer="dfp_cb_pw",
        ranking_clips=0,
    )
    return Run(folder)


@pytest.mark.slow
def test_a_run_is_pruned_then_rounded(run):
    report = read_json(run.folder / "quantized" / "report.json")
    assert report["method"] == "qat+prune50"
    prune, qat = report["fine_tuning"]
    assert (prune["kind"], prune["percent"]) == ("prune", 50)
    assert (qat["kind"], qat["first_layer"]) == ("qat", "dfp_cb_pw")
    for entry in report["fine_tuning"]:
        assert (entry["epochs"], entry["teacher"]) == (1, str(run.folder))
        assert np.isfinite(entry["loss"])
    layers = {entry["layer"]: entry for entry in report["compression"]["layers"]}
    assert layers["mfp_align_pw"]["zero_share"] >= 0.5
    assert report["compression"]["gzip_bytes"] < report["bytes"]
    # It is compared with the run's network, not with the trained copy.
    float_accuracy = read_json(run.metrics_path)["validation"]["accuracy"]
    assert report["validation"]["accuracy"]["float"] == pytest.approx(float_accuracy)
    page = (run.folder / "quantized" / "report.md").read_text()
    assert "## Weights in int8" in page and "after gzip" in page
    assert "Trained until 50 % of the weights of convolutions are 0: 1 epoch, rate" in page
    assert "Trained with int8's rounding, from layer dfp_cb_pw on: 1 epoch" in page


@pytest.mark.slow
def test_repair_trains_where_nothing_else_holds(run, monkeypatch):
    """From the most expensive layers on first, then all; the best of all tries is taken."""
    trained: list[str | None] = []
    drops = iter([2.0, 1.0])
    monkeypatch.setattr(repair, "rank_layers", lambda *_: [{"layer": "ds_pw"}])
    monkeypatch.setattr(
        Repair,
        "_attempt",
        lambda *arguments: {
            "method": "qat",
            "drop_points": next(drops),
            "outcome": "loses too much",
        },
    )
    model = separable()
    made = type("Made", (), {"model": model})
    quantizer = type(
        "Q", (), {"model": model, "calibration": CALIBRATION, "quantize": lambda *_: None}
    )()
    validation = type("V", (), {"clean": HELD_OUT, "labels": np.zeros(24, np.int32)})
    tried = [{"method": "ptq", "drop_points": 3.0}, {"method": "int16x8", "drop_points": None}]

    def train(method, first_layer):
        trained.append(first_layer)
        return made

    attempted = Repair(quantizer, validation, np.zeros((24, 4)), 0.5, lambda _: None)
    attempted.attempts = tried
    assert attempted.by_training(Method(), train) == (Method(qat=True), made)
    assert trained == ["ds_pw", None]
    assert [attempt["drop_points"] for attempt in tried] == [3.0, None, 2.0, 1.0]
