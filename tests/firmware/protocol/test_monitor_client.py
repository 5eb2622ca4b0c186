# SPDX-License-Identifier: Apache-2.0
"""The host's side of the protocol with the host's monitor: a pty, TCP, and a bad line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from monitor_host import CLASSES, behind_pty, expected_output
from refusals import refuses
from rich.console import Console

from m3net_tf.boards.device import Device, Port, client, monitor, open_port
from m3net_tf.boards.device.capture import capture
from m3net_tf.boards.device.live import (
    LiveView,
    Recorder,
    listen,
    play,
    start_stream,
    watch,
)
from m3net_tf.boards.device.messages import BoardError, Message
from m3net_tf.boards.device.mirror import (
    MirroredDetector,
    event_thresholds,
    read_detector,
    set_threshold,
)
from m3net_tf.boards.device.monitor import run_monitor
from m3net_tf.runtime import Reason
from m3net_tf.system.errors import ConfigError, FirmwareError


@pytest.fixture()
def pty(monitor_host: Path) -> Iterator[Callable[..., str]]:
    """Starts a board behind a pty; gives the pty's path."""
    with contextlib.ExitStack() as boards:
        yield lambda *words: boards.enter_context(behind_pty(monitor_host, *words))


def features_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (40, 49)).astype(np.int8)


def test_a_board_behind_a_pty(pty):
    with Device(open_port(pty())) as device:
        info = device.info()
        assert info.board == "host" and len(info.labels) == CLASSES
        assert info.labels[0] == "some label" and info.buffer_bytes == 32_000
        for seed in range(3):
            features = features_of(seed)
            device.load(features)
            result = device.infer(2)
            np.testing.assert_array_equal(result.output, expected_output(features))
            assert result.label == expected_output(features).argmax()
            assert result.model_cost > 0 and result.frontend_cost == result.frames == 0
        device.load(np.zeros(16_000, np.int16))
        assert device.infer().frames == 49
        assert device.request("stat").number("bad_blocks") == 0
        assert device.set_baud(57_600) and device.info().version["baud"] == "57600"
        assert not device.set_baud(4_000_000)
    with refuses(FirmwareError, "runs/other"), Device(open_port(pty())) as device:
        device.require_model("0" * 64, "runs/other")


def test_a_board_behind_tcp(monitor_host: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = open_port(f"tcp:127.0.0.1:{listener.getsockname()[1]}")
        connection, _ = listener.accept()
    with connection:
        process = subprocess.Popen([monitor_host, "serve"], stdin=connection, stdout=connection)
    with Device(port) as device:
        assert device.info().board == "host"
        process.kill()
        process.wait()
        with pytest.raises(FirmwareError, match="connect again"):
            device.request("version")


class BadLine(Port):
    """A port that corrupts its data: drops or changes a byte at regular intervals."""

    def __init__(self, port: Port, every: int) -> None:
        super().__init__(port.name)
        self._port = port
        self._every = every
        self._rng = np.random.default_rng(4)
        self.spoilt = 0

    def read(self, timeout_s: float) -> bytes:
        return self._port.read(timeout_s)

    def write(self, data: bytes) -> None:
        if len(data) > 100 and self._rng.integers(self._every) == 0:
            self.spoilt += 1
            at = int(self._rng.integers(len(data)))
            changed = b"" if self._rng.random() < 0.5 else bytes([data[at] ^ 0x10])
            data = data[:at] + changed + data[at + 1 :]
        self._port.write(data)

    def close(self) -> None:
        self._port.close()


def test_a_bad_line_costs_time_but_changes_nothing(pty):
    line = BadLine(open_port(pty()), every=3)
    with Device(line) as device:
        for seed in range(4):
            features = features_of(seed)
            device.load(features)
            np.testing.assert_array_equal(device.infer().output, expected_output(features))
        assert line.spoilt >= 5
        assert device.request("stat").number("bad_commands") >= line.spoilt


def test_it_finds_a_board_in_the_midst_of_something(pty):
    port = open_port(pty())
    port.write(b"load features\nblock 0 256 0x1\nhalf a bl")
    with Device(port) as device:
        assert device.info().board == "host"
    port = open_port(pty())
    port.write(b"stream host columns\nvers")
    with Device(port) as device:
        assert device.request("stat").number("streaming") == 0


@pytest.fixture
def impatient(monkeypatch):
    """The first answer of a board must come at once."""
    monkeypatch.setattr(client, "SYNC_TIMEOUT_S", 0.2)


def test_nobody_there(impatient):
    host_end, device_end = os.openpty()
    try:
        with (
            pytest.raises(FirmwareError, match="check port and speed"),
            Device(open_port(os.ttyname(device_end))),
        ):
            pass
    finally:
        os.close(host_end)
        os.close(device_end)


def test_a_board_that_stopped_at_start_says_why(impatient):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = open_port(f"tcp:127.0.0.1:{listener.getsockname()[1]}")
        board, _ = listener.accept()
    with board:
        board.sendall(b"m3net boot board=x\r\nm3net error arena too small: build with more\r\n")
        with (
            pytest.raises(FirmwareError, match="too small: build with more$"),
            Device(port),
        ):
            pass


def test_errors_of_the_board_have_its_code(pty):
    with Device(open_port(pty())) as device:
        with refuses(BoardError, "no_audio") as caught:
            device.request("stream mic")
        assert caught.value.code == "no_audio" and "\n" not in str(caught.value)


def test_clips_are_captured_into_a_data_set(pty, tmp_path: Path):
    from m3net_tf.audio.datasets import load_dataset
    from m3net_tf.audio.datasets.captured import CapturedClips

    pcm = np.random.default_rng(6).integers(-9000, 9000, 16_000).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    folder = tmp_path / "mine"
    lines: list[str] = []
    with Device(open_port(pty(tmp_path / "pcm"))) as device:
        model_sha256 = device.info().model["sha256"]
        first = capture(device, folder, "clap", 2, 0.5, lines.append)
        second = capture(device, folder, "clap", 1, 1.0)
        capture(device, folder, "quiet", 1, 1.0)
        with pytest.raises(ConfigError, match="up to 1 s"):
            capture(device, folder, "clap", 1, 1.5)
        for label in ("../clap", "on\noff"):
            with refuses(ConfigError, repr(label)[1:-1]):
                capture(device, folder, label, 1, 1.0)
        with refuses(ConfigError, "2", "0.5", "--count"):
            capture(device, folder, "clap", 3, 0.5, sound_samples=16_000)
        assert len(capture(device, tmp_path / "2", "clap", 2, 0.5, sound_samples=16_000)) == 2
    clips = {clip.path: clip for clip in CapturedClips(folder)}
    assert len({*first, *second}) == 3 and {clips[path].label for path in first} == {"clap"}
    assert all(clip.provenance["model_sha256"] == model_sha256 for clip in clips.values())
    samples, rate_hz = soundfile.read(second[0], dtype="int16")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(samples, pcm)
    assert len(lines) == 2 and "0.5 s, " in lines[0]
    for split in ("train", "validation", "test"):
        shutil.copytree(folder, tmp_path / "split" / split)
    dataset = load_dataset("folder", tmp_path / "split")
    assert dataset.info.labels == ("clap", "quiet")


def test_a_stream_is_shown_and_recorded(pty, tmp_path: Path):
    pcm = np.random.default_rng(7).integers(-20_000, 20_000, 40_000).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    with Device(open_port(pty(tmp_path / "pcm"))) as device:
        for label in range(CLASSES):  # so that there are events
            device.request(f"threshold {label} {25_000 + 3000 * label} 20000")
        view = LiveView(device.info())
        drawn: list[object] = []
        with Recorder(tmp_path / "out" / "take", view, audio=True) as recorder:
            assert start_stream(device, "mic", audio=True, log=drawn.append)
            watch(listen(device), view, recorder, lambda: drawn.append(view.audio_s), seconds=2.0)
        assert device.info().version["baud"] == "921600"
    assert view.audio_s >= 2.0 and view.lost_hops == 0 and len(view.columns) == 100
    assert view.event_count > 0 and view.events[-1].label == "some label"
    recorded, _ = soundfile.read(tmp_path / "out" / "take.wav", dtype="int16")
    assert len(recorded) >= 32_000
    np.testing.assert_array_equal(recorded[:32_000], pcm[:32_000])
    rows = (tmp_path / "out" / "take.csv").read_text().splitlines()
    assert rows[0].startswith("time_s,some label,") and rows[0].endswith(",event,latency_ms")
    assert len(rows) > 5 and rows[1].startswith("0.992,")
    assert sum(",some label," in row for row in rows[1:]) == view.event_count
    assert len(drawn) >= 1


def test_sound_is_played_over_the_line(pty):
    pcm = np.random.default_rng(8).integers(-20_000, 20_000, 20_000).astype(np.int16)
    with Device(open_port(pty())) as device:
        view = LiveView(device.info())
        assert not start_stream(device, "host", audio=False, log=print)
        watch(play(device, pcm), view)
        statistics = device.request("stat").numbers()
    assert statistics["hops"] == len(pcm) // 320 and statistics["lost_hops"] == 0
    assert view.audio_s == pytest.approx((61 * 320) / 16_000 + 0.012, abs=0.02)
    assert statistics["runs"] == len(range(48, statistics["columns"], 5))


def test_monitor_command_prints_events_and_records(pty, tmp_path: Path, capsys):
    """In a pipe, not a terminal: a line for each event, and a summary."""
    from m3net_tf import cli

    pcm = np.random.default_rng(9).integers(-20_000, 20_000, 48_000).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    path = pty(tmp_path / "pcm")
    with Device(open_port(path)) as device:
        for label in range(CLASSES):
            device.request(f"threshold {label} 25000 20000")
    stem = str(tmp_path / "take")
    command = ["monitor", path, "--seconds", "2", "--record", stem]
    assert not cli.app(command, standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    event_lines = [line for line in lines if " some label " in line]
    assert event_lines and lines[-1].startswith("2.0")
    assert f" s of sound, {len(event_lines)} events, 0 hops lost" in lines[-1]
    samples, _ = soundfile.read(stem + ".wav", dtype="int16")
    np.testing.assert_array_equal(samples[:32_000], pcm[:32_000])
    soundfile.write(stem + "-in.wav", pcm[:24_000], 16_000)
    command = ["monitor", path, "--play", stem + "-in.wav", "--record", stem + "2"]
    assert not cli.app(command, standalone_mode=False)
    # The sound, and silence for as long as the model's window.
    assert "2.5 s of sound, " in capsys.readouterr().out
    screen = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    run_monitor(path, tmp_path, screen, seconds=1.2, baud=115_200, log=print)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "host, small: " in shown and "#" in shown and "some label" in shown
    assert "|" in shown and "Ctrl-C ends" in shown and shown.count("ended") == 1
    assert (tmp_path / "take2.csv").exists() and not (tmp_path / "take2.wav").exists()


def emulate(monkeypatch, path: str, sound: np.ndarray, **version: str) -> None:
    """Let the monitor take the board behind a pty for an emulated one."""

    @contextlib.contextmanager
    def connect(*_: object, **__: object) -> Iterator[Device]:
        with Device(open_port(path)) as device:
            device.info().version.update(version)
            yield device

    monkeypatch.setattr(monitor, "is_emulated", lambda _: True)
    monkeypatch.setattr(monitor, "emulated_sound", lambda *_: sound)
    monkeypatch.setattr(monitor, "connect", connect)


def test_an_emulated_board_without_microphone_hears_by_the_line(pty, tmp_path: Path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(4800, np.int16), 16_000)
    path = pty()
    emulate(monkeypatch, path, np.zeros(4800, np.int16), audio="0")
    lines: list[str] = []
    screen = Console(file=io.StringIO())
    run_monitor(path, tmp_path, screen, play=tmp_path / "a.wav", baud=115_200, log=lines.append)
    assert lines[-1] == "1.3 s of sound, 0 events, 0 hops lost"


def test_the_monitor_of_an_emulated_board_ends_with_its_sound(pty, tmp_path: Path, monkeypatch):
    """Its microphone never stops; the end of the sound passes through the model first."""
    pcm = np.random.default_rng(10).integers(-20_000, 20_000, 12_000).astype("<i2")
    (tmp_path / "pcm").write_bytes(pcm.tobytes())
    path = pty(tmp_path / "pcm")
    emulate(monkeypatch, path, pcm)
    lines: list[str] = []
    stem = tmp_path / "take"
    run_monitor(
        path, tmp_path, Console(file=io.StringIO()), play=tmp_path / "a.wav", record=stem,
        baud=115_200, log=lines.append,
    )  # fmt: skip
    assert lines[-1].startswith("1.8 s of sound")  # 0.75 s and the window's 0.99 s: column 86
    rows = (tmp_path / "take.csv").read_text().splitlines()
    # A run at each fifth column from the 48th: those due until the end were reported.
    last_column = round((float(rows[-1].split(",")[0]) * 16_000 - 512) / 320)
    assert last_column == 83 and len(rows) - 1 == len(range(48, 84, 5))


def test_a_board_without_sound_is_advised_its_option(pty, tmp_path: Path):
    """The error names command-line options; the board's own advice names a protocol request."""
    path = pty()
    with refuses(FirmwareError, "--play", "FILE") as no:
        run_monitor(path, tmp_path, Console(file=io.StringIO()), baud=115_200, log=print)
    assert "stream host" not in str(no.value)
    with Device(open_port(path)) as device:
        with pytest.raises(FirmwareError, match="check its microphone"):
            capture(device, tmp_path, "clap", 1, 0.5)
        device.port.name = "qemu:some_board"
        with refuses(FirmwareError, "--play", "FILE"):
            capture(device, tmp_path, "clap", 1, 0.5)
        device.info().version["audio"] = "0"
        with pytest.raises(FirmwareError, match="use a board with a microphone"):
            capture(device, tmp_path, "clap", 1, 0.5)


def test_thresholds_are_read_from_the_board_and_set(pty):
    with Device(open_port(pty())) as device:
        settings = set_threshold(device, 1, 0.5, 0.7)
        assert settings.threshold == settings.release == 0.5
        config, _ = read_detector(device)
        assert config.classes[1] == settings and config.run_columns == 5
        thresholds = event_thresholds(config)
        assert len(thresholds) == CLASSES and thresholds[1] == 0.5
        with pytest.raises(BoardError, match="number"):
            set_threshold(device, CLASSES, 0.5, 0.5)
        with pytest.raises(BoardError, match="range"):
            set_threshold(device, 1, 0.0, 0.0)
        assert read_detector(device)[0] == config


def test_a_mirror_has_the_events_of_the_board_and_names_near_misses(pty, tmp_path: Path):
    """Also after a threshold has changed in the middle of the stream."""
    rng = np.random.default_rng(5)
    loud = np.arange(64_000) % 32_000 < 16_000
    pcm = rng.integers(-20_000, 20_000, 64_000) * np.where(loud, 1.0, 0.03)
    (tmp_path / "pcm").write_bytes(pcm.astype("<i2").tobytes())
    with Device(open_port(pty(tmp_path / "pcm"))) as device:
        mirror = MirroredDetector(read_detector(device)[0])
        events: list[int] = []

        def take(message: Message) -> None:
            mirror.feed(message)
            if message.word == "event":
                events.append(message.number("column"))

        changed = False
        start_stream(device, "mic", audio=False, log=print)
        for message in filter(None, listen(device)):
            take(message)
            if mirror.detector.columns > 4000:
                break
            if mirror.detector.columns > 200 and not changed:
                changed = True
                for label in range(CLASSES):
                    settings = set_threshold(device, label, 1.0 - 0.1 * label, 0.4)
                    while device.streamed:  # lines before the answer
                        take(device.streamed.popleft())
                    mirror.detector.set_class(label, settings)
        assert mirror.detector.events == len(events) > 20
    assert Reason.THRESHOLD in {miss.reason for miss in mirror.near_misses}


def test_facts_of_a_board_have_numbers_as_numbers(pty, capsys, narrow):
    from m3net_tf import cli

    path = pty()
    assert not cli.app(["device", "info", path, "--json"], standalone_mode=False)
    facts = json.loads(capsys.readouterr().out)
    assert facts["board"]["baud"] == 115_200 and facts["board"]["protocol"] == 1
    assert facts["model"]["classes"] == CLASSES and isinstance(facts["model"]["sha256"], str)
    assert facts["frontend"]["rate_hz"] == 16_000 and facts["memory"]["buffer_bytes"] == 32_000
    assert not cli.app(["device", "info", path], standalone_mode=False)
    table = capsys.readouterr().out
    assert "115200 baud" in table and "32,000 bytes" in table and "{" not in table
    assert max(map(len, table.splitlines())) <= 80 and "…" not in table


def test_only_an_emulated_board_records_a_file(tmp_path: Path):
    from m3net_tf import cli

    words = ["--label", "a", "--folder", str(tmp_path), "--play", "a.wav"]
    with pytest.raises(FirmwareError, match="emulated board"):
        cli.app(["device", "capture", "/dev/ttyACM0", *words], standalone_mode=False)


def test_damaged_lines_of_a_stream_are_skipped(pty, tmp_path: Path):
    with Device(open_port(pty())) as device:
        view = LiveView(device.info())
    good = "column=48 out=" + "7f" * CLASSES
    lines = [
        Message("column", "column=1 values=00"),
        Message("column", "column=x values=" + "00" * 40),
        Message("scores", "column=48 out=7z"),
        Message("scores", "out="),
        Message("event", "column=48 label=99 score=1 latency_us=1"),
        Message("event", "column=48"),
        Message("overrun", ""),
        Message("scores", good),
        Message("event", "column=48 label=1 score=60000 latency_us=1500"),
    ]
    with Recorder(tmp_path / "take", view, audio=False) as recorder:
        watch(lines, view, recorder)
    assert view.damaged_lines == 7 and view.event_count == 1
    assert view.scores.tolist() == [255 / 256] * CLASSES
    rows = (tmp_path / "take.csv").read_text().splitlines()
    assert len(rows) == 2 and rows[1].endswith(",some label,1.5")
