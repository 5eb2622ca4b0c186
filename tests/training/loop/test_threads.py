# SPDX-License-Identifier: Apache-2.0
"""Weights depend on the recipe's threads and the instruction set, not on the processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Run, train
from m3net_tf.training.recipe import save_recipe

pytestmark = pytest.mark.usefixtures("private_cache")

#: Trains by a recipe with the cores that it may use.
TRAIN = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, map(int, sys.argv[3:]))
from m3net_tf.training import load_recipe, train
train(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def trained(recipe, folder: Path, cores: set[int], **settings: str) -> Run:
    """A run that was trained in its own process on some of the cores, by an environment."""
    path = folder.with_suffix(".yaml")
    save_recipe(recipe, path)
    words = [sys.executable, "-c", TRAIN, path, folder, *map(str, sorted(cores))]
    subprocess.run(words, check=True, env={**os.environ, **settings})
    return Run(folder)


@pytest.mark.slow
def test_the_number_of_cores_does_not_change_the_weights(tiny_run, tiny_recipe, tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    one = trained(tiny_recipe(), tmp_path / "one", {min(cores)})
    assert one.model_path.read_bytes() == Run(tiny_run).model_path.read_bytes()
    assert one.metrics().values["threads"] == 1

    recipe = tiny_recipe(training={"threads": 2})
    on_one, on_all = (
        trained(recipe, tmp_path / f"two_{len(some)}", some) for some in ({min(cores)}, cores)
    )
    assert on_one.metrics().values["threads"] == 2
    assert on_one.model_path.read_bytes() == on_all.model_path.read_bytes()
    assert on_one.model_path.read_bytes() != one.model_path.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no other sets")
def test_the_instruction_set_changes_the_weights_and_the_processor_does_not(
    tiny_run, tiny_recipe, tmp_path
):
    cores = os.sched_getaffinity(0)
    # As on a processor of 2013: NumPy and OpenBLAS choose their code by the processor, too.
    old = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL", "OPENBLAS_CORETYPE": "Haswell"}
    older = {"ONEDNN_MAX_CPU_ISA": "AVX"}
    same, other = (
        trained(tiny_recipe(), tmp_path / f"run{number}", cores, **settings)
        for number, settings in enumerate(({**old, "M3NET_CACHE": str(tmp_path)}, older))
    )
    weights = Run(tiny_run).model_path.read_bytes()
    assert same.model_path.read_bytes() == weights
    assert other.model_path.read_bytes() != weights
    (computer,) = other.metrics().values["computers"]
    assert computer["instruction_set"] == computer["settings"]["ONEDNN_MAX_CPU_ISA"] == "AVX"


@pytest.mark.slow
def test_another_number_in_a_process_that_has_computed_is_refused(tiny_recipe, tmp_path):
    train(tiny_recipe(training={"epochs": 1}), tmp_path / "first")
    with refuses(ConfigError, "training.threads", "3", "TensorFlow"):
        train(tiny_recipe(training={"threads": 3}), tmp_path / "second")
    assert not (tmp_path / "second/recipe.yaml").exists()
