# SPDX-License-Identifier: Apache-2.0
"""Compiled networks on this machine: the kernels are compiled once for a compiler and its flags."""

from pathlib import Path

import numpy as np
import pytest
from single_operators import lstm

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network


def test_kernels_are_kept_for_the_next_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))
    network = compile_network(lstm(np.random.default_rng(0)))
    values = np.full(network.graph.inputs[0].shape, 90, np.int8)

    def scores(folder: str, *options: str) -> bytes:
        return (
            build_host({"one": network}, tmp_path / folder, options)["one"].run(values)[0].tobytes()
        )

    first = scores("a")
    (kept,) = (tmp_path / "cache").rglob("*.o")
    made_ns = kept.stat().st_mtime_ns
    assert scores("b") == first and kept.stat().st_mtime_ns == made_ns
    assert scores("c", "-O0") == first
    assert len([*(tmp_path / "cache").rglob("*.o")]) == 2
