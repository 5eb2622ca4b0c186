# SPDX-License-Identifier: Apache-2.0
"""A board's stream as messages for pages, and the requests of pages to the board.

All of it runs in the thread that reads the board, except for :meth:`LiveBoard.submit` and
:meth:`LiveBoard.stop`. Messages are dictionaries with a ``type``.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from m3net_tf.audio.frontend import feature_hz
from m3net_tf.boards.device.live import BoardEvent, Recorder, watch
from m3net_tf.boards.device.messages import BoardError, Message, NoAnswerError
from m3net_tf.boards.device.mirror import (
    MirroredDetector,
    forget_thresholds,
    read_detector,
    save_thresholds,
    set_threshold,
)
from m3net_tf.boards.device.monitor import OpenStream
from m3net_tf.pages.live_page.clips import Captures
from m3net_tf.pages.live_page.requests import (
    DiscardSound,
    Forget,
    KeepRecording,
    LabelSound,
    PlaySound,
    Request,
    Reset,
    Save,
    SetThreshold,
    read_request,
)
from m3net_tf.runtime import ClassSettings, NearMiss, explain
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.system.errors import ConfigError, FirmwareError, M3NetError, os_error_line

Send = Callable[[dict[str, object]], None]
"""Takes a message for a page, or for all pages."""

SHOWN_S = 10.0  # of the stream; a page that opens later gets as much of the past
_KEPT = 50  # events and near misses
_PUBLISH_EVERY_S = 0.05
_STATISTICS_EVERY_S = 1.0
_STATISTICS = (
    *("awake_ppm", "runs", "events", "lost_hops", "audio_overruns", "uart_overruns"),
    *("max_run_us", "latency_us"),
)


class LiveBoard:
    """A board that pages watch.

    Args:
        publish: takes messages for all pages.
        recorder: takes the stream, too.
        captures: keeps sounds that pages label; None: pages cannot.
        speed: lines on the network's speed on the board, as measured before.
        emulated: whether the board's clock is an emulator's, whose times are not a chip's.
    """

    def __init__(
        self,
        stream: OpenStream,
        publish: Send,
        recorder: Recorder | None = None,
        captures: Captures | None = None,
        *,
        speed: Sequence[str] = (),
        emulated: bool = False,
    ) -> None:
        self._speed, self._emulated = speed, emulated
        self._stream = stream
        self._captures = captures
        self._publish = publish
        self._recorder = recorder
        self._mirror = MirroredDetector(stream.detector)
        self._initial = stream.detector.classes
        self._saved = stream.saved
        self._requests: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]]
        self._requests = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._statistics_s = 0.0
        frontend = stream.view.info.frontend
        self._column_s = frontend["hop_samples"] / frontend["rate_hz"]
        self._shown_columns = round(SHOWN_S / self._column_s)
        self._past: dict[str, deque[Any]] = {
            "columns": deque(maxlen=self._shown_columns),
            "runs": deque(maxlen=self._shown_columns),
            "events": deque(maxlen=_KEPT),
            "near_misses": deque(maxlen=_KEPT),
        }
        self._news: dict[str, list[Any]] = {key: [] for key in self._past}
        self._statistics: dict[str, object] = {}

    # --- for other threads ----------------------------------------------------------------------

    def submit(self, request: Callable[[], None]) -> Future[None]:
        """Have a function called in the board's thread, between two lines of the stream.

        Returns:
            Is done after the call; it may be cancelled before. A page waits for it before its next
            request, so that the queue holds one request of each page at most.
        """
        called: Future[None] = Future()
        self._requests.put((request, called))
        return called

    def stop(self) -> None:
        """End :meth:`run` soon: it waits for at most one request and one line."""
        self._stopped.set()

    # --- in the board's thread ------------------------------------------------------------------

    def run(self, seconds: float | None = None) -> None:
        """Read the board until it ends, :meth:`stop`, or ``seconds`` of audio.

        Raises:
            FirmwareError: the board stops the stream, or does not answer.
        """
        view = self._stream.view
        messages = self._served(self._stream.messages)
        watch(messages, view, self, self.flush, seconds=seconds, every_s=_PUBLISH_EVERY_S)

    def join(self, send: Send) -> None:
        """Send a page all that it needs to start."""
        view, frontend = self._stream.view, self._stream.frontend
        hz = None if frontend is None else feature_hz(frontend)
        send(
            {
                "type": "hello",
                "board": view.info.board,
                "model": view.info.model.get("name", "?"),
                "speed": " ".join(map(str.strip, self._speed)),
                "emulated": self._emulated,
                "labels": view.info.labels,
                "frontend": view.info.frontend,
                "hz": None if hz is None else np.round(hz, 1).tolist(),
                "samples": frontend is not None and frontend.kind == "waveform",
                "shown_columns": self._shown_columns,
                "classes": [self._class(label) for label in range(len(view.info.labels))],
                "saved": self._saved,
                "statistics": self._statistics,
                **{key: list(values) for key, values in self._past.items()},
                "captures": self._captures and self._captures.facts(),
            }
        )

    def handle(self, text: str, reply: Send) -> None:
        """Carry out a page's request; its answer, or why it is refused, goes to ``reply``."""
        try:
            self._carry_out(read_request(text), reply)
        except M3NetError as error:
            reply({"type": "notice", "error": True, "text": str(error)})
        except OSError as error:  # such as a full disk; the stream continues
            text = os_error_line(error) or str(error)
            reply({"type": "notice", "error": True, "text": text})

    def _carry_out(self, request: Request, reply: Send) -> None:
        match request:
            case SetThreshold(label, threshold):
                if label >= (classes := len(self._initial)):
                    raise ConfigError(f"class {label}: give a number from 0 to {classes - 1}")
                self._change(label, threshold)
            case Reset():
                for label, settings in enumerate(self._initial):
                    self._change(label, settings.threshold)
            case Save():
                self._save(reply)
            case Forget():
                self._forget(reply)
            case _ if self._captures is None:
                raise ConfigError("no sounds are kept: start m3net monitor with --capture FOLDER")
            case PlaySound(clip):
                reply(self._captures.wav(clip))
            case LabelSound(clip, name):
                self._publish(self._captures.label(clip, name))
            case DiscardSound(clip):
                self._publish(self._captures.discard(clip))
            case KeepRecording(samples):
                self._publish(self._captures.take(samples))

    def feed(self, message: Message) -> None:
        """Take a line of the stream; the view has it already."""
        view = self._stream.view
        if self._recorder:
            self._recorder.feed(message)
        if self._captures:
            self._captures.feed(message)
        if message.word == "column":
            self._news["columns"].append((message.number("column"), message.fields["values"]))
        elif message.word == "event":
            self._add_event(message.number("column"), message.number("label"), view.events[-1])
        self._mirror.feed(message)
        while self._mirror.runs:
            run = self._mirror.runs.popleft()
            self._news["runs"].append({"at": run.column, "means": run.means.round(4).tolist()})
        while self._mirror.near_misses:
            self._add_near_miss(self._mirror.near_misses.popleft())

    def flush(self) -> None:
        """Publish what has come since the last call."""
        view, news = self._stream.view, self._news
        self._news = {key: [] for key in news}
        for key, values in news.items():
            self._past[key] += values
        if any(news.values()):
            state = "filling" if view.filling else "quiet" if view.quiet else "listening"
            damaged = {"damaged_lines": view.damaged_lines}
            level = {"level": "", "warning": ""}
            if view.level:
                level = {"level": view.level.meter, "warning": view.level.warning}
            self._publish({"type": "news", "state": state, **level, **damaged, **news})

    def _served(self, messages: Iterable[Message | None]) -> Iterator[Message | None]:
        """The stream with requests of pages between its lines."""
        for message in messages:
            yield message
            if self._stopped.is_set():
                return
            if time.monotonic() - self._statistics_s >= _STATISTICS_EVERY_S:
                self._statistics_s = time.monotonic()
                self._read_statistics()
            for _ in range(self._requests.qsize()):  # those that come meanwhile wait for a line
                if self._stopped.is_set():
                    return
                self._call_next()

    def _call_next(self) -> None:
        request, called = self._requests.get()
        if called.set_running_or_notify_cancel():
            request()
            called.set_result(None)

    def _read_statistics(self) -> None:
        try:
            numbers = self._stream.device.request("stat").numbers()
        except (BoardError, NoAnswerError):
            self._stream.view.damaged_lines += 1  # asked again in a second
            return
        self._statistics = {key: numbers.get(key) for key in _STATISTICS}
        self._publish({"type": "statistics", **self._statistics})

    def _add_event(self, column: int, label: int, event: BoardEvent) -> None:
        self._news["events"].append(
            {
                "column": column,
                "label": label,
                "time_s": event.time_s,
                "score": event.score,
                "latency_ms": event.latency_ms,
            }
        )
        settings = self._mirror.detector.config.classes[label]
        words = f"detection, {100 * event.score:.1f} %"
        self._keep_sound("event", column, label, event.score, settings.threshold, words)

    def _add_near_miss(self, miss: NearMiss) -> None:
        settings = self._mirror.detector.config.classes[miss.label]
        score, threshold = miss.score / FULL_SCALE, miss.threshold / FULL_SCALE
        words = explain(miss, settings, self._column_s)
        self._news["near_misses"].append(
            {
                "column": miss.column,
                "label": miss.label,
                "time_s": self._stream.view.time_of(miss.column),
                "score": score,
                "reason": miss.reason.value,
                "words": words,
            }
        )
        self._keep_sound("near_miss", miss.column, miss.label, score, threshold, words)

    def _keep_sound(
        self, kind: str, column: int, label: int, score: float, threshold: float, words: str
    ) -> None:
        name = self._stream.view.info.labels[label]
        if self._captures and (
            sound := self._captures.keep(kind, column, name, score, threshold, words)
        ):
            self._publish(sound)

    # --- thresholds -----------------------------------------------------------------------------

    def _class(self, label: int) -> dict[str, object]:
        settings = self._mirror.detector.config.classes[label]
        return {"label": label, "event": settings.event, "threshold": settings.threshold}

    def _change(self, label: int, threshold: float) -> None:
        """Change a threshold on the board and in the mirror, at the same place of the stream."""
        device, release = self._stream.device, self._initial[label].release
        settings = set_threshold(device, label, threshold, release)
        self._feed_before_answer()
        self._take_class(label, settings)

    def _feed_before_answer(self) -> None:
        """Take the lines that came before an answer, under the settings until then."""
        view, streamed = self._stream.view, self._stream.device.streamed
        while streamed:
            message = streamed.popleft()
            try:
                view.feed(message)
                self.feed(message)
            except FirmwareError:
                view.damaged_lines += 1

    def _take_class(self, label: int, settings: ClassSettings) -> None:
        """Give the mirror and all pages the settings that the board has."""
        self._mirror.detector.set_class(label, settings)
        if settings.event:
            self._stream.view.thresholds[label] = settings.threshold
        self._publish({"type": "threshold", **self._class(label)})

    def _save(self, reply: Send) -> None:
        save_thresholds(self._stream.device)
        self._set_saved(True)
        reply({"type": "notice", "error": False, "text": "The board keeps these thresholds."})

    def _forget(self, reply: Send) -> None:
        forget_thresholds(self._stream.device)
        self._feed_before_answer()
        config, saved = read_detector(self._stream.device)
        self._initial = config.classes
        for label, settings in enumerate(self._initial):
            self._take_class(label, settings)
        self._set_saved(saved)
        text = "The board has forgotten its thresholds and has the exported ones again."
        reply({"type": "notice", "error": False, "text": text})

    def _set_saved(self, saved: bool | None) -> None:
        self._saved = saved
        self._publish({"type": "saved", "saved": saved})
