# SPDX-License-Identifier: Apache-2.0
"""A live board on a list of lines, the messages that it publishes, and its page's server."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device.live import LiveView
from m3net_tf.boards.device.messages import BoardError, DeviceInfo, Message, NoAnswerError, Reply
from m3net_tf.boards.device.mirror import event_thresholds
from m3net_tf.boards.device.monitor import OpenStream
from m3net_tf.pages.live_page.board import LiveBoard
from m3net_tf.pages.live_page.server import Pages, listening_socket, serve
from m3net_tf.runtime import ClassSettings, DetectorConfig
from m3net_tf.system.errors import FirmwareError

SHAPE = {"rate_hz": 16_000, "frame_samples": 512, "hop_samples": 320, "bins": 40, "frames": 4}
TOKEN = "token-of-the-page"
LABELS = ("yes", "<b>no", "silence")
CLASS = ClassSettings("0", threshold=0.5, release=0.4, suppression_columns=0, window_runs=1, hits=1)


class Board:
    """Answers requests; ``streamed`` are lines that came before an answer.

    ``saved`` is whether thresholds are saved; None refuses to save.
    """

    def __init__(self, info: DeviceInfo, saved: bool | None) -> None:
        self.info = lambda: info
        self.saved = saved
        self.port = SimpleNamespace(name="board")
        self.requests: list[str] = []
        self.streamed: deque[Message] = deque()
        self.before_answer: list[Message] = []
        self.silent = False

    def request(self, command: str, timeout_s: float = 5.0) -> Reply:
        self.requests.append(command)
        self.streamed.extend(self.before_answer)
        self.before_answer = []
        if self.silent:
            raise NoAnswerError("no answer")
        if command.startswith("save"):
            if self.saved is None:
                raise BoardError("board", "no_flash", "there is no flash")
            self.saved = command == "save"
            return Reply(Message("ok", "save"))
        if command == "threshold":
            units = "threshold=32768 release=26214 suppression_columns=0 window_runs=1"
            lines = [f"label={label} {units} hits={label != 2:d}" for label in range(len(LABELS))]
            saved = "" if self.saved is None else f" saved={self.saved:d}"
            return Reply(
                Message("ok", f"threshold run_columns=1{saved}"),
                [Message("class", line) for line in lines],
            )
        if command == "stat":
            return Reply(Message("ok", "stat awake_ppm=125000 runs=3 lost_hops=0"))
        _, label, threshold, release = command.split()
        numbers = f"label={label} threshold={threshold} release={release}"
        return Reply(
            Message("ok", f"threshold {numbers} suppression_columns=0 window_runs=1 hits=1")
        )


def column(index: int) -> Message:
    return Message("column", f"column={index} values={bytes(40).hex()}")


def scores(index: int, *values: int) -> Message:
    return Message("scores", f"column={index} out={np.array(values, np.int8).tobytes().hex()}")


class Rig:
    """A live board on a list of lines, and the messages that it publishes."""

    def __init__(
        self,
        lines: Iterable[Message | None],
        frontend: FrontendConfig | None = None,
        publish: Callable[[dict[str, Any]], None] | None = None,
        saved: bool | None = None,
    ) -> None:
        classes = (CLASS, dataclasses.replace(CLASS, label="1"), ClassSettings("2", event=False))
        config = DetectorConfig(4, 1, classes, run_columns=1, gate_level=0, gate_hold_columns=0)
        info = DeviceInfo("some_board", {}, {"name": "small"}, SHAPE, LABELS, 256, 0)
        self.device = Board(info, saved)
        self.lines = iter(lines)
        view = LiveView(info, event_thresholds(config))
        stream = OpenStream(
            self.device, view, self._messages(), config, saved, False, None, None, frontend
        )  # type: ignore[arg-type]
        self.view = view
        self.published: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.stream = stream
        self.board = LiveBoard(stream, publish or self.published.append)

    def _messages(self) -> Iterator[Message | None]:
        yield from self.lines

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.published if message["type"] == kind]

    def news(self, kind: str) -> list[Any]:
        return [entry for message in self.of("news") for entry in message[kind]]

    def ask(self, **request: Any) -> str:
        self.board.handle(json.dumps(request), self.replies.append)
        return self.replies.pop()["text"] if self.replies else ""


class Served:
    """A page on a board that sends a column now and then."""

    def __init__(self, saved: bool | None = None) -> None:
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.pages = Pages()
        self.rig = Rig(self._lines(), publish=self.pages.publish, saved=saved)
        self._listener = listening_socket(0)
        self.port = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _lines(self) -> Iterator[Message | None]:
        for index in range(10_000):
            time.sleep(0.005)
            yield column(index)
            if self.failure:
                raise self.failure

    def _serve(self) -> None:
        try:
            asyncio.run(
                serve(self.rig.board, self.pages, "<i>board</i>", self._listener, None, TOKEN)
            )
        except FirmwareError as error:
            self.failures.append(error)

    def get(self, path: str = f"/{TOKEN}/", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.body = response.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return response

    def connect(self, origin: str | None = None, path: str = f"/{TOKEN}/live") -> ClientConnection:
        origin = origin or f"http://127.0.0.1:{self.port}"
        return connect(f"ws://127.0.0.1:{self.port}{path}", origin=origin)  # type: ignore[arg-type]
