# SPDX-License-Identifier: Apache-2.0
"""DiffRes's warp in C compared with the one in NumPy: the same bytes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, compile_for_host, run_tool

from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.export.warp_tables import write_warp_tables
from m3net_tf.runtime.warp import WarpConfig, warp_int8
from m3net_tf.system.errors import ModelError

CONFIGS = {
    "device": WarpConfig(bins=40, frames_in=49, frames_out=24, ln_min=-14.0, ln_max=5.0),
    "paper": WarpConfig(bins=128, frames_in=98, frames_out=49, ln_min=-23.0, ln_max=6.0),
    "one_frame_left": WarpConfig(bins=3, frames_in=7, frames_out=1, ln_min=-14.0, ln_max=5.0),
    "none_goes": WarpConfig(bins=1, frames_in=6, frames_out=6, ln_min=-6.0, ln_max=6.0),
    "long": WarpConfig(bins=2, frames_in=3000, frames_out=2700, ln_min=-14.0, ln_max=5.0),
}
FLAVOURS = {
    "sanitised": (),
    # Integers, so that no compiler can change a byte.
    "fast": ("-O3", "-ffast-math", "-march=native", "-fno-sanitize=all"),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Callable[[str, str], Path]:
    """The C warp as a program for this computer, by the names of a config and of flags."""
    core = FIRMWARE_DIR / "core"
    made: dict[tuple[str, str], Path] = {}

    def build(name: str, flavour: str) -> Path:
        if (name, flavour) not in made:
            folder = tmp_path_factory.mktemp("warp")
            write_warp_tables(CONFIGS[name], folder)
            sources = (core / "warp.c", APPS / "warp_host" / "main.c", folder / "warp_tables.c")
            made[name, flavour] = compile_for_host(
                folder / "warp", sources, (core, folder), *FLAVOURS[flavour]
            )
        return made[name, flavour]

    return build


def run_c(program: Path, config: WarpConfig, features: np.ndarray, scores: np.ndarray):
    records = zip(features, scores, strict=True)
    data = b"".join(first.tobytes() + own.tobytes() for first, own in records)
    shape = (len(features), config.bins, config.frames_out, 3)
    return np.frombuffer(run_tool(program, data=data), np.int8).reshape(shape)


def clips(config: WarpConfig, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores of any size and unevenness; the first ones are the edges."""
    rng = np.random.default_rng(seed)
    bins = config.bins
    frames = config.frames_in
    features = rng.integers(-128, 128, (count, bins, frames, 1)).astype(np.int8)
    centre = rng.uniform(-128, 127, (count, 1))
    spread = rng.uniform(0, 90, (count, 1))
    scores = np.clip(rng.normal(centre, spread, (count, frames)), -128, 127).astype(np.int8)
    features[0], features[1] = -128, 127
    scores[2], scores[3], scores[4] = -128, 127, -127
    scores[5] = np.where(np.arange(frames) == frames // 2, 127, -128)
    scores[6] = np.where(np.arange(frames) < frames // 2, -128, 127)
    scores[7] = np.where(np.arange(frames) == frames - 1, -127, -128)
    return features, scores


@pytest.mark.parametrize(
    ("name", "flavour"), [*((name, "sanitised") for name in CONFIGS), ("device", "fast")]
)
def test_same_bytes(compiled, name: str, flavour: str):
    config = CONFIGS[name]
    features, scores = clips(config, 20 if config.frames_in > 1000 else 200, seed=len(name))
    expected = warp_int8(config, features, scores)
    actual = run_c(compiled(name, flavour), config, features, scores)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 100


def test_by_hand(compiled):
    """Six frames into six: each goes through, whatever its score, if all score alike."""
    config = CONFIGS["none_goes"]
    features = np.array([[-128, 127, 0, 1, -1, 50]], np.int8).reshape(1, 1, 6, 1)
    for score in (-128, -127, 3, 127):
        merged = run_c(
            compiled("none_goes", "sanitised"), config, features, np.full((1, 6), score, np.int8)
        )
        for channel in (0, 1):
            np.testing.assert_array_equal(merged[0, 0, :, channel], features[0, 0, :, 0])
        expected = np.minimum(np.floor(np.sin(np.arange(6)) * 128 + 0.5), 127)
        np.testing.assert_array_equal(merged[0, 0, :, 2], expected)


def test_generated_tables_hold_the_config_and_no_date(tmp_path):
    config = CONFIGS["device"]
    write_warp_tables(config, tmp_path)
    first = {path.name: path.read_text() for path in tmp_path.iterdir()}
    write_warp_tables(config, tmp_path)
    assert first == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(first) == {"warp_config.h", "warp_tables.c"}
    assert "#define M3NET_WARP_FRAMES_OUT 24\n" in first["warp_config.h"]
    numbers = re.search(r"powers\[256\] = \{(.*?)\}", first["warp_tables.c"], re.S)
    assert numbers and [int(number[:-1]) for number in numbers[1].split(",")[:-1]] == [
        int(number) for number in config.powers
    ]
    assert int(config.powers[-1]) == 1 << config.top_bits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames_out": 50}, r"cannot convert 49 frames to 50: train with model\.reduction"),
        ({"frames_in": 5000}, r"5000 frames are too many .* train on at most 4112"),
        ({"ln_min": -60.0}, r"-60 to 5 after the logarithm, is too wide .*frontend\.feature_min"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ModelError, match=message) as caught:
        dataclasses.replace(CONFIGS["device"], **change)
    assert "\n" not in str(caught.value)
