# SPDX-License-Identifier: Apache-2.0
"""Constants apart from the code: the same outputs, and the bytes that a C compiler makes."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dead_channels import with_dead_channels
from single_operators import MAKERS

from m3net_tf.compiler.emit import CSource, emit
from m3net_tf.compiler.goals import CYCLES, Goal
from m3net_tf.compiler.host import (
    WARNINGS,
    HostNetwork,
    HostStream,
    build_host,
    build_streams,
    engine_folder,
    engine_sources,
)
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.parts import part_bytes
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.networks.pretrained import FOLDER
from m3net_tf.runtime.metadata import network_of

APART = dataclasses.replace(CYCLES, apart=True)
NAMES = {kind: f"n{index}" for index, kind in enumerate(sorted(MAKERS))}


def made(kind: str, seed: int = 3) -> bytes:
    return MAKERS[kind](np.random.default_rng(seed))


@pytest.fixture(scope="module")
def networks() -> dict[str, CompiledNetwork]:
    """A network of each operator, by its name in C."""
    return {name: compile_network(made(kind), goal=APART) for kind, name in NAMES.items()}


@pytest.fixture(scope="module")
def sources(networks: dict[str, CompiledNetwork], tmp_path_factory) -> dict[str, CSource]:
    return {name: emit(network, name, apart=True) for name, network in networks.items()}


@pytest.fixture(scope="module")
def folder(sources: dict[str, CSource], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of all networks."""
    made = tmp_path_factory.mktemp("apart")
    for name, source in sources.items():
        source.write(made, name)
    (made / "all.c").write_text("".join(f'#include "{name}.c"\n' for name in sources))
    return made


def test_each_operator_gives_the_same_bytes(
    networks: dict[str, CompiledNetwork], folder: Path, tmp_path: Path
):
    library = folder / "apart.so"
    options = ["-std=c11", "-O1", "-fPIC", "-shared", *WARNINGS, f"-I{engine_folder()}"]
    subprocess.run(
        ["gcc", *options, folder / "all.c", *engine_sources(), "-o", library], check=True
    )
    loaded = ctypes.CDLL(str(library))
    rng = np.random.default_rng(1)
    for name, usual in build_host(networks, tmp_path).items():
        network = networks[name]
        apart = HostNetwork(loaded, name, network)
        for _ in range(2):
            inputs = [
                rng.integers(-128, 128, tensor.shape).astype(tensor.dtype)
                for tensor in network.graph.inputs
            ]
            for ours, theirs in zip(apart.run(*inputs), usual.run(*inputs), strict=True):
                np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_a_stream_shares_its_parts_with_the_window(keywords: bytes, tmp_path: Path):
    stream = stream_network(keywords, axis=2, hop=2, goal=APART)
    window = compile_network(keywords, goal=APART)
    source = emit(dataclasses.replace(window, stream=stream), "one", apart=True)
    alone = [len(emit(each, "one", apart=True).parts) for each in (window, stream)]
    assert len(source.parts) < sum(alone)
    source.write(tmp_path, "one")
    library = tmp_path / "one.so"
    options = ["-std=c11", "-O1", "-fPIC", "-shared", *WARNINGS, f"-I{engine_folder()}"]
    subprocess.run(
        ["gcc", *options, tmp_path / "one.c", *engine_sources(), "-o", library], check=True
    )
    apart = HostStream(ctypes.CDLL(str(library)), "one_stream", stream)
    usual = build_streams({"usual": stream}, tmp_path / "usual")["usual"]
    shape = list(stream.graph.inputs[0].shape)
    shape[2] = 2
    rng = np.random.default_rng(1)
    whole = 0
    for _ in range(stream.push.needed + 2):
        frames = rng.integers(-128, 128, shape).astype(np.int8)
        ours, theirs = apart.push(frames), usual.push(frames)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours[0], theirs[0])
            whole += 1
    assert whole == 3


def test_parts_are_the_bytes_of_the_target(sources: dict[str, CSource], folder: Path):
    """Of a Cortex-M4: each part has a section of its own, whose bytes are compared."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc not installed")
    target = ["-mcpu=cortex-m4", "-mthumb", "-std=c11", "-fdata-sections", f"-I{engine_folder()}"]
    compiled = folder / "all.o"
    subprocess.run(
        ["arm-none-eabi-gcc", *target, "-c", folder / "all.c", "-o", compiled], check=True
    )
    listing = subprocess.run(
        ["arm-none-eabi-objdump", "-s", compiled], check=True, capture_output=True, text=True
    ).stdout
    contents: dict[str, bytes] = {}
    for section, rows in re.findall(r"section \.rodata\.(\w+):\n((?: .*\n)*)", listing):
        contents[section] = b"".join(
            bytes.fromhex(row[6:41].replace(" ", "")) for row in rows.splitlines()
        )
    count = 0
    for name, source in sources.items():
        table = re.search(rf"{name}_exported\[\] = \{{([^}}]*)\}}", source.source)
        assert table
        for part, c_name in zip(source.parts, re.findall(r"\w+", table[1]), strict=True):
            assert contents[c_name] == part_bytes(part, "dsp"), (name, c_name)
            count += 1
    assert count > len(sources)


@pytest.fixture(scope="module")
def keywords() -> bytes:
    """The keyword network of the package."""
    return network_of((FOLDER / "m3net-s-keywords" / "model.tflite").read_bytes())


def structure(tflite: bytes, goal: Goal = APART) -> str:
    network = compile_network(tflite, goal=goal)
    match = re.search(r'_STRUCTURE "(\w+)"', emit(network, "one", apart=True).header)
    assert match
    return match[1]


def test_channels_that_training_left_dead_stay(keywords: bytes):
    """They would be removed from C with its weights in it, which changes the code."""
    dead = with_dead_channels(np.random.default_rng(1), keywords)
    assert structure(dead) == structure(keywords)
    removing = (structure(each, CYCLES) for each in (dead, keywords))
    assert len(set(removing)) == 2


def test_another_network_has_another_structure(keywords: bytes):
    kinds = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX")
    assert len({structure(keywords), *map(structure, map(made, kinds))}) == 1 + len(kinds)
