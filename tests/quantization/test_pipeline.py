# SPDX-License-Identifier: Apache-2.0
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from quantization_helpers import clips, outputs, separable, unbalance
from refusals import refuses

from m3net_tf.cli import training
from m3net_tf.export import Bundle, export_run
from m3net_tf.export.manifest import Quantization
from m3net_tf.export.ready import has_int8_network
from m3net_tf.networks.models import build_model
from m3net_tf.quantization import comparison, pipeline, repair
from m3net_tf.quantization.comparison import compare_tensors, rank_layers
from m3net_tf.quantization.diffres import FloatNetwork
from m3net_tf.quantization.methods import Method, Quantized, Quantizer
from m3net_tf.quantization.pipeline import chosen_network, quantize_run
from m3net_tf.quantization.ptq import quantize_except
from m3net_tf.quantization.repair import Repair
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import read_json, sha256_of
from m3net_tf.system.errors import ConfigError, DataError, M3NetError, ModelError
from m3net_tf.tflite.read import read_graph
from m3net_tf.training.run import Run

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Run:
    """A trained run, quantised."""
    folder = tmp_path_factory.mktemp("quantized") / "tiny"
    shutil.copytree(tiny_run, folder)
    quantize_run(Run(folder), method=Method.parse("ptq+equalize+bias"), ranking_clips=10)
    return Run(folder)


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Bundle:
    """Its export; do not write into it."""
    return export_run(run, None, tmp_path_factory.mktemp("exports") / "quantized")


@pytest.fixture()
def copy(run, tmp_path) -> Run:
    shutil.copytree(run.folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.mark.slow
def test_the_report(run):
    report = read_json(run.folder / "quantized" / "report.json")
    assert report["method"] == "ptq+equalize+bias"
    assert report["sha256"] == sha256_of((run.folder / "quantized" / "model.tflite").read_bytes())
    for split in ("validation", "test"):
        entry = report[split]
        assert np.sum(entry["confusion"]["float"]) == entry["clips"]
        assert np.trace(entry["confusion"]["quantized"]) == round(
            entry["accuracy"]["quantized"] * entry["clips"]
        )
    layers = [entry["layer"] for entry in report["tensors"]]
    assert layers[0] == "sfp1_dw" and layers[-1] == "output"
    assert all(entry["sqnr_db"] > 10 for entry in report["tensors"])
    assert all(entry["covered_low"] <= entry["covered_high"] for entry in report["tensors"])
    ranked = [(entry["accuracy_points"], entry["divergence"]) for entry in report["ranking"]]
    assert ranked == sorted(ranked, reverse=True)
    assert {"sfp1_dw", "dense", "ma_product"} <= {entry["layer"] for entry in report["ranking"]}
    page = (run.folder / "quantized" / "report.md").read_text()
    assert "| sfp1_dw | DEPTHWISE_CONV_2D |" in page and "## Classes, test" in page
    assert f"How the clips were held out: `{report['dataset']['statement']}`." in page


@pytest.mark.slow
def test_export_takes_it_and_notices_another(copy, bundle):
    chosen = chosen_network(copy)
    assert bundle.network == chosen.network
    assert bundle.manifest.quantization == Quantization("ptq+equalize+bias", chosen=True)
    assert bundle.manifest.to_dict()["calibration"] == chosen.report["calibration"]
    export = shutil.copytree(bundle.folder, copy.folder / "export")
    lines = []
    export_run(copy, None, log=lines.append)
    assert lines == [f"{export} is already exported"]
    assert has_int8_network(copy, copy.folder / "none")
    shutil.rmtree(copy.folder / "quantized")
    assert chosen_network(copy) is None
    assert not has_int8_network(copy, export)
    plain = export_run(copy, None)
    assert plain.manifest.quantization == Quantization("ptq", chosen=False)
    assert plain.tflite != chosen.network.tflite
    assert has_int8_network(copy, plain.folder)


def test_its_export_does_without_the_clips(copy, bundle, tmp_path, monkeypatch):
    def gone(*_: object) -> None:
        raise DataError("the data set is gone")

    monkeypatch.setattr(Run, "dataset", gone)
    lines: list[str] = []
    without = export_run(copy, None, tmp_path / "without", lines.append)
    assert without.manifest == bundle.manifest
    assert "the test vectors are built-in sounds: the data set is gone" in lines
    assert len(read_json(without.folder / "vectors" / "vectors.json")["clips"]) == 16
    with pytest.raises(DataError, match="is gone"):
        export_run(copy, tmp_path, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.keras", lambda b: b + b"x", "was quantised before the run was trained again"),
        ("quantized/model.tflite", lambda b: b[:-1], "is not the network of report.json"),
        ("quantized/report.json", lambda _: b"[]", "is not a valid report"),
    ],
)
def test_a_network_that_does_not_fit_the_run(copy, name, change, message):
    path = copy.folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=rf"{message}: quantise .* again, or delete"):
        chosen_network(copy)


LABELS = np.array([0, 1] * 50, np.int32)
WIDE = "int16x8"


def answers(right: int) -> np.ndarray:
    """Scores of 100 clips of which so many are recognised."""
    picked = np.where(np.arange(100) < right, LABELS, 1 - LABELS)
    return np.where(np.eye(2, dtype=bool)[picked], 100, -100).astype(np.int8)


def repair_network(monkeypatch, right: dict[str, int], bound: float, unlike: bool = False):
    """Repair a network whose float answers are 90 of 100; ``right`` is by method."""
    tried = []

    def quantize(method: Method) -> Quantized:
        tried.append(str(method))
        if str(method) not in right:
            raise ModelError("a layer has no such form")
        return Quantized(Int8Network(str(method).encode()), FloatNetwork((b"",)), ())

    def run(tflite: bytes, features: np.ndarray) -> np.ndarray:
        return answers(right[tflite.decode()])[: len(features)]

    def run_on_device(tflite: bytes, features: np.ndarray) -> np.ndarray:
        return -run(tflite, features) if unlike else run(tflite, features)

    monkeypatch.setattr(repair, "run_reference", run)
    monkeypatch.setattr(repair, "run_tflm", run_on_device)
    monkeypatch.setattr(repair, "tflm_unavailable_reason", lambda: "")
    validation = SimpleNamespace(clean=np.zeros((100, 1), np.int8), labels=LABELS)
    quantizer = SimpleNamespace(quantize=quantize, model=SimpleNamespace(name="network"))
    float_scores = answers(90) / 256 + 0.5
    attempted = Repair(quantizer, validation, float_scores, bound, lambda _: None)
    method = attempted.without_training()
    assert [attempt["method"] for attempt in attempted.attempts] == tried
    return str(method), attempted.attempts


def test_repair_stops_at_the_first_that_holds(monkeypatch):
    right = {"ptq": 80, "ptq+p99.99": 88, "ptq+least-error": 89}
    method, steps = repair_network(monkeypatch, right, 1.0)
    assert method == "ptq+least-error"
    assert [step["outcome"] for step in steps] == ["loses too much"] * 2 + ["within the bound"]
    assert [step["drop_points"] for step in steps] == pytest.approx([10, 2, 1])


def test_repair_takes_the_best_where_none_holds(monkeypatch):
    right = {"ptq": 80, "ptq+p99.99": 86, "ptq+least-error": 86, "int16x8": 85}
    method, steps = repair_network(monkeypatch, right, 1.0)
    assert method == "ptq+p99.99"  # the cheaper of two alike
    assert len(steps) == len(repair.REPAIR_METHODS)
    assert steps[3]["outcome"] == "a layer has no such form"


def test_repair_leaves_out_what_the_device_rounds_otherwise(monkeypatch):
    method, steps = repair_network(monkeypatch, {"ptq": 80, WIDE: 90}, 1.0, unlike=True)
    assert method == "ptq"
    assert steps[-1]["outcome"] == "TFLite Micro rounds a layer otherwise than TFLite"


def test_repair_without_any_form(monkeypatch):
    with pytest.raises(ModelError, match="network: a layer has no such form"):
        repair_network(monkeypatch, {}, 1.0)


def test_either_a_method_or_a_bound(run):
    for options in ({}, {"method": Method(), "bound_points": 1.0}):
        with pytest.raises(ConfigError, match="either a method or the bound of a repair"):
            quantize_run(run, **options)
    with refuses(ConfigError, "bound", "-1", "0", "100"):
        quantize_run(run, bound_points=-1)


def test_networks_that_take_lengths_are_refused(tiny_run, tmp_path, monkeypatch):
    run = Run(tiny_run)

    def with_lengths(self):
        return build_model("spectromasknet", "s", overrides={"lengths": True})

    monkeypatch.setattr(Run, "load_model", with_lengths)
    with refuses(ModelError, "model.arguments.lengths"):
        quantize_run(run, method=Method())
    with refuses(ModelError, "model.arguments.lengths"):
        export_run(run, None, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_command_that_repairs_in_vain(monkeypatch, run):
    report = read_json(run.folder / "quantized" / "report.json")
    report |= {"within_bound": False, "method": "ptq"}
    report["validation"]["drop_points"] = 7.0
    calls = []
    monkeypatch.setattr(
        pipeline, "quantize_run", lambda *a, **k: calls.append((a[2], k["bound_points"])) or report
    )
    with refuses(M3NetError, "0.5 points", "7.00"):
        training.quantize(run.folder, repair=True)
    training.quantize(run.folder, method="int16x8")
    assert calls == [(None, 0.5), (Method(wide=True), None)]


def test_ranking_and_tensors_of_an_unbalanced_network():
    """The ranking finds the layers that lose most; a plain SQNR does not show them."""
    model = separable()
    unbalance(model, "stem_bn", "ds_dw", reach=1000.0)
    quantized = Quantizer(model, clips(32)).quantize(Method())
    costs = rank_layers(quantized, clips(40, seed=4), np.zeros(40, np.int32), "network")
    assert {cost["layer"] for cost in costs[:2]} == {"stem_conv", "ds_dw"}
    tensors = compare_tensors(quantized, clips(20, seed=4))
    worst = min(tensors, key=lambda tensor: tensor["sqnr_db"])
    assert worst["layer"] != "stem_conv"  # its large channels hide the small ones


def test_a_tensor_that_int8_holds_exactly_has_no_ratio():
    sums = comparison._Sums()
    sums.add(np.ones((1, 4), np.float32), np.ones((1, 4), np.float32), -1.0, 0.5, 0.1)
    error = sums.report("layer", "ADD", -1.0, 0.5, 0.1)
    assert error["sqnr_db"] is None and error["max_error"] == 0
    assert error["clipped_share"] == 1


def test_nothing_quantised_costs_nothing():
    calibrated = Quantizer(separable(), clips(32)).quantize(Method()).floats.parts[0]
    every = [op.output.name for op in read_graph(calibrated).operations]
    features = clips(10, seed=4)
    float_outputs = outputs(calibrated, features)
    untouched = quantize_except(calibrated, "network", every)
    np.testing.assert_array_equal(outputs(untouched, features), float_outputs)


@pytest.mark.slow
def test_a_bound_that_the_first_method_keeps(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    lines: list[str] = []
    report = quantize_run(
        Run(tmp_path / "run"), bound_points=100.0, ranking_clips=0, log=lines.append
    )
    assert report["within_bound"] and report["method"] == "ptq"
    drop_points = report["validation"]["drop_points"]
    assert report["tried"][0]["drop_points"] == pytest.approx(drop_points)
    assert f"ptq: {drop_points:.2f} points: within the bound" in lines
    page = (tmp_path / "run" / "quantized" / "report.md").read_text()
    assert "Repair to within 100 points on validation: reached." in page
    assert "## Layers" not in page
    assert read_json(tmp_path / "run" / "quantized" / "report.json") == report
