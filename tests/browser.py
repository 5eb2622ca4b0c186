# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven by its DevTools protocol over two pipes."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TIMEOUT_S = 300.0  # the computer may be busy
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # and that every page may use
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Path of a Chromium; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Page:
    """A tab. ``events`` are all events of its console, log and network so far."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to = to_browser
        self._from = from_browser
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Load a file at a width and wait until its charts are drawn."""
        self.load(path.resolve().as_uri(), width, dark=dark)
        self.wait_until_drawn(dark=dark)

    def load(self, address: str, width: int, *, dark: bool = False) -> None:
        """Load a page at a width."""
        self.resize(width, dark=dark)
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Change width and colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def wait_until_drawn(self, *, dark: bool = False) -> None:
        """Wait until the charts are drawn in a colour scheme."""
        scheme = "dark" if dark else "light"
        self.wait(f"document.documentElement.dataset.drawn === '{scheme}'")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _TIMEOUT_S
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"not true: {condition}; {self.problems()}"
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """Value of an expression, or of the promise that it gives."""
        reply = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as PNG."""
        reply = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(reply["data"])

    def problems(self) -> list[str]:
        """Errors and warnings on the console, and uncaught exceptions."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        said = [
            json.dumps(event["params"]) for event in self.events if event.get("method") in kinds
        ]
        return said + [
            json.dumps(event["params"]["args"])
            for event in self.events
            if event.get("method") == "Runtime.consoleAPICalled"
            and event["params"]["type"] in ("error", "warning", "assert")
        ]

    def requests(self) -> list[str]:
        """Addresses that the page has requested."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], _TIMEOUT_S)
            assert ready, "Chromium does not answer"
            part = os.read(self._from, 1 << 20)
            assert part, "Chromium has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextlib.contextmanager
def opened_browser(chromium: str, profile: Path) -> Iterator[Page]:
    """Start a Chromium with an empty profile, and end it."""
    commands, to_browser = os.pipe()
    from_browser, replies = os.pipe()
    # The protocol's pipes are the descriptors 3 and 4.
    script = f'exec 9<&{commands} 8>&{replies}; exec 3<&9 4>&8; exec "$0" "$@"'
    process = subprocess.Popen(
        ["bash", "-c", script, chromium, *_OPTIONS, f"--user-data-dir={profile}"],
        pass_fds=(commands, replies),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(replies)
    try:
        yield Page(to_browser, from_browser)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.kill()
        process.wait()
