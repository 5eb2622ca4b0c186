# SPDX-License-Identifier: Apache-2.0
"""clang-tidy's checks of ``make lint``: a bug is found, and each check left out has its reason."""

import re

import pytest
from tidy import DSP, ROOT, check, find_tool


def test_a_bug_is_found(tmp_path, capsys):
    if not find_tool():
        pytest.skip("missing: clang-tidy")
    clean = tmp_path / "clean.c"
    bug = tmp_path / "bug.c"
    clean.write_text("int next(int a) { return a + 1; }\n")
    bug.write_text("int next(int a) { int b; return a + b; }\n")
    assert check(find_tool(), clean, DSP, tmp_path)
    assert not check(find_tool(), bug, DSP, tmp_path)
    assert "bug.c:1" in capsys.readouterr().err


def test_each_check_that_is_left_out_has_its_reason():
    text = (ROOT / ".clang-tidy").read_text()
    reasons = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    left_out = re.findall(r"^  -([\w.-]+\w)", text, re.MULTILINE)
    assert left_out and [name for name in left_out if name not in reasons] == []
