# SPDX-License-Identifier: Apache-2.0
"""What is missing is named with the command that installs it."""

import json
import os
import shutil
import sys

import pytest
from typer.testing import CliRunner

from m3net_tf.cli import app, installation


@pytest.fixture
def offline(monkeypatch):
    """No repository and no package index is asked."""
    monkeypatch.setattr(installation, "why_package_unavailable", lambda package: None)
    monkeypatch.setattr(installation, "why_sources_unavailable", lambda: "nobody answers")


def by_subject():
    return {check.subject: check for check in installation.run_checks()}


def test_missing_things_have_a_fix(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and real(path, mode))
    checks = by_subject()
    assert checks["packages [train]"].fix.endswith("[train]'")
    assert "gcc-arm-none-eabi" in checks["tools for firmware (cortex_m)"].fix
    assert checks["tools for firmware (cortex_m)"].state == "missing"
    assert checks["tools for firmware (riscv)"].state == "optional"
    assert checks["qemu-system-arm"].fix == "apt-get install qemu-system-arm"
    assert checks["speech"].fix == "apt-get install espeak-ng"
    assert checks["sources of TFLM"].detail == "nobody answers"
    assert checks["sources of TFLM"].state == checks["renode"].state == "optional"
    assert "not writable" in checks["cache"].detail
    assert all(check.fix for check in checks.values() if check.state != "ok")


def test_a_full_disk(offline, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert by_subject()["current folder"].fix == "free 2 GB"


def test_status_and_json_agree(offline, monkeypatch):
    checks = [installation.Check("Python", "ok", "3")]
    monkeypatch.setattr(installation, "run_checks", lambda: checks)
    assert CliRunner().invoke(app, ["doctor"]).stdout == "ok        Python: 3\n"
    checks.append(installation.Check("cc", "missing", "cc", "apt-get install gcc"))
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    assert [entry["state"] for entry in json.loads(done.stdout)] == ["ok", "missing"]
