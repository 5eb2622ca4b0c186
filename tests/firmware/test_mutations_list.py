# SPDX-License-Identifier: Apache-2.0
"""The list of deliberate breakages fits the tree; ``make mutations`` runs them."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from refusals import refuses

ROOT = Path(__file__).parents[2]
LISTED = runpy.run_path(str(ROOT / "tests" / "mutations.py"))
MUTATIONS = LISTED["MUTATIONS"]


def test_there_are_ten():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 10


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda item: item.name)
def test_it_can_be_applied_and_its_test_exists(mutation, tmp_path: Path):
    target = tmp_path / mutation.file
    target.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutation.file, target)
    before = LISTED["apply"](mutation, tmp_path)
    assert before == (ROOT / mutation.file).read_text() != target.read_text()
    file, _, name = mutation.test.partition("::")
    function = re.sub(r"\[.*", "", name)
    assert f"\ndef {function}(" in (ROOT / file).read_text()


def test_the_documentation_names_each_with_its_test():
    text = (ROOT / "docs" / "design" / "testing.md").read_text()
    for mutation in MUTATIONS:
        row = rf"\| {re.escape(mutation.name)} \|.*`{re.escape(mutation.test.rpartition('::')[2])}`"
        assert re.search(row, text), mutation.name


def test_a_breakage_that_no_longer_fits_is_named(tmp_path: Path):
    mutation = MUTATIONS[0]
    (tmp_path / mutation.file).parent.mkdir(parents=True)
    (tmp_path / mutation.file).write_text("something else\n")
    with refuses(ValueError, mutation.name, "tests/mutations.py"):
        LISTED["apply"](mutation, tmp_path)
