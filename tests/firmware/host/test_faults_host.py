# SPDX-License-Identifier: Apache-2.0
"""The product's application with TFLite Micro on the host, with sanitisers: bytes and faults."""

from __future__ import annotations

import dataclasses
import itertools
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from app_host import build_app, run_app
from firmware_helpers import CLASSES, random_features, run_tool, small_model, write_bundle

from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.boards.emulation.qemu import UartLog, job_image, stream_image
from m3net_tf.export.operators import operators_of
from m3net_tf.runtime.interpreter import run_reference

CUSTOM = schema.BuiltinOperator.CUSTOM
pytestmark = pytest.mark.slow  # TFLite Micro is compiled for the host first, once


@dataclasses.dataclass(frozen=True)
class App:
    """The application of the small network."""

    program: Path
    tflite: bytes

    def job(self, clips: np.ndarray, program: Path | None = None) -> UartLog:
        image = job_image(clips, report_features=True, report_instructions=True)
        return run_app(program or self.program, image)


@pytest.fixture(scope="module")
def build_variant_app(
    small_tflite: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Builds applications of the small network in one folder, so that little is compiled again."""
    folder = tmp_path_factory.mktemp("apps")
    (folder / "bundle").mkdir()
    count = itertools.count()

    def build(
        tflite: bytes = small_tflite,
        operators: tuple[str, ...] | None = None,
        arena_bytes: int | None = None,
    ) -> Path:
        operators = operators or tuple(operators_of(small_tflite))
        model = small_model(tflite, operators=operators)
        for file in write_bundle(folder / "new", model).iterdir():
            old = folder / "bundle" / file.name
            if not old.is_file() or old.read_bytes() != file.read_bytes():
                shutil.copy(file, old)
        program = build_app(folder / "bundle", folder / "build", arena_bytes)
        return Path(shutil.copy(program, folder / f"app{next(count)}"))

    return build


@pytest.fixture(scope="module")
def app(small_tflite: bytes, build_variant_app: Callable[..., Path]) -> App:
    return App(build_variant_app(), small_tflite)


def error_of(program: Path) -> str:
    """Code and text of the error line of a start."""
    log = run_app(program)
    assert log.error is not None, log.lines
    return " ".join(log.error)


def test_same_bytes_as_the_desktop(app: App):
    clips = random_features(6, seed=2)
    log = app.job(clips)
    assert log.done is not None and log.boot["board"] == "host"
    outputs = np.stack([np.frombuffer(clip.output, np.int8) for clip in log.clips])
    np.testing.assert_array_equal(outputs, run_reference(app.tflite, clips[..., None]))
    assert [clip.label for clip in log.clips] == outputs.argmax(1).tolist()
    assert [clip.features for clip in log.clips] == [clip.tobytes() for clip in clips]


def test_samples_become_the_same_features_and_scores(app: App):
    rng = np.random.default_rng(5)
    clips = rng.normal(0, 3000, (3, 16_000)).astype(np.int16)
    log = app.job(clips)
    features = np.stack([np.frombuffer(clip.features or b"", np.int8) for clip in log.clips])
    features = features.reshape(3, 40, 49)
    expected = np.stack([features_int8(FrontendConfig(), clip / 32768.0) for clip in clips])
    assert np.abs(features.astype(int) - expected).max() <= 2
    outputs = np.stack([np.frombuffer(clip.output, np.int8) for clip in log.clips])
    np.testing.assert_array_equal(outputs, run_reference(app.tflite, features[..., None]))
    assert [clip.frames for clip in log.clips] == [49, 49, 49]


def test_any_flipped_bit_of_the_model_is_reported(app: App, tmp_path: Path):
    program = app.program.read_bytes()
    start = program.index(app.tflite)
    rng = random.Random(3)
    for _ in range(20):
        damaged = bytearray(program)
        damaged[start + rng.randrange(len(app.tflite))] ^= 1 << rng.randrange(8)
        copy = tmp_path / "damaged"
        copy.write_bytes(damaged)
        copy.chmod(0o755)
        assert error_of(copy).startswith("model_crc the model's bytes have changed")


def test_an_arena_16_bytes_too_small_is_refused(app: App, build_variant_app):
    clips = random_features(1, seed=1)
    enough = -(-app.job(clips).memory["arena_used"] // 16) * 16
    fits = app.job(clips, build_variant_app(arena_bytes=enough))
    assert fits.done is not None and fits.memory["arena_size"] == enough
    message = error_of(build_variant_app(arena_bytes=enough - 16))
    assert message.startswith(f"arena the tensor arena of {enough - 16} bytes is too small")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"TFL3", b"TFL4"), "model the firmware cannot start"),
        (lambda data: data, "operator the model has an operator that M3NET_MODEL_OPERATORS lacks"),
    ],
)
def test_a_model_that_does_not_fit_is_named(build_variant_app, small_tflite, change, message: str):
    operators = tuple(name for name in operators_of(small_tflite) if name != "SOFTMAX")
    assert error_of(build_variant_app(change(small_tflite), operators)).startswith(message)


def test_operator_codes_that_nothing_has_are_no_fault(app: App, build_variant_app):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(app.tflite, 0))
    for code in (schema.BuiltinOperator.LSTM, CUSTOM):
        model.operatorCodes.append(schema.OperatorCodeT())
        model.operatorCodes[-1].builtinCode = code
        model.operatorCodes[-1].deprecatedBuiltinCode = min(code, 127)
        model.operatorCodes[-1].customCode = "unused" if code == CUSTOM else None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    clips = random_features(2, seed=6)
    logs = [
        app.job(clips, program) for program in (None, build_variant_app(bytes(builder.Output())))
    ]
    assert logs[1].error is None
    assert [clip.output for clip in logs[1].clips] == [clip.output for clip in logs[0].clips]


def test_a_million_malformed_lines(monitor_host: Path):
    """About a minute; the quick test of test_monitor_protocol.py has another seed and fewer."""
    said = run_tool(monitor_host, "batter", 1_000_000, 2)
    assert said.startswith(b"1000000 lines, ") and said.endswith(b"answering\n")


def test_unsuitable_memory_is_refused(app: App):
    expected = ["argument"] * 5 + ["memory", "arena", "arena", "unknown"]
    assert run_tool(app.program, "refuse").decode().split() == expected


def test_bad_images_stop_it_and_garbage_does_not(app: App):
    image = job_image(random_features(1, seed=1), report_features=False, report_instructions=False)
    log = run_app(app.program, image[:-1] + bytes([image[-1] ^ 1]))
    assert log.error is not None and log.error[0] == "job_crc"
    assert not any(line.startswith("m3net ready") for line in log.lines)
    log = run_app(app.program, bytes(range(1, 65)), b"version\n")
    assert log.error is not None and log.error[0] == "job_magic"
    assert any(line.startswith("m3net ok version protocol=1 board=host") for line in log.lines)


def test_commands_reach_the_real_model(app: App):
    features = random_features(1, seed=4)
    data = features.tobytes()
    commands = b"load features\n"
    for at in range(0, len(data), 256):
        piece = data[at : at + 256]
        commands += f"block {at} {len(piece)} {zlib.crc32(piece):#x}\n".encode() + piece
    commands += b"infer\nprofile\ninfo\nmemory\n"
    sound = stream_image(bytes(640), 1 << 20)  # kind 2: the application goes on to listen
    lines = run_app(app.program, sound, commands).lines
    output = run_reference(app.tflite, features[..., None])[0]
    assert any(f" out={output.tobytes().hex()} " in line for line in lines)
    layers = [line.split("op=")[1].split()[0] for line in lines if line.startswith("m3net layer ")]
    assert layers[0] == "CONV_2D" and layers[-1] == "SOFTMAX" and len(layers) == 7
    assert sum(line.startswith("m3net label ") for line in lines) == CLASSES
    assert any(line.startswith("m3net ok memory arena_used=") for line in lines)
