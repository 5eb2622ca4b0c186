# SPDX-License-Identifier: Apache-2.0
"""Samples as features on the device: each sample's level, live detection, the emulated cores."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import (
    CLASSES,
    compile_for_host,
    labels_of,
    run_tool,
    small_model,
    write_bundle,
)
from monitor_host import expected_output

from m3net_tf.audio.frontend import FrontendConfig, features_int8, frontend_preset, write_c_tables
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.export.c_files import CModel
from m3net_tf.runtime import ClassSettings, DetectorConfig, StreamingRecognizer, write_c_header
from m3net_tf.runtime.recognizer import ColumnStream

HOP = 320
COLUMNS = 10
SAMPLES = HOP * COLUMNS
COMPANDED = frontend_preset("bilateral", sample_rate_hz=16_000, log="mu")
CONFIGS = {
    "rounded": frontend_preset("bilateral", sample_rate_hz=16_000),
    "companded": COMPANDED,
    "lowest level above -128": FrontendConfig(kind="waveform", feature_max=3.0),
    "half the range": FrontendConfig(kind="waveform", feature_min=-0.25, feature_max=0.75),
}
DETECTOR = DetectorConfig(
    window_columns=COLUMNS,
    gate_bins=HOP,
    gate_level=20,
    gate_hold_columns=4,
    run_columns=3,
    classes=tuple(
        ClassSettings(label, threshold=0.53, release=0.5, suppression_columns=6, window_runs=2)
        for label in labels_of(CLASSES)
    ),
)
HOST = ("host/main.c", "app/job.c", *(f"core/{name}.c" for name in (
    "frontend", "ring", "crc32", "console", "platform_defaults", "status",
)))  # fmt: skip
MONITOR = (
    *(f"host/{name}.c" for name in ("monitor", "board", "model", "storage")),
    *(f"core/{path.name}" for path in sorted((FIRMWARE_DIR / "core").glob("monitor_*.c"))),
    *(f"core/{name}.c" for name in (
        "classifier", "console", "crc32", "detector", "duty", "eembc", "frontend", "level",
        "listener", "live", "platform_defaults", "recognizer", "record_log", "ring",
        "saved_thresholds", "status",
    )),
)  # fmt: skip
#: They need no FPU for this; the second one takes another build.
BOARDS = ("mps2_an386", "mps2_an385", "mps2_an505")
#: Executed instructions a sample, with what cuts the clip into hops.
SAMPLE_LIMIT = 60


def compile_host(bundle: Path, sources: tuple[str, ...]) -> Path:
    """One of the host's programs; it needs no third-party source."""
    code = [*(FIRMWARE_DIR / source for source in sources), bundle / "frontend_tables.c"]
    write_c_header(DETECTOR, bundle)
    return compile_for_host(
        bundle / "host", code, (FIRMWARE_DIR / "core", FIRMWARE_DIR / "app", bundle)
    )


def write_export(folder: Path, tflite: bytes) -> CModel:
    """The files of an export that a build reads; returns the facts of its network."""
    model = small_model(tflite, input_bytes=SAMPLES)
    write_bundle(folder, model, COMPANDED, frames=SAMPLES, detector=DETECTOR)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_each_of_the_65536_samples_has_the_reference_s_level(tmp_path: Path, name: str):
    write_c_tables(CONFIGS[name], tmp_path, frames=SAMPLES)
    samples = np.resize(np.arange(-32_768, 32_768), 205 * HOP).astype("<i2")
    program = compile_host(tmp_path, HOST)
    levels = run_tool(program, "features", data=samples.tobytes())
    expected = features_int8(CONFIGS[name], samples / 32_768.0)[0]
    assert len(np.unique(expected)) > 30
    np.testing.assert_array_equal(np.frombuffer(levels, np.int8), expected)


def test_a_table_that_falls_is_refused(tmp_path: Path):
    _, tables = write_c_tables(COMPANDED, tmp_path, frames=SAMPLES)
    tables.write_text(tables.read_text().replace("{\n    -", "{\n    ", 1))
    done = subprocess.run(
        [compile_host(tmp_path, HOST), "features"], input=b"", capture_output=True, check=False
    )
    assert done.returncode != 0 and b"the front end refuses its tables" in done.stderr


@pytest.mark.parametrize(
    "columns",
    [
        *(1, COLUMNS + 3),
        *(pytest.param(count, marks=pytest.mark.slow) for count in (COLUMNS, 3 * COLUMNS - 1)),
    ],
)
def test_the_window_is_the_last_samples_in_one_row(tmp_path: Path, columns: int):
    write_c_tables(COMPANDED, tmp_path, frames=SAMPLES)
    samples = np.random.default_rng(columns).integers(-128, 128, columns * HOP).astype(np.int8)
    window = run_tool(compile_host(tmp_path, HOST), "window", data=samples.tobytes())
    before = np.full(SAMPLES, -128, np.int8)
    expected = np.concatenate([before, samples])[-SAMPLES:]
    np.testing.assert_array_equal(np.frombuffer(window, np.int8), expected)


def scene() -> np.ndarray:
    """Intermittent noise, with a DC offset that no microphone should have; int16."""
    rng = np.random.default_rng(5)
    loudness = np.repeat(rng.choice([0, 0, 30, 3000, 20_000], 60), 4 * HOP)
    sound = rng.normal(0, 1, len(loudness)) * loudness - 40
    return np.clip(np.round(sound), -32768, 32767).astype("<i2")


def test_live_detection_is_python_s_step_by_step(tmp_path: Path):
    """With a stand-in for a network, on the host: columns, scores and events."""
    # Never run, because firmware/host/model.c replaces it: any bytes will do.
    bundle = tmp_path / "bundle"
    write_export(bundle, b"no model")
    pcm = scene()
    seen = []
    (tmp_path / "pcm").write_bytes(pcm.tobytes())

    def model(windows: np.ndarray) -> np.ndarray:
        assert windows.shape == (1, 1, SAMPLES, 1)
        seen.append(expected_output(windows))
        return seen[-1][None]

    recognizer = StreamingRecognizer(COMPANDED, model, DETECTOR)
    events = [event for at in range(0, len(pcm), 777) for event in recognizer.push(pcm[at:][:777])]
    blocks: dict[str, list[dict[str, str]]] = {"column": [], "scores": [], "event": []}
    with subprocess.Popen(
        [compile_host(bundle, MONITOR), "serve", tmp_path / "pcm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as board:
        assert board.stdin and board.stdout
        board.stdin.write("stream mic columns scores\n")
        board.stdin.flush()
        for line in board.stdout:
            if match := re.match(r"m3net (column|scores|event) (.*)", line):
                blocks[match[1]].append(dict(field.split("=") for field in match[2].split()))
            if len(blocks["column"]) > len(pcm) // HOP:  # the last column's events are complete
                break
        board.kill()
    values = "".join(block["values"] for block in blocks["column"][:-1])
    columns = ColumnStream(COMPANDED).push(pcm)
    assert columns.shape == (HOP, len(pcm) // HOP)
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(values), np.int8), columns.T.ravel())
    outputs = [bytes.fromhex(block["out"]) for block in blocks["scores"]]
    assert outputs[: len(seen)] == [scores.tobytes() for scores in seen]
    received = [
        [int(block[key]) for key in ("column", "label", "score")] for block in blocks["event"]
    ]
    assert received[: len(events)] == [[block.column, block.label, block.score] for block in events]
    assert len(events) > 3 and len({event.label for event in events}) > 1
    assert recognizer.detector.skipped_runs > 5 and len(seen) > 20


@pytest.fixture(scope="module")
def network() -> bytes:
    """A small network that takes samples, quantised on random ones."""
    from m3net_tf.quantization.ptq import quantize_int8
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((1, SAMPLES, 1))
    x = layers.Conv2D(8, (1, 16), strides=(1, 8), padding="same", activation="relu")(inputs)
    x = layers.Conv2D(16, (1, 3), strides=(2, 2), padding="same", activation="relu")(x)
    x = layers.AveragePooling2D((1, SAMPLES // 16))(x)
    outputs = layers.Softmax()(layers.Flatten()(layers.Conv2D(CLASSES, 1)(x)))
    network = keras.Model(inputs, outputs)
    sounds = np.random.default_rng(1).integers(-128, 128, (20, 1, SAMPLES, 1)).astype(np.int8)
    return quantize_int8(network, sounds)


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_an_emulated_core_gives_the_desktop_s_bytes_from_samples(
    firmware_possible: None, network: bytes, tmp_path: Path, board: str
):
    from m3net_tf.runtime.interpreter import run_reference

    rng = np.random.default_rng(6)
    length = SAMPLES + 2 * HOP + 100  # the last whole hops of a long clip count
    clips = [np.zeros(length), np.arange(length) * 17 % 65_536 - 32_768]
    clips += [rng.normal(0, level, length) for level in (2, 300, 9000)]
    pcm = np.clip(np.round(clips), -32768, 32767).astype(np.int16)
    windows = pcm[:, 2 * HOP :][:, :SAMPLES]
    features = np.stack([features_int8(COMPANDED, clip / 32_768.0) for clip in windows])
    scores = run_reference(network, features[..., None])
    assert len(np.unique(scores, axis=0)) > 3
    model = write_export(tmp_path / "bundle", network)
    image = build_compiled(tmp_path / "bundle", model, board, tmp_path / "build")
    result = run_job(image.elf, find_machine(board), pcm, report_features=True)
    np.testing.assert_array_equal(result.features, features)
    np.testing.assert_array_equal(result.outputs, scores)
    per_hop = result.frontend_instructions_per_frame
    assert 5 * HOP < per_hop <= SAMPLE_LIMIT * HOP, per_hop
    from_features = run_job(image.elf, find_machine(board), features)
    np.testing.assert_array_equal(from_features.outputs, scores)
