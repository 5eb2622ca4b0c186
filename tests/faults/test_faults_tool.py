# SPDX-License-Identifier: Apache-2.0
"""The tool of ``make faults`` works: one case of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).with_name("faults.py")


@pytest.mark.long
@pytest.mark.slow
def test_a_case_of_a_seed(tmp_path):
    log = tmp_path / "log.json"
    command = [sys.executable, TOOL, "--seed", "1", "--case", "0", "--log", log]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "needs root or user namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    (case,) = json.loads(log.read_text())["cases"]
    assert (case["case"], case["failure"]) == (0, "")
