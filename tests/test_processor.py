# SPDX-License-Identifier: Apache-2.0
"""The instruction set of a process: its limit, who sets it, and its record."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from m3net_tf.system import processor
from m3net_tf.system.processor import instruction_set, limit_instruction_set, machine, settings
from m3net_tf.training import save_recipe

OLD = ["sse4_1", "avx"]
MIDDLE = [*OLD, "avx2"]
NEW = [*MIDDLE, "avx512vl", "avx512_vnni"]

on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other processors have no limit"
)


@pytest.mark.parametrize(
    ("flags", "limit", "used"),
    [
        (NEW, "", "AVX512_CORE_VNNI"),
        (NEW, "ALL", "AVX512_CORE_VNNI"),
        (NEW, "avx2", "AVX2"),
        (MIDDLE, "AVX512_CORE", "AVX2"),
        (OLD, "AVX2", "AVX"),
        ([], "AVX2", ""),
    ],
)
def test_the_record_is_what_processor_and_limit_allow(flags, limit, used):
    assert instruction_set(flags, limit) == used


@on_x86
def test_users_settings_win(monkeypatch):
    for name in processor.SETTINGS:
        monkeypatch.setenv(name, "")
    limit_instruction_set()
    assert settings() == {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}
    own = {"DNNL_MAX_CPU_ISA": "AVX", "XLA_FLAGS": "--xla_cpu_max_isa=AVX"}
    for name, value in {**own, "ONEDNN_MAX_CPU_ISA": ""}.items():
        monkeypatch.setenv(name, value)
    limit_instruction_set()
    assert settings() == own
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    limit_instruction_set()
    assert settings()["XLA_FLAGS"] == "--xla_dump_to=here --xla_cpu_max_isa=AVX2"


def test_other_architectures_are_recorded_without_a_limit(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")
    limit_instruction_set()
    assert not os.environ["ONEDNN_MAX_CPU_ISA"]
    assert machine()["instruction_set"] == "aarch64"


@pytest.mark.slow
@on_x86
@pytest.mark.parametrize("computed", [False, True])
def test_onednn_computes_with_what_is_recorded(tiny_recipe, tmp_path, computed):
    """A program that has used TensorFlow before a training has its own instruction set."""
    before = "tf.nn.conv2d(tf.ones((1, 9, 9, 8)), tf.ones((3, 3, 8, 8)), 1, 'SAME')"
    save_recipe(tiny_recipe(training={"epochs": 1}), tmp_path / "recipe.yaml")
    code = f"""from pathlib import Path
from m3net_tf.system.keras import tf
from m3net_tf.training import load_recipe, train
{before if computed else ""}
metrics = train(load_recipe(Path("recipe.yaml")), Path("run"))
print("recorded", metrics.values["computers"][0]["instruction_set"])
"""
    unset = {name: "" for name in processor.SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **unset, "TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    flags = Path("/proc/cpuinfo").read_text().split()
    expected = instruction_set(flags, "" if computed else "AVX2")
    assert f"recorded {expected}\n" in done.stdout
    reported = done.stdout.partition("cpu,isa:")[2].partition("\n")[0]
    assert ("AVX-512" in reported) == expected.startswith("AVX512")
    assert reported.startswith("Intel AVX")
