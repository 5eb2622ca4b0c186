# SPDX-License-Identifier: Apache-2.0
"""Only one process writes into a run folder at a time."""

import os

import pytest

from m3net_tf.system.errors import InUseError
from m3net_tf.system.locks import LOCK_NAME, in_use, locked
from m3net_tf.training import Run, train


def quantize(folder, _):
    from m3net_tf.quantization.methods import Method
    from m3net_tf.quantization.pipeline import quantize_run

    quantize_run(Run(folder), method=Method())


def export(folder, _):
    from m3net_tf.export import export_run

    export_run(Run(folder), None)


def emulate(folder, _):
    from m3net_tf.boards.deployment.chain import run_chain

    run_chain(Run(folder), "mps2_an386")


def fit(folder, _):
    from m3net_tf.boards.deployment.footprint import measure_footprint

    measure_footprint(folder)


def detect(folder, _):
    from m3net_tf.evaluation.live import evaluate_streaming

    evaluate_streaming(Run(folder))


def build(folder, _):
    from m3net_tf.boards.builds.build import build_firmware

    build_firmware(folder / "export", "mps2_an386", folder)


def certify(folder, _):
    from m3net_tf.boards.deployment.certification import certify_export

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
