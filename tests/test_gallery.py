# SPDX-License-Identifier: Apache-2.0
"""The scripts of the gallery run on generated sounds and draw the pictures of the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "gallery").glob("*.py"))
MOST_CPU_S = 30
#: Runs the scripts one after the other; so TensorFlow is imported once.
RUNNER = """
import runpy, sys, time
from pathlib import Path

for script in map(Path, sys.argv[1:]):
    start_s = time.process_time()
    runpy.run_path(str(script))
    print(f"CPU of {script.stem}: {time.process_time() - start_s:.0f} s")
"""


def test_the_page_has_every_script_and_its_picture():
    page = (ROOT / "examples" / "gallery" / "README.md").read_text()
    names = {script.stem for script in SCRIPTS}
    assert len(names) == 5
    assert set(re.findall(r"\((\w+)\.py\)", page)) == names
    assert set(re.findall(r"\(\.\./\.\./docs/gallery/(\w+)\.png\)", page)) == names
    for script in SCRIPTS:
        assert "# %%\n" in script.read_text()


@pytest.mark.long
@pytest.mark.slow
def test_the_scripts_run(tmp_path, session_cache):
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, SCRIPTS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "M3NET_CACHE": str(session_cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cpu_s = dict(re.findall(r"^CPU of (\w+): (\d+) s$", done.stdout, re.MULTILINE))
    for script in SCRIPTS:
        assert int(cpu_s[script.stem]) < MOST_CPU_S, cpu_s
        assert (tmp_path / "build" / "gallery" / f"{script.stem}.png").stat().st_size > 5_000
