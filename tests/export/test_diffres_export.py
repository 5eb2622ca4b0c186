# SPDX-License-Identifier: Apache-2.0
"""The export of a network with DiffRes: two networks, the warp between them, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from m3net_tf.boards.device.messages import Message, Reply
from m3net_tf.boards.measure.layers import Operator, operators_in_order, profile
from m3net_tf.export import Bundle, export_run
from m3net_tf.export.c_files import arena_bytes, compile_model, tflm_arena
from m3net_tf.export.operators import operators_of
from m3net_tf.export.reference import read_vectors
from m3net_tf.networks.models import build_model
from m3net_tf.quantization.diffres import warp_of
from m3net_tf.runtime.interpreter import host_arena_bytes, run_tflm, tflm_unavailable_reason
from m3net_tf.runtime.warp import WarpConfig, warp_int8
from m3net_tf.system.errors import ModelError
from m3net_tf.training import Run, train
from m3net_tf.training.scoring.evaluation import predict

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("private_cache")]

CLASSIFIER = {
    "name": "m3net",
    "preset": "s",
    "arguments": {
        "sfp": [{"filters": 8, "kernel": [5, 5], "strides": [4, 4], "separable": False}],
        "tail": [{"filters": 8}],
    },
}


@pytest.fixture(scope="module")
def diffres_run(private_cache, tiny_recipe, tmp_path_factory) -> Path:
    """A run of two epochs; do not write into it."""
    folder = tmp_path_factory.mktemp("diffres") / "run"
    model = {"name": "diffres", "preset": "s", "arguments": {"classifier": CLASSIFIER}}
    train(tiny_recipe(model=model), folder)
    return folder


@pytest.fixture(scope="module")
def exported(diffres_run, tmp_path_factory) -> Bundle:
    """Its export; do not write into it."""
    return export_run(Run(diffres_run), None, tmp_path_factory.mktemp("exports") / "diffres")


def test_it_holds_both_networks_and_the_warp(exported):
    manifest = exported.manifest.to_dict()
    names = {path.name for path in exported.folder.iterdir()}
    assert {"model.tflite", "importance.tflite", "warp_config.h", "warp_tables.c"} < names
    network = exported.network
    assert network.parts == (network.importance, exported.tflite)
    assert manifest["importance"]["bytes"] == len(network.importance)
    assert network.warp == WarpConfig(40, 49, 24, -14.0, 5.0)
    assert manifest["model"]["input_shape"] == [40, 49, 1]
    united = set(operators_of(network.importance)) | set(operators_of(network.tflite))
    assert manifest["operators"] == sorted(united)
    assert {"LEAKY_RELU", "REVERSE_V2"} < united
    assert manifest["arena"]["bytes"] == arena_bytes(compile_model(exported.c_model))
    if not tflm_unavailable_reason():
        assert tflm_arena(network).bytes == sum(map(host_arena_bytes, network.parts))


def test_vectors_are_what_the_chain_makes(exported, diffres_run):
    stored = read_vectors(exported)
    np.testing.assert_array_equal(exported.run_reference(stored.features), stored.scores)
    real = predict(Run(diffres_run).load_model(), stored.features)
    np.testing.assert_allclose((stored.scores + 128.0) / 256, real, atol=0.1)
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(exported.network.run(run_tflm, stored.features), stored.scores)


def test_the_warp_counts_as_an_operator_in_a_profile(exported):
    first, second = map(operators_in_order, exported.network.parts)
    names = [
        *(operator.name for operator in first),
        "WARP",
        *(operator.name for operator in second),
    ]
    lines = [Message("layer", f"{i} op={name} cost={i}") for i, name in enumerate(names)]
    reply = Reply(Message("ok", "profile total=9 unit=cycles"), lines)
    board = SimpleNamespace(
        request=lambda *_, **__: reply, info=lambda: SimpleNamespace(board="fast_one")
    )
    profiled = profile(board, *exported.network.parts)
    steps = [*first, Operator("WARP", (1, 40, 24, 3), 0), *second]
    rows = profiled["layers"]
    assert [(row["operator"], row["layer"], row["macs"]) for row in rows] == [
        (step.name, step.layer, step.macs) for step in steps
    ]
    assert [tuple(row["output"]) for row in rows] == [step.output for step in steps]


def test_a_measured_arena_keeps_both_networks(exported, tmp_path):
    copy = shutil.copytree(exported.folder, tmp_path / "copy")
    before = (copy / "model.cc").read_bytes()
    Bundle.load(copy).set_arena(23_456, "mps2_an386")
    assert (copy / "model.cc").read_bytes() == before
    assert "#define M3NET_MODEL_ARENA_BYTES 23456\n" in (copy / "model.h").read_text()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("importance.tflite", None, r"copy lacks importance\.tflite: export again"),
        ("warp_tables.c", None, r"copy lacks warp_tables\.c: export again"),
        ("importance.tflite", b"another", r"importance\.tflite is not the network of manifest"),
    ],
)
def test_a_damaged_export_is_refused(name, data, message, exported, tmp_path):
    copy = shutil.copytree(exported.folder, tmp_path / "copy")
    (copy / name).unlink() if data is None else (copy / name).write_bytes(data)
    with pytest.raises(ModelError, match=message):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("ablation", "value", "device"),
    [
        ("fill_rows", False, "true"),
        ("maximum", False, "true"),
        ("encoding", False, "true"),
        ("reading", "released", "paper"),
    ],
)
def test_ablations_are_refused(ablation, value, device):
    model = build_model(
        "diffres",
        "s",
        input_shape=(40, 49, 1),
        overrides={"classifier": CLASSIFIER, ablation: value},
    )
    message = (
        f"{ablation}: {str(value).lower()}, which devices lack: train with {ablation}: {device}"
    )
    with pytest.raises(ModelError, match=message):
        warp_of(model)


def test_a_warp_follows_the_layers_own_range():
    overrides = {
        "classifier": CLASSIFIER,
        "feature_range": {"feature_min": -60.0, "feature_max": 20.0, "log": "db"},
    }
    warp = warp_of(build_model("diffres", "s", overrides=overrides))
    assert warp.ln_min == pytest.approx(-6 * np.log(10))
    assert warp.ln_max == pytest.approx(2 * np.log(10))
    silence = np.full((1, 40, 49, 1), -128, np.int8)
    merged = warp_int8(warp, silence, np.zeros((1, 49), np.int8))
    assert (merged[..., :2] == -128).all()
