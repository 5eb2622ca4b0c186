# SPDX-License-Identifier: Apache-2.0
"""A run folder: read by any process, written by one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import m3net_tf
from m3net_tf.networks.models.bilateral.sequence import LeakySum
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import InUseError, ModelError
from m3net_tf.system.keras import keras
from m3net_tf.system.locks import LOCK_NAME, in_use, locked
from m3net_tf.training import Run, train
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run.metrics import RunMetrics

LOAD = "import sys, m3net_tf; print(*(m3net_tf.load(path).name for path in sys.argv[1:]))"


@pytest.mark.slow
def test_layers_of_our_own_are_known_in_a_fresh_process(tmp_path):
    run = Run(tmp_path)
    recipe = {"dataset": {"name": "synth"}, "model": {"name": "bilateral", "preset": "s"}}
    save_recipe(Recipe.from_dict(recipe), run.recipe_path)
    inputs = [keras.layers.Input((1, 8, 2)) for _ in range(2)]
    keras.Model(inputs, LeakySum()(inputs), name="sum_of_two").save(run.model_path)
    write_json(run.metrics_path, {})
    assert run.finished
    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path, run.model_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "sum_of_two sum_of_two", done.stderr


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    for name, problem in (("clip.wav", "cannot be read"), ("none", "does not exist")):
        with pytest.raises(ModelError, match=rf"{name} {problem}.*: give a run folder or its"):
            m3net_tf.load(tmp_path / name)


PATH = Path("runs/mine/metrics.json")
VALUES = {
    "dataset": {"name": "synth", "labels": ["a", "b"], "protocol": "generated-split"},
    "parameters": 12,
    "macs": 34,
    "validation": {"accuracy": 0.5},
    "test": {"accuracy": 0.25},
}


def test_values_and_all_that_is_recorded():
    metrics = RunMetrics.from_dict(VALUES, PATH)
    assert (metrics.parameters, metrics.macs) == (12, 34)
    assert metrics.dataset.labels == ("a", "b") and metrics.dataset.clip_list_sha256 == {}
    assert metrics.test["accuracy"] == 0.25 and metrics.values == VALUES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"metrics\.json: content is \[\].*delete runs/mine"),
        ({**VALUES, "dataset": {"name": "synth"}}, r"metrics\.json: key 'labels' is miss"),
        ({**VALUES, "macs": "many"}, r"metrics\.json: macs is 'many': .*restore it"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(values, message):
    with pytest.raises(ModelError, match=message) as caught:
        RunMetrics.from_dict(values, PATH)
    assert "\n" not in str(caught.value)


def quantize(folder, _):
    from m3net_tf.quantization.methods import Method
    from m3net_tf.quantization.pipeline import quantize_run

    quantize_run(Run(folder), method=Method())


def export(folder, _):
    from m3net_tf.export import export_run

    export_run(Run(folder), None)


def emulate(folder, _):
    from m3net_tf.boards.measure.chain import run_chain

    run_chain(Run(folder), "mps2_an386")


def fit(folder, _):
    from m3net_tf.boards.measure.footprint import measure_footprint

    measure_footprint(folder)


def detect(folder, _):
    from m3net_tf.evaluation.live import evaluate_streaming

    evaluate_streaming(Run(folder))


def build(folder, _):
    from m3net_tf.boards.builds.build import build_firmware

    build_firmware(folder / "export", "mps2_an386", folder)


def certify(folder, _):
    from m3net_tf.boards.measure.certificate import certify_export

    certify_export(None, "mps2_an386", folder)


def listen(folder, _):
    from m3net_tf.boards.device.session import firmware_of

    firmware_of(folder, print)("mps2_an386")


@pytest.mark.parametrize(
    "write",
    [
        lambda folder, make: train(make(), folder),
        quantize,
        export,
        emulate,
        fit,
        detect,
        build,
        certify,
        listen,
    ],
    ids=[
        *("train", "quantize", "export", "emulate", "fit", "detect", "build"),
        *("certify", "listen"),
    ],
)
def test_a_second_writer_is_refused(write, tiny_recipe, tmp_path):
    before = sorted(tmp_path.iterdir())
    with locked(tmp_path / LOCK_NAME, "the run"):
        message = rf"{tmp_path} is in use by process {os.getpid()} \(.*, since .*\); wait for it"
        with pytest.raises(InUseError, match=message):
            write(tmp_path, tiny_recipe)
    assert sorted(tmp_path.iterdir()) == before


def test_a_writer_may_call_another(tiny_run):
    """As in a demonstration, which locks the run from training to emulation."""
    recipe = Run(tiny_run).recipe()
    before = sorted(tiny_run.iterdir())
    with in_use(tiny_run):
        assert train(recipe, tiny_run).test
    assert sorted(tiny_run.iterdir()) == before
