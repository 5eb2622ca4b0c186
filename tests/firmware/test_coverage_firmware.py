# SPDX-License-Identifier: Apache-2.0
"""The tests on the host run nearly all of the portable firmware."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from host_coverage import measure, percent, table

LEAST_PERCENT = 90.0
#: The remaining lines need a board or a message of TFLM, which the host lacks.
LEAST_PERCENT_OF_A_FILE = 40.0


@pytest.mark.long
@pytest.mark.slow
def test_line_coverage_of_the_portable_firmware(tmp_path: Path):
    if shutil.which("gcov") is None:
        pytest.skip("missing: gcov")
    files = measure(tmp_path)
    assert percent(files) >= LEAST_PERCENT, "\n" + table(files)
    assert all(percent([file]) >= LEAST_PERCENT_OF_A_FILE for file in files), "\n" + table(files)
