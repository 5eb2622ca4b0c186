# SPDX-License-Identifier: Apache-2.0
"""The monitor's picture: complete at every size of the terminal, and correct."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device.live import LiveView
from m3net_tf.boards.device.messages import DeviceInfo, Message
from m3net_tf.boards.device.screen import Screen, allot
from m3net_tf.system.errors import FirmwareError

SHAPE = {"rate_hz": 16_000, "frame_samples": 512, "hop_samples": 320, "bins": 40, "frames": 49}
RUN_COLUMNS = 5
SIZES = [(60, 16), (80, 24), (200, 50), (100, 16), (61, 40)]


def info_of(classes: int) -> DeviceInfo:
    labels = (*(f"class_{index}" for index in range(classes - 1)), "a word of many letters")
    return DeviceInfo("some_board", {}, {"name": "small"}, SHAPE, labels, 256, 0)


def column(index: int) -> Message:
    values = np.full(40, index % 100, np.int8)
    return Message("column", f"column={index} values={values.tobytes().hex()}")


def scores(index: int, values: list[int]) -> Message:
    return Message("scores", f"column={index} out={np.array(values, np.int8).tobytes().hex()}")


def live_view(classes: int, columns: int = 150, silent_from: int | None = None) -> LiveView:
    """A view after ``columns`` columns; from ``silent_from`` on the gate is closed."""
    view = LiveView(info_of(classes), [0.5] * (classes - 1) + [np.nan])
    rising = [-128 + 200 * index // classes for index in range(classes)]
    for index in range(columns):
        view.feed(column(index))
        due = index >= 48 and (index - 48) % RUN_COLUMNS == 0
        if due and (silent_from is None or index < silent_from):
            view.feed(scores(index, rising))
    for index in range(20):
        view.feed(Message("event", f"column={60 + index} label=0 score=60000 latency_us=21300"))
    return view


def drawn(screen: Screen, width: int, height: int, **options: bool) -> list[str]:
    file = io.StringIO()
    size = {"width": width, "height": height}
    console = Console(file=file, force_terminal=True, color_system="256", **size, **options)
    console.print(screen)
    return file.getvalue().splitlines()


def plain(view: LiveView, width: int, height: int) -> list[str]:
    return drawn(Screen(view, FrontendConfig()), width, height, no_color=True)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("classes", [2, 10, 60])
def test_the_picture_fits_and_is_whole(width: int, height: int, classes: int):
    lines = plain(live_view(classes), width, height)
    assert len(lines) <= height and max(map(cell_len, lines)) <= width
    assert lines[0].startswith("some_board, small: 3.0 s of sound, 20 events")
    assert lines[1].startswith("listening ") and lines[1].endswith("Ctrl-C ends")
    assert lines[2].startswith("class") and "| = threshold" in lines[2] and lines[2].endswith("%")
    text = "\n".join(lines)
    assert text.count(" kHz") == 3 and "now|" in text and "|-" in text
    events = lines[next(i for i, line in enumerate(lines) if line.split()[:1] == ["time"]) :]
    assert events[0].split() == ["time", "event", "score", "delay"]
    assert events[1].split() == ["1.61", "s", "class_0", "92", "%", "21.3", "ms"]
    assert len(events) >= 3
    shown = [line for line in lines[3:] if line.rstrip().endswith("%") and "ms" not in line]
    hidden = classes - len(shown)
    assert (f"({hidden} of {classes} hidden)" in lines[2]) == (hidden > 0)
    assert len(shown) >= min(classes, 6)


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 10), (1, 1)])
def test_a_terminal_too_small_is_filled_and_no_more(width: int, height: int):
    lines = plain(live_view(10), width, height)
    assert len(lines) <= height and max(map(cell_len, lines)) <= width


def test_ten_classes_fit_the_usual_terminal():
    assert allot(24, 10)[0] == 10 and allot(16, 10)[0] == 6
    for height in range(16, 80):
        assert sum(allot(height, 10)) + 5 == height


def test_the_best_classes_are_shown_in_their_own_order():
    lines = plain(live_view(12), 60, 16)
    names = [line.split()[0] for line in lines[3:9]]
    assert names == ["class_6", "class_7", "class_8", "class_9", "class_10", "a"]


def test_thresholds_are_marked_where_there_are_some():
    lines = plain(live_view(10), 80, 24)
    width = len(lines[3].split()[1])
    assert all(line.split()[1][width // 2] == "|" for line in lines[3:12])
    assert "|" not in lines[12]  # a class that makes no events
    full = lines[11].split()[1].replace("|", "")
    assert full.count("#") == pytest.approx(160 / 256 * width, abs=2)


def test_colours_and_none():
    coloured = "\n".join(drawn(Screen(live_view(10)), 80, 24))
    assert "\x1b[32m" in coloured and "\x1b[38;5;" in coloured
    for line in drawn(Screen(live_view(10)), 80, 24, no_color=True):
        assert "\x1b" not in line


def test_each_drawing_reads_the_size_again():
    screen = Screen(live_view(10))
    assert len(drawn(screen, 60, 16, no_color=True)) == 16
    wide = drawn(screen, 150, 40, no_color=True)
    assert len(wide) == 40 and max(map(len, wide)) == 150


def test_frequencies_of_an_unknown_front_end_are_bins():
    text = "\n".join(drawn(Screen(live_view(3)), 80, 24, no_color=True))
    assert "kHz" not in text and text.count(" bin ") == 3


def test_closed_gate_is_quiet_instead_of_the_last_scores():
    view = live_view(10, silent_from=80)
    assert view.quiet
    lines = plain(view, 80, 24)
    assert lines[1].startswith("quiet: ") and "#" not in "".join(lines[3:13])
    assert all(line.endswith(" quiet") for line in lines[3:13])
    view.feed(column(150))
    view.feed(scores(150, [100] * 10))
    assert not view.quiet
    assert "#" in "".join(plain(view, 80, 24)[3:13])


def test_quiet_from_the_start_and_while_the_window_fills():
    view = live_view(3, columns=48)
    assert view.filling and not view.quiet
    assert "the model's window takes 1.0 s" in plain(view, 80, 24)[1]
    assert live_view(3, columns=50, silent_from=0).quiet
    assert not live_view(3, columns=49 + RUN_COLUMNS - 1).quiet


def test_failures_are_reported():
    view = live_view(3, silent_from=80)
    view.feed(Message("overrun", "lost_hops=12"))
    view.damaged_lines = 3
    assert plain(view, 60, 16)[1].startswith("12 hops LOST, 3 lines damaged, quiet")


def test_the_level_is_shown_and_its_faults_are_warned_of():
    view = live_view(3)
    view.feed(Message("level", "peak=3277 clipped=0 missing_db=3 gain_db=0 verdict=ok"))
    head, state = plain(view, 80, 24)[:2]
    assert head.rstrip().endswith("peak -20 dBFS") and state.startswith("listening")
    view.feed(Message("level", "peak=300 clipped=0 missing_db=24 gain_db=0 verdict=quiet"))
    assert plain(view, 90, 24)[1].startswith("too quiet: give the microphone 24 dB more gain, list")
    view.feed(Message("level", "peak=32768 clipped=99 missing_db=0 gain_db=12 verdict=clips"))
    head, state = plain(view, 80, 24)[:2]
    assert "peak 0 dBFS, gain 12 dB" in head and state.startswith("clips: give the microphone less")
    with pytest.raises(FirmwareError, match="damaged"):
        view.feed(Message("level", "peak=1 clipped=0 missing_db=0 gain_db=0 verdict=lou"))


def test_the_last_picture_has_no_hint():
    screen = Screen(live_view(3))
    screen.ended = True
    text = "\n".join(drawn(screen, 80, 24, no_color=True))
    assert "Ctrl-C" not in text and "\nended\n" in text.replace(" \n", "\n")
