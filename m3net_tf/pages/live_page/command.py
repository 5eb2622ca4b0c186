# SPDX-License-Identifier: Apache-2.0
"""``m3net monitor --web``: from a port to a page."""

import asyncio
import contextlib
import secrets
from pathlib import Path

from m3net_tf.boards.device.live import Recorder
from m3net_tf.boards.device.monitor import opened_stream
from m3net_tf.boards.device.ports import is_emulated
from m3net_tf.boards.measure.real_time import measured_pace, pace_lines
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.extras import require_modules
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted


def run_live_page(
    port: str,
    run: Path,
    *,
    play: Path | None = None,
    record: Path | None = None,
    capture: Path | None = None,
    seconds: float | None = None,
    baud: int,
    web_port: int,
    log: Log,
) -> None:
    """Serve the page of a board until Ctrl-C, or after ``seconds`` of audio.

    Args:
        run: run whose firmware is emulated, for ``qemu:BOARD``.
        play: sound file as input, which is repeated.
        record: path without suffix for CSV and WAV.
        capture: folder of the sounds that are labelled on the page; None: none are.
        web_port: TCP port of the page; 0 is any free one.

    Raises:
        ConfigError: the packages of the page are not installed.
        FirmwareError: as for connecting and streaming, or the TCP port is in use.
        DataError: the sound cannot be read.
    """
    require_modules("the live page", "web", "jinja2", "starlette", "uvicorn", "websockets")
    from m3net_tf.pages.live_page.board import LiveBoard
    from m3net_tf.pages.live_page.clips import Captures
    from m3net_tf.pages.live_page.server import Pages, listening_socket, serve

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening_socket(web_port))
        audio = record is not None or capture is not None
        stream = stack.enter_context(
            opened_stream(port, run, play=play, baud=baud, audio=audio, log=log, repeat=True)
        )
        view = stream.view
        recorder = None
        if record is not None:
            recorder = stack.enter_context(Recorder(record, view, stream.audio))
        pages = Pages()
        captures = None if capture is None else Captures(capture, stream)
        speed = _speed(run, view.info.board)
        board = LiveBoard(
            stream, pages.publish, recorder, captures, speed=speed, emulated=is_emulated(port)
        )
        address, tcp_port = listener.getsockname()
        token = secrets.token_urlsafe(16)  # other users of this computer cannot guess it
        log(f"http://{address}:{tcp_port}/{token}/ shows {view.info.board}; Ctrl-C ends")
        for line in speed:
            log(line)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(board, pages, view.info.board, listener, seconds, token))
    log(
        f"{view.audio_s:.1f} s of sound, {counted(view.event_count, 'event')}, "
        f"{counted(view.lost_hops, 'hop')} lost"
    )


def _speed(run: Path, board: str) -> list[str]:
    """Lines on the speed of the run's network on a board; none for one without a ``board.toml``."""
    try:
        return pace_lines(board, measured_pace(run, board))
    except M3NetError:
        return []
