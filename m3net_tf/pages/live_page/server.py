# SPDX-License-Identifier: Apache-2.0
"""The page and its WebSocket on 127.0.0.1.

A page of another site must neither read the board nor change it: requests need the server's own
name, and a WebSocket needs the server's own page as its origin. Other users of this computer do not
know the token in the page's address.
"""

import asyncio
import contextlib
import functools
import json
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from m3net_tf.pages import (
    DRAWING_AND_SOUND,
    environment,
    feature_colours,
    shared_file,
    source_hash,
)
from m3net_tf.pages.live_page.board import LiveBoard
from m3net_tf.system.errors import FirmwareError

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("live.js", "labels.js")
_WAITING = 1000  # messages for a page that does not read; then it is dropped
_REQUEST_BYTES = 1 << 21  # a recording is the longest
_DELIVERED_S = 0.2  # for the last message
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "img-src data:; media-src blob:; "
)


def listening_socket(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1; port 0 is any free one.

    Raises:
        FirmwareError: the port is in use, or reserved.
    """
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        raise FirmwareError(
            f"port {port} of {ADDRESS} cannot be used ({error.strerror}): give another one by "
            "--web-port"
        ) from None


def page_html(title: str) -> tuple[str, str]:
    """The page, and the content security policy that lets nothing but its own parts run.

    Args:
        title: name of the board, as text.
    """
    style = shared_file("page.css") + (_TEMPLATES / "live.css").read_text(encoding="utf-8")
    scripts = [*map(shared_file, DRAWING_AND_SOUND)]
    scripts += [(_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    html = (
        environment(_TEMPLATES)
        .get_template("live.html.j2")
        .render(title=title, style=style, scripts=scripts, colours=feature_colours())
    )
    hashes = " ".join(f"'{source_hash(script)}'" for script in scripts)
    return html, f"{_POLICY}style-src '{source_hash(style)}'; script-src {hashes}; "


class Pages:
    """The pages that are open; any thread may call publish, join and send."""

    def __init__(self) -> None:
        self._open: set[asyncio.Queue[str | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Take the running loop as the server's."""
        self._loop = asyncio.get_running_loop()

    def publish(self, message: dict[str, object]) -> None:
        """Send a message to all pages; any thread may call it."""
        self._call(self._send_all, json.dumps(message))

    def join(self, page: asyncio.Queue[str | None], message: dict[str, object]) -> None:
        """Send a page its first message and then all that are published; from any thread."""
        self._call(self._open_page, page, json.dumps(message))

    def send(self, page: asyncio.Queue[str | None], message: dict[str, object]) -> None:
        """Send a message to one page; any thread may call it."""
        self._call(self._send, page, json.dumps(message))

    def leave(self, page: asyncio.Queue[str | None]) -> None:
        """Forget a page."""
        self._open.discard(page)

    def _call(self, function: Any, *arguments: Any) -> None:
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the pages are, too
                self._loop.call_soon_threadsafe(function, *arguments)

    def _open_page(self, page: asyncio.Queue[str | None], text: str) -> None:
        self._open.add(page)
        self._send(page, text)

    def _send_all(self, text: str) -> None:
        for page in tuple(self._open):
            self._send(page, text)

    def _send(self, page: asyncio.Queue[str | None], text: str) -> None:
        if page.qsize() < _WAITING:
            page.put_nowait(text)
        elif page in self._open:
            self.leave(page)
            page.put_nowait(None)


def application(board: LiveBoard, pages: Pages, title: str, port: int, token: str) -> Starlette:
    """The server's routes: the page at ``/TOKEN/``, its WebSocket at ``/TOKEN/live``."""
    html, policy = page_html(title)
    sources = " ".join(f"ws://{name}:{port}" for name in _NAMES)
    headers = {
        "Content-Security-Policy": f"{policy}connect-src 'self' {sources}",
        "Cross-Origin-Resource-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    origins = {f"http://{name}:{port}" for name in _NAMES}

    def knows_token(request: HTTPConnection) -> bool:
        given = str(request.path_params["token"])
        return secrets.compare_digest(given.encode(), token.encode())

    async def page(request: Request) -> Response:
        if not knows_token(request):
            return PlainTextResponse("use the address that m3net monitor printed", 404, headers)
        return HTMLResponse(html, headers=headers)

    async def live(connection: WebSocket) -> None:
        if connection.headers.get("origin") not in origins or not knows_token(connection):
            await connection.close(1008)
            return
        await connection.accept()
        await _serve(connection, board, pages)

    app = Starlette(
        routes=[Route("/{token}/", page), WebSocketRoute("/{token}/live", live)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(_NAMES))],
    )
    app.router.redirect_slashes = False
    return app


async def _serve(connection: WebSocket, board: LiveBoard, pages: Pages) -> None:
    """Bring a page the board's messages, and the board the page's requests, until it closes.

    A request is read when the one before has been carried out: further ones wait in the page.
    """
    page: asyncio.Queue[str | None] = asyncio.Queue()
    reply = functools.partial(pages.send, page)
    joined = board.submit(lambda: board.join(functools.partial(pages.join, page)))
    sender = asyncio.create_task(_send_messages(connection, page))
    try:
        await asyncio.wrap_future(joined)
        while True:
            text = await connection.receive_text()
            await asyncio.wrap_future(board.submit(functools.partial(board.handle, text, reply)))
    except (WebSocketDisconnect, KeyError, RuntimeError):
        pass  # closed, or bytes in place of text
    finally:
        pages.leave(page)
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sender


async def _send_messages(connection: WebSocket, page: asyncio.Queue[str | None]) -> None:
    while (text := await page.get()) is not None:
        await connection.send_text(text)
    await connection.close(1013)


async def serve(
    board: LiveBoard,
    pages: Pages,
    title: str,
    listener: socket.socket,
    seconds: float | None,
    token: str,
) -> None:
    """Serve the page while the board is read in a thread of its own.

    Raises:
        FirmwareError: the board stops the stream, or does not answer.
    """
    pages.start()
    app = application(board, pages, title, listener.getsockname()[1], token)
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=_REQUEST_BYTES,
        lifespan="off",
        log_level="critical",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    async with _reading(board, pages, server, seconds):
        await server.serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _reading(
    board: LiveBoard, pages: Pages, server: uvicorn.Server, seconds: float | None
) -> AsyncIterator[None]:
    """Read the board in a thread; its end ends the server, and the server's end the reading."""
    failures: list[Exception] = []

    def read() -> None:
        text = "The stream has ended."
        try:
            board.run(seconds)
        # Any other error, such as a full disk, must end the server too; the command prints it.
        except Exception as error:
            failures.append(error)
            text = str(error)
        pages.publish({"type": "ended", "text": text})
        time.sleep(_DELIVERED_S)
        server.should_exit = True

    thread = threading.Thread(target=read, name="board")
    thread.start()
    try:
        yield
    finally:
        board.stop()
        thread.join()
    if failures:
        raise failures[0]
