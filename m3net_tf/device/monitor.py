# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net monitor``: a stream drawn in the terminal and written to disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.live import Live

from m3net_tf.device import live as streams
from m3net_tf.device.client import Device, Message
from m3net_tf.device.live import LiveView, Recorder
from m3net_tf.device.session import connect, read_sound


def run_monitor(
    port: str,
    run: Path,
    console: Console,
    *,
    play: Path | None = None,
    record: Path | None = None,
    seconds: float | None = None,
    baud: int,
    log: Callable[[str], None],
) -> None:
    """Show what a board hears until Ctrl-C, ``seconds``, or the end of the sound.

    Args:
        port: where the board is.
        run: run whose firmware is emulated, for ``qemu:BOARD``.
        console: where to draw; a pipe gets a line for each event instead.
        play: sound file for the board to hear: by its microphone if it is emulated, else sent to
            it over the line.
        record: path without suffix for CSV and WAV.
        seconds: audio to hear.
        baud: speed of a serial device.
        log: takes lines of progress.

    Raises:
        FirmwareError: as connecting and streaming do.
        DataError: the sound cannot be read.
    """
    emulated = port.startswith("qemu:")
    sound = play if emulated else None
    with contextlib.ExitStack() as stack:
        device = stack.enter_context(
            connect(port, run, baud=baud, sound=sound, live=emulated, log=log)
        )
        by_line = play is not None and not emulated
        source = "host" if by_line else "mic"
        audio = streams.start_stream(device, source, audio=record is not None, log=log)
        view = LiveView(device.info())
        recorder = None
        if record is not None:
            recorder = stack.enter_context(Recorder(record, view, audio))
        messages = _messages(device, play if by_line else None)
        draw = _drawing(stack, console, view, log)
        with contextlib.suppress(KeyboardInterrupt):
            streams.watch(messages, view, recorder, draw, seconds=seconds)
    log(f"{view.heard_s:.1f} s heard, {view.event_count} events, {view.lost_hops} hops lost")


def _messages(device: Device, sound: Path | None) -> Iterable[Message | None]:
    if sound is None:
        return streams.listen(device)
    return streams.play(device, read_sound(sound, device.info().frontend["rate_hz"]))


def _drawing(
    stack: contextlib.ExitStack, console: Console, view: LiveView, log: Callable[[str], None]
) -> Callable[[], None]:
    """How the view is shown: drawn in a terminal, else a line for each new event."""
    if console.is_terminal:
        live = stack.enter_context(Live(console=console, auto_refresh=False, transient=False))

        def draw() -> None:
            live.update(view.render(), refresh=True)

        return draw
    told = 0

    def tell() -> None:
        nonlocal told
        new = min(view.event_count - told, len(view.events))
        for event in list(view.events)[len(view.events) - new :]:
            log(
                f"{event.time_s:.2f} s {event.label} {100 * event.score:.0f} % "
                f"after {event.latency_ms:.1f} ms"
            )
        told = view.event_count

    return tell
