# SPDX-License-Identifier: Apache-2.0
"""The scripts of the gallery run on generated sounds and draw the pictures of the page."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "gallery").glob("*.py"))
MOST_CPU_S = 30


def test_the_page_has_every_script_and_its_picture():
    page = (ROOT / "docs" / "gallery.md").read_text()
    names = {script.stem for script in SCRIPTS}
    assert len(names) == 5
    assert set(re.findall(r"\(\.\./examples/gallery/(\w+)\.py\)", page)) == names
    assert set(re.findall(r"\(gallery/(\w+)\.png\)", page)) == names
    for script in SCRIPTS:
        assert "# %%\n" in script.read_text()


@pytest.mark.slow
def test_the_scripts_run(tmp_path, session_cache):
    for script in SCRIPTS:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "M3NET_CACHE": str(session_cache)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{script.name}\n{done.stderr[-2000:]}"
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        assert cpu_s < MOST_CPU_S, f"{script.name}: {cpu_s:.0f} s"
        assert (tmp_path / "build" / "gallery" / f"{script.stem}.png").stat().st_size > 5_000
