# SPDX-License-Identifier: Apache-2.0
"""Names given by the user: valid names of classes, and file names that are not UTF-8."""

from __future__ import annotations

import os

import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset, statistics
from m3net_tf.audio.datasets.clips import is_label
from m3net_tf.audio.datasets.files import read_table
from m3net_tf.system.errors import DataError

GOOD = ["on, off", "[bold]x", '"q" \\', "a|b", "\u0635\u0648\u062a", "\u0646\u06cc\u200c\u0645"]
BAD = ["on\noff", "bell\x07", "\x1b[2J", "a\u2028b", os.fsdecode(b"caf\xe9")]


@pytest.mark.parametrize("name", BAD)
def test_a_class_has_a_name_of_one_line(tmp_path, write_wav, name):
    """A line break would shift labels.txt and the lines of the boards."""
    for label in ("fine", "other"):
        for index in range(5):
            write_wav(tmp_path / label / f"{index}.wav", 100 + index)
    (tmp_path / "other").rename(tmp_path / name)
    with pytest.raises(DataError, match="has a line break or control character, or") as caught:
        load_dataset("folder", tmp_path)
    shown = str(caught.value)
    assert repr(name) in shown and is_label(shown) and "rename its folder" in shown


def test_other_names_are_good(tmp_path, write_wav):
    for label in GOOD:
        for index in range(5):
            write_wav(tmp_path / label / f"{index}.wav", 100 + index)
    assert load_dataset("folder", tmp_path).info.labels == tuple(sorted(GOOD))


def test_files_whose_names_are_not_utf_8(tmp_path, write_wav):
    for label in ("a", "b"):
        for index in range(5):
            path = write_wav(tmp_path / label / f"{index}.wav", 100 + index)
            path.rename(path.with_name(os.fsdecode(f"caf\xe9_{index}.wav".encode("latin-1"))))
    dataset = load_dataset("folder", tmp_path)
    assert sorted(clip.clip_id for clip in dataset.clips)[0] == r"a/caf\xe9_0.wav"
    assert len(dataset.clip_list_digest()) == 64
    assert statistics.stats("folder", tmp_path)["files"]["count"] == 10


def test_a_cell_of_a_megabyte(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text(f"file,class\n{'x' * (1 << 20)},dog\n")
    with refuses(DataError, "meta.csv", "CSV"):
        read_table(path, ("file", "class"))
