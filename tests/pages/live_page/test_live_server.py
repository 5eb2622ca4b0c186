# SPDX-License-Identifier: Apache-2.0
"""The page's server: only for its own page, and only on this computer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from live_rig import TOKEN, Rig, Served, column
from refusals import refuses
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from m3net_tf import cli
from m3net_tf.boards.device.monitor import OpenStream
from m3net_tf.pages.live_page import command, server
from m3net_tf.pages.live_page.command import run_live_page
from m3net_tf.pages.live_page.server import Pages, listening_socket
from m3net_tf.system.errors import ConfigError, FirmwareError


def until(connection: ClientConnection, kind: str) -> dict[str, Any]:
    while (message := json.loads(connection.recv(timeout=60)))["type"] != kind:
        pass
    return message


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.rig.board.stop()
    served.thread.join(10)
    assert not served.thread.is_alive()


def test_the_page_runs_nothing_but_its_own_parts(served: Served):
    response = served.get()
    policy = response.headers["Content-Security-Policy"]
    assert response.status == 200 and "default-src 'none'" in policy
    assert "unsafe" not in policy and policy.count("'sha256-") == 5
    assert f"connect-src 'self' ws://127.0.0.1:{served.port} ws://localhost:{served.port}" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    body = response.body  # type: ignore[attr-defined]
    assert "&lt;i&gt;board&lt;/i&gt;" in body and "<i>board" not in body
    assert " style=" not in body and " onclick=" not in body
    assert served.get("/other").status == 404


def test_other_names_and_other_pages_are_refused(served: Served):
    assert served.get(Host=f"localhost:{served.port}").status == 200
    assert served.get(Host="board.example").status == 400
    for origin in ("http://board.example", f"http://127.0.0.1:{served.port + 1}", "null"):
        with refuses(InvalidStatus, "403"):
            served.connect(origin)


def test_who_does_not_know_the_token_gets_nothing(served: Served):
    for path in ("/", "/live", "//", f"/{TOKEN}", f"/{TOKEN}x/", "/x/", "/%C3%A4/"):
        response = served.get(path)
        assert response.status == 404 and "board" not in response.body  # type: ignore[attr-defined]
        assert TOKEN not in response.body  # type: ignore[attr-defined]
    for path in ("/live", "//live", f"/{TOKEN[:-1]}/live", "/%C3%A4/live"):
        with refuses(InvalidStatus, "403"):
            served.connect(path=path)
    with served.connect() as page:
        until(page, "hello")


def test_pages_get_all_messages_and_their_own_answers(served: Served):
    with served.connect() as first, served.connect() as second:
        assert until(first, "hello")["board"] == "some_board"
        until(second, "hello")
        second.send("no JSON")
        assert until(second, "notice")["error"]
        second.send(json.dumps({"type": "threshold", "label": 1, "value": 0.3}))
        assert until(first, "threshold")["threshold"] == pytest.approx(0.3, abs=1e-4)
        assert until(second, "threshold")["label"] == 1
        assert until(first, "news")["columns"]
        second.send(b"bytes are no request")
        with pytest.raises(ConnectionClosed):
            while True:
                second.recv(timeout=60)
        first.send("x" * (1 << 21) + "x")  # longer than any request
        with pytest.raises(Exception, match="1009|too big|message"):
            while True:
                first.recv(timeout=60)
    with served.connect() as third:
        assert until(third, "hello")


def test_a_page_that_does_not_read_is_dropped():
    async def scenario() -> None:
        pages = Pages()
        pages.start()
        page: asyncio.Queue[str | None] = asyncio.Queue()
        pages.join(page, {"type": "hello"})
        for index in range(server._WAITING + 5):
            pages.publish({"type": "news", "index": index})
        await asyncio.sleep(0)
        texts = [page.get_nowait() for _ in range(page.qsize())]
        assert len(texts) == server._WAITING + 1 and texts[-1] is None
        pages.publish({"type": "news"})
        await asyncio.sleep(0)
        assert page.empty()

    asyncio.run(scenario())


def test_requests_without_end_of_one_page_hold_up_neither_another_page_nor_the_end():
    served = Served()
    carried_out: list[str] = []

    def handle(text: str, reply: Any) -> None:  # as a board that needs time for each answer
        time.sleep(0.01)
        carried_out.append(text)

    served.rig.board.handle = handle  # type: ignore[method-assign]
    with served.connect() as busy, served.connect() as other:
        for number in range(2000):
            busy.send(str(number))
        other.send("other")
        until(other, "news")
        while "other" not in carried_out:
            time.sleep(0.01)
        served.rig.board.stop()
        served.thread.join(5)
    assert not served.thread.is_alive() and len(carried_out) < 500


def test_the_end_of_the_board_is_said_and_ends_the_server():
    served = Served()
    with served.connect() as page:
        until(page, "hello")
        served.failure = FirmwareError("board: the connection broke")
        assert until(page, "ended")["text"] == "board: the connection broke"
    served.thread.join(10)
    assert not served.thread.is_alive() and served.failures == [served.failure]


def test_the_command_says_where_the_page_is_and_records(monkeypatch, tmp_path: Path):
    rig = Rig([column(index) for index in range(5)])

    @contextlib.contextmanager
    def opened_stream(port: str, run: Path, **options: Any) -> Iterator[OpenStream]:
        assert port == "some port" and options["repeat"] and options["audio"]
        yield rig.stream

    monkeypatch.setattr(command, "opened_stream", opened_stream)
    lines: list[str] = []
    take = tmp_path / "take"
    command.run_live_page("some port", tmp_path, record=take, baud=1, web_port=0, log=lines.append)
    assert re.fullmatch(r"http://127.0.0.1:\d+/[\w-]{22}/ shows some_board; Ctrl-C ends", lines[0])
    assert lines[1:] == ["0.1 s of sound, 0 events, 0 hops lost"]
    assert (tmp_path / "take.csv").read_text().startswith("time_s,yes,")


def test_a_port_in_use_and_missing_packages_are_one_line(monkeypatch):
    with listening_socket(0) as listener:
        port = listener.getsockname()[1]
        with refuses(FirmwareError, port, "127.0.0.1", "--web-port"):
            run_live_page("none", Path("none"), baud=1, web_port=port, log=print)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(ConfigError, match=r"needs the package starlette: pip .*\[web\]"):
        run_live_page("none", Path("none"), baud=1, web_port=0, log=print)


def test_the_options_of_the_command(tmp_path: Path):
    words = ["monitor", str(tmp_path / "no_port")]
    with pytest.raises(FirmwareError, match="no such port"):
        cli.app([*words, "--web", "--web-port", "0"], standalone_mode=False)
    with refuses(typer.BadParameter, "--capture", "--web"):
        cli.app([*words, "--capture", str(tmp_path)], standalone_mode=False)
