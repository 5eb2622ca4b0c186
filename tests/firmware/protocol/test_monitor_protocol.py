# SPDX-License-Identifier: Apache-2.0
"""The monitor on the host with sanitisers: commands, blocks, time-outs and hostile input."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from monitor_host import (
    CLASSES,
    WINDOW_SAMPLES,
    build_monitor,
    expected_output,
    host_features,
)

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import Microphone

BLOCK = 256
#: More of them: M3NET_BATTER_LINES=1000000 pytest tests/firmware/protocol/test_monitor_protocol.py
BATTER_LINES = int(os.environ.get("M3NET_BATTER_LINES", "100000"))


class Wire:
    """Direct access to the host's monitor: bytes in, bytes out."""

    def __init__(self, program: Path, *words: str | Path) -> None:
        self.process = subprocess.Popen(
            [program, "serve", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.seen = b""
        self.until(b"m-ready\r\n")

    def send(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)

    def until(self, end: bytes, timeout_s: float = 120.0) -> str:
        """Everything up to ``end``."""
        assert self.process.stdout
        until_s = time.monotonic() + timeout_s
        while end not in self.seen:
            ready, _, _ = select.select([self.process.stdout], [], [], until_s - time.monotonic())
            assert ready, f"no {end!r} in {self.seen!r}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"the monitor ended after {self.seen!r}"
            self.seen += piece
        text, _, self.seen = self.seen.partition(end)
        return (text + end).decode("latin1")

    def ask(self, command: str) -> str:
        """The last line of the answer to a command."""
        self.send(command.encode("latin1") + b"\n")
        while True:
            line = self.until(b"\r\n").rstrip("\r\n")
            if line.startswith(("m3net ok", "m3net error")):
                return line

    def block(self, offset: int, data: bytes, crc: int | None = None) -> str:
        crc = zlib.crc32(data) if crc is None else crc
        header = f"block {offset} {len(data)} {crc:#x}\n".encode()
        self.send(header + data)
        return self.until(b"\r\n").rstrip("\r\n")

    def load(self, data: bytes, start: int = 0) -> None:
        for at in range(0, len(data), BLOCK):
            piece = data[at : at + BLOCK]
            behind = start + at + len(piece)
            assert self.block(start + at, piece) == f"m3net ok block next={behind}"


@pytest.fixture()
def wire(monitor_host: Path) -> Iterator[Wire]:
    made = Wire(monitor_host)
    yield made
    assert made.process.stdin and made.process.stdout
    made.process.stdin.close()
    assert made.process.wait(10) == 0
    made.process.stdout.close()


@pytest.fixture(scope="module")
def large_monitor_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's monitor over a model of a hundred classes, whose scores are beyond 32 bits."""
    folder = tmp_path_factory.mktemp("large")
    return build_monitor(folder, classes=100, output_scale=1e9)


@pytest.fixture()
def large_wire(large_monitor_host: Path) -> Iterator[Wire]:
    made = Wire(large_monitor_host)
    yield made
    made.process.kill()
    made.process.communicate()


@pytest.mark.parametrize("command", ["info", "threshold", "profile"])
def test_long_answers_at_the_lowest_speed_feed_the_watchdog(large_wire: Wire, command: str):
    """The host's board aborts if the console writes for 15 s without feeding."""
    assert large_wire.ask("baud 1200").startswith("m3net ok baud")
    assert large_wire.ask(command).startswith(f"m3net ok {command}")


def test_scores_beyond_the_printed_range_are_limited(large_wire: Wire):
    """The scores of zeros are 0 and the zero point -128: 128e9."""
    large_wire.send(b"db load 1960%" + b"".join(b"db " + b"00" * 28 + b"%" for _ in range(70)))
    large_wire.until(b"m-load-done")
    large_wire.send(b"infer 1 0%")
    large_wire.until(b"m-results-[")
    assert set(large_wire.until(b"]\r\n")[:-3].split(",")) == {"2000000.000"}


def test_who_it_is(wire: Wire):
    assert wire.ask("version").startswith("m3net ok version protocol=1 board=host core=host ")
    wire.send(b"info\r\n")
    text = wire.until(b"m3net ok info")
    assert f" input_bytes=1960 classes={CLASSES}\r\n" in text
    assert text.count("m3net label ") == CLASSES
    assert (
        "m3net frontend rate_hz=16000 frame_samples=512 hop_samples=320 bins=40 frames=49" in text
    )


def test_features_in_scores_out(wire: Wire):
    rng = np.random.default_rng(1)
    for _ in range(3):
        features = rng.integers(-128, 128, (40, 49)).astype(np.int8)
        assert wire.ask("load features") == "m3net ok load bytes=1960"
        wire.load(features.tobytes())
        expected = expected_output(features)
        answer = wire.ask("infer 2")
        assert f" out={expected.tobytes().hex()} crc={zlib.crc32(expected):#010x}" in answer
        assert f" label={expected.argmax()} " in answer and " runs=2 " in answer
        assert wire.ask("results").endswith(answer.partition(" label=")[2])


@pytest.mark.parametrize("samples", [WINDOW_SAMPLES, 16_000, 40_001])
def test_samples_go_through_the_front_end(wire: Wire, samples: int):
    pcm = np.random.default_rng(2).integers(-9000, 9000, samples).astype("<i2")
    assert wire.ask(f"load pcm {samples}") == f"m3net ok load bytes={2 * samples}"
    wire.load(pcm.tobytes())
    features = host_features(pcm)[:, -49:]
    answer = wire.ask("infer")
    assert f" frames={1 + (samples - 512) // 320} " in answer
    # The C front end may be a step off in a feature: a 64th of a score's step.
    output = bytes.fromhex(answer.partition(" out=")[2].split()[0])
    apart = np.abs(np.frombuffer(output, np.int8).astype(int) - expected_output(features))
    assert apart.max() <= 2


def test_damaged_blocks_are_asked_for_again(wire: Wire):
    wire.ask("load features")
    data = bytes(range(256))
    assert wire.block(0, data, crc=1).startswith("m3net error block_crc ")
    assert wire.block(512, data).startswith("m3net error block_offset ")
    assert wire.block(0, data) == "m3net ok block next=256"
    assert wire.block(0, data) == "m3net ok block next=256"  # its answer may have been lost
    assert wire.ask("infer").startswith("m3net error no_input ")
    assert wire.ask("stat").endswith(" blocks=2 bad_blocks=2")


def test_blocks_have_whole_samples_and_no_more_than_announced(wire: Wire):
    wire.ask("load features")
    wire.load(bytes(1960)[:257])
    assert wire.block(257, bytes(255)) == "m3net ok block next=512"  # features are bytes
    wire.load(bytes(1960 - 512), 512)
    assert wire.block(1960, bytes(2)).startswith("m3net error block_bytes ")
    wire.ask("load pcm 16000")
    assert wire.block(0, bytes(255)).startswith("m3net error block_bytes ")
    wire.ask("stream host")
    assert wire.block(0, bytes(1)).startswith("m3net error block_bytes ")
    assert wire.block(0, bytes(256)) == "m3net ok block next=256"


def test_a_block_with_bytes_lost_times_out(wire: Wire):
    wire.ask("load features")
    wire.send(b"block 0 256 0x0\n" + bytes(255))
    assert wire.until(b"\r\n").startswith("m3net error block_short ")
    assert wire.block(0, bytes(256)) == "m3net ok block next=256"


@pytest.mark.parametrize(
    "header",
    ["block", "block 0 257 0x0", "block x 2 0", "block 0 0 0", "block%"],
)
def test_bytes_behind_a_bad_header_are_no_commands(wire: Wire, header: str):
    before = wire.ask("version")
    wire.send(header.encode() + b"\nreset\nmode energy\nname%" + bytes(100) + b"\nreset\n")
    assert wire.until(b"\r\n").startswith("m3net error block_header ")
    assert wire.ask("version") == before


def test_a_line_that_is_too_long_is_dropped_whole(wire: Wire):
    wire.send(b"version " * 60 + b"\nreset\n")
    assert wire.until(b"\r\n").startswith("m3net error line ")
    assert " reset=power" in wire.ask("version")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("nonsense", "command"),
        ("VERSION", "command"),
        ("version 1", "usage"),
        ("load", "usage"),
        ("load everything", "usage"),
        ("load features 3", "usage"),
        (f"load pcm {WINDOW_SAMPLES - 1}", "number"),
        ("load pcm 16777216", "number"),
        ("load pcm 4294967296", "number"),
        ("load pcm -1", "number"),
        ("infer 0", "number"),
        ("infer 1001", "number"),
        ("infer", "no_input"),
        ("results", "no_result"),
        ("stream", "usage"),
        ("stream radio", "usage"),
        ("stream host loud", "usage"),
        ("stream mic", "no_audio"),
        ("stream host audio", "slow"),
        ("threshold 6 100", "number"),
        ("threshold 0 65536", "number"),
        ("threshold 0 100 200", "range"),
        ("threshold 0 0", "range"),
        ("threshold 0", "usage"),
        ("save 1", "usage"),
        ("save clear 1", "usage"),
        ("record 0", "number"),
        ("record 16001", "number"),
        ("record 100", "no_audio"),
        ("read 0 257", "number"),
        ("read 31999 2", "number"),
        ("read 4294967295 2", "number"),
        ("baud 300", "number"),
        ("baud 2000000", "baud"),
        ("mode slow", "usage"),
        ("a b c d e f g h", "command"),
    ],
)
def test_errors_say_why(wire: Wire, command: str, code: str):
    answer = wire.ask(command)
    assert answer.startswith(f"m3net error {code} ") and len(answer) > len(code) + 20
    assert wire.ask("version").startswith("m3net ok version")


def test_thresholds_change_and_are_reported(wire: Wire):
    assert " threshold=5000 release=4000 " in wire.ask("threshold 2 5000 4000")
    # A release above the new threshold goes down with it.
    assert " threshold=3000 release=3000 " in wire.ask("threshold 2 3000")
    wire.send(b"threshold\n")
    text = wire.until(b"m3net ok threshold")
    assert "m3net class label=2 threshold=3000 release=3000 " in text
    assert text.count("m3net class ") == CLASSES


def test_each_stream_counts_its_columns_from_zero(wire: Wire):
    """The time of an event is its column: it must not depend on earlier streams."""
    noise = np.random.default_rng(4).integers(-9000, 9000, 2 * WINDOW_SAMPLES).astype("<i2")
    wire.ask("threshold 0 20000 10000")
    streams = []
    for _ in range(2):
        assert wire.ask("stream host scores") == "m3net ok stream"
        lines = []
        for at in range(0, noise.nbytes, BLOCK):
            piece = noise.tobytes()[at : at + BLOCK]
            wire.send(f"block {at} {len(piece)} {zlib.crc32(piece):#x}\n".encode() + piece)
            lines += wire.until(f"m3net ok block next={at + len(piece)}\r\n".encode()).splitlines()
        numbers = re.findall(r" (?:columns|runs|skipped_runs|events)=\d+", wire.ask("stat"))
        stream_lines = [
            line.partition(" latency_us=")[0] for line in lines if " block " not in line
        ]
        streams.append((stream_lines, numbers))
    assert any(line.startswith("m3net event ") for line in streams[0][0])
    assert streams[1] == streams[0]


def stream_lines(wire: Wire, source: str, pcm: np.ndarray) -> list[str]:
    """Lines of a stream of these samples, without the answers to its blocks."""
    assert wire.ask(f"stream {source}") == "m3net ok stream"
    data = pcm.astype("<i2").tobytes()
    lines = []
    for at in range(0, len(data), BLOCK):
        piece = data[at : at + BLOCK]
        wire.send(f"block {at} {len(piece)} {zlib.crc32(piece):#x}\n".encode() + piece)
        lines += wire.until(f"m3net ok block next={at + len(piece)}\r\n".encode()).splitlines()
    return [line for line in lines if " ok block " not in line]


def test_a_stream_tells_the_level_of_its_sound(wire: Wire):
    """Every second beside scores; with events alone only when the verdict changes."""
    config = FrontendConfig()
    rng = np.random.default_rng(5)
    sound = np.tile(np.repeat([1.0, 60.0], 8000), 5) * rng.standard_normal(80_000)
    sound[64_000:] *= 500
    pcm = np.clip(sound, -32768, 32767).astype(np.int16)
    microphone = Microphone(config)
    expected = []
    for hop in pcm.reshape(-1, config.hop_samples):
        before = microphone.seconds
        microphone.push(hop)
        if microphone.seconds > before:
            reading = microphone.reading
            expected.append(
                f"m3net level peak={reading.peak} clipped={microphone.clipped} "
                f"missing_db={reading.missing_db} gain_db=0 verdict={reading.verdict.value}"
            )
    assert "quiet" in expected[3] and "clips" in expected[4]
    lines = stream_lines(wire, "host scores", pcm)
    assert [line for line in lines if line.startswith("m3net level ")] == expected
    verdicts = [line.rpartition("=")[2] for line in expected]
    changes = [
        line
        for line, last, now in zip(expected, ["ok", *verdicts], verdicts, strict=False)
        if now != last
    ]
    lines = stream_lines(wire, "host", pcm)
    assert [line for line in lines if line.startswith("m3net level ")] == changes


def test_buffer_is_read_back_with_its_checksum(wire: Wire):
    wire.ask("load features")
    data = bytes(range(250)) + b"\r\nabcd"
    wire.block(0, data)
    wire.send(b"read 0 256\n")
    head = f"m3net data offset=0 bytes=256 crc={zlib.crc32(data):#010x}\r\n"
    assert (
        wire.until(b"m3net ok read\r\n") == head + data.decode("latin1") + "\r\nm3net ok read\r\n"
    )


def test_reset_restarts_and_says_why(wire: Wire):
    wire.ask("load features")
    wire.ask("threshold 1 5 5")
    wire.send(b"reset\n")
    assert wire.until(b"m-ready\r\n").startswith("m3net ok reset\r\nm3net ready protocol=1\r\n")
    assert wire.ask("version").endswith(" reset=software")
    assert wire.ask("infer").startswith("m3net error no_input ")


def thresholds_of(wire: Wire) -> list[str]:
    wire.send(b"threshold\n")
    lines = wire.until(b"m3net ok threshold ").splitlines()[:-1]
    return [*lines, wire.until(b"\r\n").rstrip()]


def test_saved_thresholds_outlast_a_reset_until_they_are_forgotten(wire: Wire):
    exported = thresholds_of(wire)
    assert exported[-1] == "run_columns=5 saved=0"
    wire.ask("threshold 2 5000 4000")
    assert wire.ask("save") == "m3net ok save saved=1"
    wire.ask("threshold 3 6000 6000")
    wire.send(b"reset\n")
    assert "m3net ready protocol=1 thresholds=saved\r\n" in wire.until(b"m-ready\r\n")
    kept = thresholds_of(wire)
    changed = [line for line, former in zip(kept, exported, strict=True) if line != former]
    assert changed[0].startswith("m3net class label=2 threshold=5000 release=4000 ")
    assert changed[1:] == ["run_columns=5 saved=1"]
    assert wire.ask("save clear") == "m3net ok save saved=0"
    assert thresholds_of(wire) == exported
    wire.send(b"reset\n")
    assert "m3net ready protocol=1\r\n" in wire.until(b"m-ready\r\n")
    assert thresholds_of(wire) == exported


def test_a_board_without_flash_says_so(monitor_host: Path):
    choices = ("M3NET_HOST_STORAGE_WORD_BYTES=0", "M3NET_EEMBC_MODE=performance")
    wire = Wire(build_monitor(monitor_host.parent, *choices))
    for command in ("save", "save clear"):
        assert wire.ask(command).startswith("m3net error no_flash there is no flash ")
    assert thresholds_of(wire)[-1] == "run_columns=5"
    wire.process.kill()
    wire.process.communicate()


def test_profile_help_and_memory(wire: Wire):
    wire.send(b"profile\nhelp\n")
    text = wire.until(b"m3net ok help")
    assert "m3net layer 0 op=CONV_2D cost=4000\r\nm3net layer 1 op=SOFTMAX cost=100\r\n" in text
    assert "m3net help stream mic|host|off" in text
    assert " buffer_bytes=32000" in wire.ask("memory")


def test_both_protocols_share_the_wire(wire: Wire):
    wire.ask("load features")
    wire.send(b"name%version\nprofile%")
    assert wire.until(b"m-ready\r\n") == "m-name-dut-[host]\r\nm-ready\r\n"
    assert wire.until(b"\r\n").startswith("m3net ok version")
    assert "m-model-[kws01]\r\n" in wire.until(b"m-ready\r\n")
    # The benchmark's commands end what was being loaded: both fill the same memory.
    assert wire.block(0, bytes(256)).startswith("m3net error no_load ")


def test_the_microphone_is_recorded(monitor_host, tmp_path):
    pcm = np.random.default_rng(3).integers(-32768, 32768, 50_000).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    wire = Wire(monitor_host, tmp_path / "pcm")
    assert wire.ask("record 1000") == "m3net ok record bytes=2000"
    wire.send(b"read 0 256\n")
    assert wire.until(b"m3net ok read").encode("latin1").count(pcm[:128].tobytes()) == 1
    assert wire.ask("record 16000") == "m3net ok record bytes=32000"
    wire.process.kill()
    wire.process.communicate()


@pytest.mark.parametrize("seed", [1])
def test_malformed_lines_leave_it_answering(monitor_host, seed: int):
    command = [str(monitor_host), "batter", str(BATTER_LINES), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(f"{BATTER_LINES} lines, ")
    assert done.stdout.endswith("answering\n")
