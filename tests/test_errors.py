# SPDX-License-Identifier: Apache-2.0
"""Damaged files end in one line; programming errors keep their traceback."""

import io
import json
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.shards import index
from m3net_tf.compiler import network
from m3net_tf.runtime.metadata import has_metadata
from m3net_tf.system.errors import DAMAGED, DataError, ModelError
from m3net_tf.system.keras import tf
from m3net_tf.training.loop.state import TrainingState

BUGS = (AttributeError, MemoryError, NameError, RuntimeError, TypeError)


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("swallowed", [DAMAGED, network._FAULTS])
def test_programming_errors_are_not_among_the_faults_of_files(bug, swallowed):
    assert not issubclass(bug, swallowed)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_an_operator_keeps_its_traceback(bug):
    def broken(*arguments: Any) -> None:
        raise bug("a bug")

    with pytest.raises(bug, match="a bug"):
        network._rewrite(None, broken)


def saved(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    figures = {"history": [], "plateau_factor": 1.0, "plateau_best": 1.0, "plateau_epochs": 0}
    np.savez(stream, **{"figures": json.dumps(figures), "best_0": np.ones(3), **arrays})
    return stream.getvalue()


def huge_array() -> bytes:
    """An archive whose array promises 8 exabytes."""
    stream = io.BytesIO()
    head = io.BytesIO()
    values = {"descr": "<f8", "fortran_order": False, "shape": (1 << 60,)}
    np.lib.format.write_array_header_1_0(head, values)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("weights_0.npy", head.getvalue())
    return stream.getvalue()


def encrypted(data: bytes) -> bytes:
    """The archive with all parts marked as encrypted."""
    changed = bytearray(data)
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            changed[at + offset] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        huge_array(),
        encrypted(saved(weights_0=np.zeros(3))),
        saved(figures="3", weights_0=np.zeros(3)),
        saved(weights_0=np.array("text")),
        saved(weights_0=np.array({}, object)),
        saved(),
    ],
)
def test_a_damaged_training_state_is_one_line(content: bytes, tmp_path: Path):
    weight = tf.Variable(np.zeros(3))
    state: Any = types.SimpleNamespace(
        _FIGURES=(),
        _arrays=lambda: {"weights": [weight]},
        model=types.SimpleNamespace(weights=[weight]),
    )
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with refuses(ModelError, path):
        TrainingState.load(state, path)
    path.write_bytes(saved(weights_0=np.zeros(3)))
    TrainingState.load(state, path)


@pytest.mark.parametrize("content", ["3", "[]", '{"format": 1, "shards": 3}', "{"])
def test_a_damaged_index_of_shards_is_one_line(content: str, tmp_path: Path):
    (tmp_path / index.INDEX).write_text(content)
    with pytest.raises(DataError, match="damaged"):
        index.open_shards(str(tmp_path))


def test_an_encrypted_archive_after_a_network_is_no_metadata():
    data = bytes(8) + saved()
    assert not has_metadata(encrypted(data))
