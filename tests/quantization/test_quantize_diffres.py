# SPDX-License-Identifier: Apache-2.0
"""`m3net quantize` of a network of two parts, DiffRes's, with the warp between them."""

import shutil

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.export import export_run
from m3net_tf.export.manifest import Quantization
from m3net_tf.networks.models import build_model
from m3net_tf.quantization import diffres
from m3net_tf.quantization.comparison import rank_layers
from m3net_tf.quantization.diffres import quantize_parts
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.pipeline import chosen_network, quantize_run
from m3net_tf.quantization.ptq import quantize_except
from m3net_tf.runtime.interpreter import (
    activation_bits,
    run_reference,
    run_tflm,
    tensor_quantization,
    tflm_unavailable_reason,
)
from m3net_tf.runtime.warp import warp_int8
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.tflite.read import read_graph
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import predict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("private_cache")]
METHOD = "ptq+least-error+equalize"
CLASSES = 10


def clips(count: int, seed: int) -> np.ndarray:
    """Int8 maps whose frames differ in loudness, (clips, bins, frames, 1)."""
    rng = np.random.default_rng(seed)
    loudness = rng.normal(-40, 40, (count, 1, 49))
    noise = rng.normal(0, 25, (count, 40, 49))
    return np.clip(loudness + noise, -128, 127).astype(np.int8)[..., None]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """DiffRes in front of a small M3Net, its normalisations fitted to the clips."""
    keras.utils.set_random_seed(5)
    stage = {"filters": 8, "kernel": [5, 5], "strides": [4, 4], "separable": False}
    arguments = {"sfp": [stage], "tail": [{"filters": 8}]}
    classifier = {"name": "m3net", "preset": "s", "arguments": arguments}
    made = build_model(
        "diffres",
        "s",
        input_shape=(40, 49, 1),
        classes=CLASSES,
        overrides={"classifier": classifier},
    )
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(8):
        made(clips(16, seed=1) / np.float32(128), training=True)
    head = made.get_layer("dense")
    head.set_weights([20 * weights for weights in head.get_weights()])
    return made


@pytest.fixture(scope="module")
def quantizer(model) -> Quantizer:
    return Quantizer(model, clips(16, seed=1))


@pytest.fixture(scope="module")
def run(model, tiny_run, private_cache, tmp_path_factory):
    """A quantised run of this network."""
    folder = tmp_path_factory.mktemp("diffres") / "run"
    shutil.copytree(tiny_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "load_model", lambda self: model)
        quantize_run(Run(folder), method=Method.parse(METHOD), ranking_clips=4)
        yield Run(folder)


def test_a_method_goes_over_both_parts(quantizer):
    features = clips(8, seed=2)
    plain, fixed = (quantizer.quantize(Method.parse(name)) for name in ("ptq", METHOD))
    assert plain.changed_layers == ()
    assert {layer[:10] for layer in fixed.changed_layers} >= {"importance", "tail1_dw"}
    for plain_part, fixed_part in zip(plain.network.parts, fixed.network.parts, strict=True):
        assert plain_part != fixed_part
    for network in (plain.network, fixed.network):
        inputs = network.inputs(run_reference, features)
        assert [maps.shape for maps in inputs] == [(8, 40, 49, 1), (8, 40, 24, 3)]
        for part in network.parts:
            assert tensor_quantization(part, "input") == (1 / 128, 0)
            assert tensor_quantization(part, "output") == (1 / 256, -128)


def test_the_classifier_is_calibrated_on_what_the_device_passes_it(model, monkeypatch):
    """Int8 outputs of the first part, merged by the integer warp."""
    seen = {}

    def quantize(part: keras.Model, features: np.ndarray) -> bytes:
        seen[part.name] = features
        return part.name.encode()

    scores = np.random.default_rng(6).integers(-128, 128, (3, 49)).astype(np.int8)
    monkeypatch.setattr(diffres, "tensor_quantization", lambda *_: (1 / 256, -128))
    monkeypatch.setattr(diffres, "run_reference", lambda *_: scores)
    network = quantize_parts(model, clips(3, seed=6), quantize)
    assert network.parts == (b"importance", b"classifier")
    np.testing.assert_array_equal(seen["importance"], clips(3, seed=6))
    merged = warp_int8(network.warp, clips(3, seed=6), scores)
    np.testing.assert_array_equal(seen["classifier"], merged)
    monkeypatch.setattr(diffres, "tensor_quantization", lambda *_: (1 / 128, 0))
    with refuses(ModelError, "sigmoid", "frame-importance"):
        quantize_parts(model, clips(3, seed=6), quantize)


def test_the_float_side_is_the_network_whole(quantizer, model):
    features = clips(8, seed=2)
    floats = quantizer.quantize(Method()).floats
    np.testing.assert_allclose(floats.run(features), predict(model, features), atol=1e-4)


@pytest.mark.skipif(bool(tflm_unavailable_reason()), reason="TFLite Micro is missing")
@pytest.mark.parametrize("name", [METHOD, pytest.param("int16x8", marks=pytest.mark.slow)])
def test_tflite_micro_gives_the_same_bytes(quantizer, model, name):
    features = clips(12, seed=3)
    features[0], features[1] = -128, 127
    network = quantizer.quantize(Method.parse(name)).network
    assert {activation_bits(part) for part in network.parts} == {16 if name == "int16x8" else 8}
    scores = network.run(run_reference, features)
    np.testing.assert_array_equal(network.run(run_tflm, features), scores)
    assert np.abs((scores + 128.0) / 256 - predict(model, features)).mean() < 0.05


def test_the_report_covers_both_parts(run, model):
    report = read_json(run.folder / "quantized" / "report.json")
    assert report["method"] == METHOD
    tensors = [entry["layer"] for entry in report["tensors"]]
    assert "importance/importance1_a_conv" in tensors and tensors[-1] == "classifier/output"
    turn = [layer.startswith("classifier/") for layer in tensors]
    assert turn == sorted(turn) and not turn[0]
    assert all(entry["sqnr_db"] is None or entry["sqnr_db"] > 0 for entry in report["tensors"])
    ranked = {(entry["layer"], entry["operator"]) for entry in report["ranking"]}
    assert ("diffres_warp", "WARP") in ranked
    assert {layer.partition("/")[0] for layer, _ in ranked} == {
        "importance",
        "classifier",
        "diffres_warp",
    }
    files = [run.folder / "quantized" / name for name in ("importance.tflite", "model.tflite")]
    assert report["bytes"] == sum(len(path.read_bytes()) for path in files)
    assert np.sum(report["test"]["confusion"]["float"]) == report["test"]["clips"]


def test_export_takes_both_parts(run, tmp_path):
    chosen = chosen_network(run)
    assert len(chosen.network.parts) == 2 and chosen.network.warp.frames_out == 24
    bundle = export_run(run, None, tmp_path / "export")
    assert bundle.network == chosen.network
    assert bundle.manifest.quantization == Quantization(METHOD, chosen=True)
    lines: list[str] = []
    export_run(run, None, tmp_path / "export", log=lines.append)
    assert lines == [f"{bundle.folder} is already exported"]


@pytest.mark.parametrize("damage", ["other", "missing", "warp"])
def test_a_part_that_does_not_fit_is_refused(run, tmp_path, damage):
    shutil.copytree(run.folder, tmp_path / "run")
    folder = tmp_path / "run" / "quantized"
    if damage == "warp":
        report = read_json(folder / "report.json")
        del report["importance_sha256"]
        write_json(folder / "report.json", report)
    elif damage == "missing":
        (folder / "importance.tflite").unlink()
    else:
        shutil.copy(folder / "model.tflite", folder / "importance.tflite")
    named = (
        "is not a valid report" if damage == "warp" else r"importance\.tflite is not the network of"
    )
    with pytest.raises(ModelError, match=rf"{named}.*: quantise .* again, or delete"):
        chosen_network(Run(tmp_path / "run"))


def test_ranking_asks_what_each_part_alone_costs(quantizer, monkeypatch):
    """If only the warp uses integers, only the warp costs accuracy."""
    from m3net_tf.quantization import comparison

    def nothing(calibrated, name, others):
        every = [op.output.name for op in read_graph(calibrated).operations]
        return quantize_except(calibrated, name, every)

    monkeypatch.setattr(comparison, "quantize_except", nothing)
    quantized = quantizer.quantize(Method())
    costs = rank_layers(quantized, clips(4, seed=4), np.zeros(4, np.int32), "network")
    divergences = {item["layer"]: item["divergence"] for item in costs}
    assert divergences.pop("diffres_warp") > 0
    assert set(divergences.values()) == {0.0}
