# SPDX-License-Identifier: Apache-2.0
"""A grid of another form ends in one line; a programming error keeps its traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from refusals import refuses

from m3net_tf.lab.studies import grid_file
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.system.errors import ConfigError


@pytest.mark.parametrize("bug", (AttributeError, MemoryError, NameError, RuntimeError, TypeError))
def test_a_bug_in_a_table_keeps_its_traceback(bug, monkeypatch):
    def broken(*arguments: Any) -> None:
        raise bug("a bug")

    monkeypatch.setattr(grid_file, "merge", broken)
    with pytest.raises(bug, match="a bug"):
        load_grid("m3net/table4", "tiny")


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"a": 3}},
        {"axes": {"a": ["x"]}},
        {"axes": {"a": {"x": 3}}},
        {"axes": [1]},
        {"skip": 3},
        {"skip": ["x"]},
        {"exceptions": {"where": 1}},
        {"exceptions": [3]},
        {"exceptions": [{"where": 3, "patch": {}}]},
        {"reference": ["a"]},
        {"base": {"dataset": 3}},
        {"base": {"dataset": {"name": "esc50", "options": 3}}},
        {"base": {"fine_tuning": "x"}},
        {"steps": {"first": 3}},
        {"scales": {"tiny": {"axes": 3}}},
        {"scales": {"tiny": {"only": 3}}},
        {"scales": {"tiny": {"steps": 3}}},
        {"paper_protocol": "x", "base": {"dataset": {"name": ["x"]}}},
    ],
    ids=str,
)
def test_a_table_of_another_form_is_one_line(changes: dict[str, Any], tmp_path: Path):
    grid = {
        **{"title": "t", "paper": "p", "table": 1, "scales": {"tiny": {}}},
        "base": {"dataset": {"name": "synth"}, "model": {"name": "m3net", "preset": "s"}},
        "axes": {"a": {"x": {}}},
    }
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({**grid, **changes}))
    with refuses(ConfigError, path) as caught:
        load_grid(path, "tiny")
    assert "\n" not in str(caught.value)
