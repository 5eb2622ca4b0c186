# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net monitor``: a stream drawn in the terminal and written to disk."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.live import Live

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.device import live as streams
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.live import LiveView, Recorder
from m3net_tf.boards.device.messages import DeviceInfo, Message
from m3net_tf.boards.device.mirror import event_thresholds, read_detector
from m3net_tf.boards.device.ports import is_emulated
from m3net_tf.boards.device.screen import Screen
from m3net_tf.boards.device.session import LIVE_ARGUMENTS, connect, emulated_sound, read_sound
from m3net_tf.boards.emulation.qemu import HEADER
from m3net_tf.export import Bundle
from m3net_tf.runtime import DetectorConfig
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted

_REPEATED_S = 600
_LINES_BELOW = 2  # of the last picture: the summary and the prompt


def run_monitor(
    port: str,
    run: Path,
    console: Console,
    *,
    play: Path | None = None,
    record: Path | None = None,
    seconds: float | None = None,
    baud: int,
    log: Log,
    on_event: Callable[[streams.BoardEvent], None] | None = None,
) -> None:
    """Show live detection until Ctrl-C, after ``seconds``, or until the end of the sound.

    After a sound comes silence as long as the model's window, so that the sound's end passes
    through the window, too.

    Args:
        console: destination of the picture; a pipe gets a line for each event instead.
        play: sound file as input: through the microphone of an emulated board that has one,
            otherwise sent over the connection.
        record: path without suffix for CSV and WAV.
        seconds: length of the audio, in seconds; None is unlimited.
        on_event: called for each event; then nothing is drawn.

    Raises:
        FirmwareError: as for connecting and streaming.
        DataError: the sound cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(
            opened_stream(port, run, play=play, baud=baud, audio=record is not None, log=log)
        )
        view = stream.view
        recorder = None
        if record is not None:
            recorder = stack.enter_context(Recorder(record, view, stream.audio))
        if stream.sound_s is not None:
            seconds = min(seconds or math.inf, stream.sound_s + view.window_s)
        on_event = on_event or _event_handler(console, log)
        screen = Screen(view, stream.frontend)
        draw = _telling(view, on_event) if on_event else _drawing(stack, console, screen)
        with contextlib.suppress(KeyboardInterrupt):
            streams.watch(stream.messages, view, recorder, draw, seconds=seconds)
    log(
        f"{view.audio_s:.1f} s of sound, {counted(view.event_count, 'event')}, "
        f"{counted(view.lost_hops, 'hop')} lost"
    )
    if view.level and (warning := view.level.warning):
        log(f"the microphone: {warning} (docs/guide/troubleshooting.md)")


@dataclasses.dataclass(frozen=True)
class OpenStream:
    """A board that streams columns and scores.

    Attributes:
        messages: lines of the stream; None while no line comes.
        saved: whether the board started with saved thresholds; None: it has no flash for them.
        played: sound that is sent over the line, int16, shape (samples,); None for a microphone.
        sound_s: length of an emulated microphone's sound in seconds; None for other sources.
        frontend: the front end of the board's model; None if it is another one than the run's.
    """

    device: Device
    view: LiveView
    messages: Iterable[Message | None]
    detector: DetectorConfig
    saved: bool | None
    audio: bool
    played: npt.NDArray[np.int16] | None
    sound_s: float | None
    frontend: FrontendConfig | None


@contextlib.contextmanager
def opened_stream(
    port: str,
    run: Path,
    *,
    play: Path | None,
    baud: int,
    audio: bool,
    log: Log,
    repeat: bool = False,
) -> Iterator[OpenStream]:
    """Connect to a board and start its stream; see :func:`run_monitor`.

    Args:
        audio: whether to stream audio if the line is fast enough.
        repeat: whether a sound file is repeated: over the line for ten minutes, on an emulated
            board as long as its memory has room.

    Raises:
        FirmwareError: as for connecting and streaming.
        DataError: the sound cannot be read.
    """
    emulated = is_emulated(port)
    sound = emulated_sound(port, run, play)
    if sound is not None and repeat:
        room_bytes = find_machine(port.partition(":")[2]).job_bytes - HEADER.size
        sound = _repeated(sound, room_bytes // 2)
    with connect(
        port, run, baud=baud, sound=sound, emulator_arguments=LIVE_ARGUMENTS, log=log
    ) as device:
        info = device.info()
        rate_hz = info.frontend["rate_hz"]
        config, saved = read_detector(device)
        view = LiveView(info, event_thresholds(config))
        over_line = play is not None and (not emulated or info.version.get("audio") == "0")
        streams_audio = streams.start_stream(
            device, "host" if over_line else "mic", audio=audio, log=log
        )
        messages: Iterable[Message | None] = streams.listen(device)
        played = None
        if over_line and play is not None:
            played = read_sound(play, rate_hz)
            if repeat:
                played = _repeated(played, _REPEATED_S * rate_hz)
            silence = np.zeros(round(view.window_s * rate_hz), np.int16)
            played = np.concatenate([played, silence])
            messages = streams.play(device, played)
        sound_s = None if sound is None or over_line else len(sound) / rate_hz
        frontend = _frontend_of(run, info)
        yield OpenStream(
            device, view, messages, config, saved, streams_audio, played, sound_s, frontend
        )


def _repeated(sound: npt.NDArray[np.int16], most_samples: int) -> npt.NDArray[np.int16]:
    """As many whole repetitions as have at most so many samples, and at least one."""
    return np.tile(sound, max(1, most_samples // max(1, len(sound))))


def _frontend_of(run: Path, info: DeviceInfo) -> FrontendConfig | None:
    """The front end of the board's model if the run exported that model, otherwise None."""
    try:
        bundle = Bundle.load(run / "export")
    except M3NetError:
        return None
    same = bundle.manifest.model.sha256 == info.model.get("sha256")
    return bundle.frontend if same else None


def _drawing(stack: contextlib.ExitStack, console: Console, screen: Screen) -> Callable[[], None]:
    """The function that draws the view on a terminal.

    The picture is on the terminal's alternate screen, which survives resizing; the last picture
    is printed when that screen is left.
    """

    def leave_last_picture() -> None:
        screen.ended = True
        console.print(screen, height=max(console.height - _LINES_BELOW, 1))

    stack.callback(leave_last_picture)
    live = stack.enter_context(Live(console=console, auto_refresh=False, screen=True))
    return lambda: live.update(screen, refresh=True)


def _telling(
    view: streams.LiveView, on_event: Callable[[streams.BoardEvent], None]
) -> Callable[[], None]:
    """The function that passes on each new event of the view."""
    shown_count = 0

    def show_new() -> None:
        nonlocal shown_count
        new_count = min(view.event_count - shown_count, len(view.events))
        for event in list(view.events)[len(view.events) - new_count :]:
            on_event(event)
        shown_count = view.event_count

    return show_new


def _event_handler(console: Console, log: Log) -> Callable[[streams.BoardEvent], None] | None:
    """The function that logs an event; None for a terminal, which has a picture."""
    if console.is_terminal:
        return None
    return lambda event: log(
        f"{event.time_s:.2f} s {event.label} {100 * event.score:.0f} % "
        f"after {event.latency_ms:.1f} ms"
    )
