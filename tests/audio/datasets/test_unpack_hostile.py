# SPDX-License-Identifier: Apache-2.0
"""Random damage to archives and tables: one error that names the file, and nothing left behind."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuses

from m3net_tf.audio.datasets.files import read_table
from m3net_tf.audio.datasets.unpack import Limits, unpack
from m3net_tf.system.errors import DataError

FEW = settings(max_examples=60, deadline=None, derandomize=True, database=None)
CONTENT = b"sound " * 50


def valid(kind: str) -> bytes:
    """A small archive."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("top/a", CONTENT)
            archive.writestr("top/b", b"")
    else:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name in ("top/a", "top/b"):
                entry = tarfile.TarInfo(name)
                entry.size = len(CONTENT)
                archive.addfile(entry, io.BytesIO(CONTENT))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["tar", "zip"])
@FEW
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_archives(kind: str, changes: list[tuple[int, int]]):
    data = bytearray(valid(kind))
    for position, value in changes:
        data[position % len(data)] = value
    with tempfile.TemporaryDirectory() as name:
        archive, into = Path(name, f"set.{kind}"), Path(name, "into")
        archive.write_bytes(data)
        into.mkdir()
        limits = Limits(slack_bytes=1 << 16)
        try:
            folder = unpack(archive, into, limits=limits)
        except DataError as error:
            assert str(archive) in str(error) and "\n" not in str(error)
            assert list(into.iterdir()) == []
        else:
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert folder.parent == into
            assert sum(path.stat().st_size for path in files) <= limits.allowed(len(data))
            assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert sorted(Path(name).iterdir()) == [into, archive]


@FEW
@given(data=st.binary(max_size=300), quoted=st.booleans())
def test_tables_of_any_bytes(data: bytes, quoted: bool):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "meta.csv")
        path.write_bytes(b"file,class\n" + (b'"' + data + b'"\n') * (1 + quoted))
        with contextlib.suppress(DataError):
            for row in read_table(path, ("file", "class")):
                assert isinstance(row["file"], str) and isinstance(row["class"], str)


def test_a_cell_of_a_megabyte(tmp_path: Path):
    path = tmp_path / "meta.csv"
    path.write_text(f"file,class\n{'x' * (1 << 20)},dog\n")
    with refuses(DataError, "meta.csv", "CSV"):
        read_table(path, ("file", "class"))
