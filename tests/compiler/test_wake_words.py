# SPDX-License-Identifier: Apache-2.0
"""Wake words of microWakeWord: their JSON files, and the C that detects them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from firmware_helpers import compile_for_host, run_tool
from single_operators import Item, write_network
from test_compile_command import run_compile

from m3net_tf.compiler import wake_words
from m3net_tf.system.errors import ConfigError, ModelError

COLUMNS, FEATURES = 3, 40
MANIFEST = {
    "type": "micro",
    "wake_word": "Okay Nabu",
    "author": "somebody",
    "website": "https://example.org",
    "model": "okay.tflite",
    "trained_languages": ["en"],
    "version": 2,
    "micro": {
        "probability_cutoff": 0.6,
        "feature_step_size": 10,
        "sliding_window_size": 5,
        "tensor_arena_size": 26080,
        "minimum_esphome_version": "2024.7.0",
    },
}
PROGRAM = """
#include <stdio.h>
#include "nabu_detection.h"

int main(void) {
  static nabu_arena arena;
  static nabu_detection detection;
  int8_t column[NABU_FEATURES];
  nabu_detection_reset(&detection, arena.bytes);
  for (int i = 0; fread(column, sizeof(column), 1, stdin) == 1; ++i) {
    if (nabu_hear(&detection, arena.bytes, column)) printf("%d\\n", i);
  }
  return 0;
}
"""


def write_wake_word(folder: Path, features: int = FEATURES, **changes: object) -> Path:
    """A JSON file and its network, whose probability is the mean of its features."""
    source = Item((1, COLUMNS, features), 1 / 256, -128)
    axes = Item((2,), values=np.array([1, 2], np.int32), dtype="int32")
    mean = Item((1,), 1 / 256, -128)
    shape = Item((2,), values=np.array([1, 1], np.int32), dtype="int32")
    square = Item((1, 1), 1 / 256, -128)
    probability = Item((1, 1), 1 / 256, 0, dtype="uint8")
    steps = [
        ("MEAN", [source, axes], [mean], schema.ReducerOptionsT()),
        ("RESHAPE", [mean, shape], [square], schema.ReshapeOptionsT(newShape=[1, 1])),
        ("QUANTIZE", [square], [probability], schema.QuantizeOptionsT()),
    ]
    (folder / "okay.tflite").write_bytes(write_network(steps))
    path = folder / "okay.json"
    path.write_text(json.dumps(MANIFEST | changes))
    return path


def detections(probabilities: list[int], cutoff: int, window: int) -> list[int]:
    """Columns at which ESPHome's micro_wake_word detects, from its ``streaming_model.cpp``."""
    recent, newest, ignored, unprocessed = [0] * window, 0, -100, False
    found = []
    for column in range(COLUMNS * len(probabilities)):
        if column % COLUMNS == COLUMNS - 1:
            newest = (newest + 1) % window
            recent[newest] = probabilities[column // COLUMNS]
            unprocessed = True
        if recent[newest] < cutoff:
            ignored = min(ignored + 1, 0)
        if unprocessed and ignored == 0:
            unprocessed = False
            if sum(recent) > cutoff * window:
                found.append(column)
                recent, ignored = [0] * window, -100
    return found


@pytest.mark.parametrize(
    ("changes", "cutoff", "window", "step_ms"),
    [
        ({}, 153, 5, 10),
        pytest.param(
            {
                "version": 1,
                "micro": {"probability_cutoff": 0.5, "sliding_window_average_size": 10},
            },
            127, 10, 20,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_the_detection_is_the_one_of_esphome(tmp_path, changes, cutoff, window, step_ms):
    path = write_wake_word(tmp_path, **changes)
    assert run_compile(path, tmp_path / "out", "--name", "nabu").exit_code == 0
    header = (tmp_path / "out" / "nabu_detection.h").read_text()
    assert f"#define NABU_STEP_MS {step_ms} " in header and "Okay Nabu" in header
    (tmp_path / "main.c").write_text(PROGRAM)
    engine = tmp_path / "out" / "engine"
    sources = [tmp_path / "main.c", tmp_path / "out" / "nabu.c", *engine.glob("*.c")]
    program = compile_for_host(tmp_path / "main", sources, [tmp_path / "out", engine])
    rng = np.random.default_rng(3)
    loud = np.repeat(rng.random(120) < 0.4, 12)
    spread = np.where(loud, rng.integers(120, 256, len(loud)), rng.integers(0, 160, len(loud)))
    columns = np.repeat(spread - 128, COLUMNS * FEATURES).astype(np.int8)
    printed = [int(line) for line in run_tool(program, data=columns.tobytes()).split()]
    assert printed == detections(spread.tolist(), cutoff, window) and len(printed) > 10


def test_a_written_file_is_read_again(tmp_path):
    model = write_wake_word(tmp_path).parent / "okay.tflite"
    word = wake_words.WakeWord("okay", model, cutoff=0.97, window=8, step_ms=10)
    wake_words.write_wake_word(word, tmp_path / "again.json", "de")
    assert wake_words.read_wake_word(tmp_path / "again.json") == word
    assert json.loads((tmp_path / "again.json").read_text()).keys() == MANIFEST.keys() - {"website"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "other"}, "type is not micro"),
        ({"version": 3}, "version not 1 or 2"),
        ({"micro": {"probability_cutoff": 0.9}}, "missing or out of range"),
        ({"micro": {"probability_cutoff": "high"}}, "has another form"),
        ({"model": "missing.tflite"}, "missing.tflite cannot be read"),
        ({"features": 39}, "int8 columns of 40 features"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, reason):
    with pytest.raises(ModelError, match=reason):
        run_compile(write_wake_word(tmp_path, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_streams_by_itself_is_not_streamed(tmp_path):
    with pytest.raises(ConfigError, match="leave out --stream"):
        run_compile(write_wake_word(tmp_path), tmp_path / "out", "--stream")
