# SPDX-License-Identifier: Apache-2.0
"""Downloads a file over HTTP; an interrupted download resumes after the bytes on disk."""

import os
import shutil
import time
from pathlib import Path
from typing import IO, Any, TypedDict
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import BYTES, Log, track

TIMEOUT_S = 30.0
TRIES = 5  # consecutive attempts that bring nothing new, or are too slow
SLOW_S = 60.0
SLOW_BYTES = 60_000
"""An attempt ends if fewer bytes arrive in ``SLOW_S``: no timeout sees a byte now and then."""
_BLOCK = 1 << 16


class _TooSlowError(requests.RequestException):
    """Too few bytes arrive."""


class _State(TypedDict, total=False):
    """Where a part comes from: URL, announced size and version of the file."""

    url: str
    total: int | None
    tag: str


def forget_part(part: Path) -> None:
    """Delete a partial download and the record of its source."""
    part.unlink(missing_ok=True)
    _state_of(part).unlink(missing_ok=True)


def _state_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


class Downloader:
    """Pooch's ``downloader``: fetches one file over HTTP and resumes earlier attempts.

    Attributes:
        part: file that holds the bytes until the download is complete.
        size_bytes: published size of the file, whatever the server announces; 0 if unknown.
    """

    def __init__(self, part: Path, log: Log, pause_s: float, size_bytes: int = 0) -> None:
        self.part, self._log, self._pause_s = part, log, pause_s
        self.size_bytes = size_bytes

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Download to ``output_file``; the part is kept until the checksum has been verified."""
        if urlsplit(url).scheme in ("http", "https"):
            self._fetch(url)
        else:
            self._copy(url)
        Path(output_file).unlink(missing_ok=True)
        try:
            os.link(self.part, output_file)
        except OSError:  # a file system without links
            shutil.copyfile(self.part, output_file)

    def _copy(self, url: str) -> None:
        """Copy a local file."""
        parts = urlsplit(url)
        source = Path(unquote(parts.path) if parts.scheme == "file" else url).expanduser()
        if parts.scheme not in ("", "file") or not source.is_file():
            raise DataError(f"{url}: is neither a web address nor a file; correct --url")
        shutil.copyfile(source, self.part)

    def _fetch(self, url: str) -> None:
        """Retry until the file is complete or no more bytes arrive."""
        failures = 0
        reason = ""
        most = self.size()
        while failures < TRIES:
            slow = False
            try:
                if self._try(url):
                    return
                reason = "the connection ended early"
            except _TooSlowError:
                slow, reason = True, f"fewer than {SLOW_BYTES / SLOW_S:.0f} bytes/s"
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = type(error).__name__
            failures = 0 if self.size() > most and not slow else failures + 1
            most = max(most, self.size())
            self._log(f"{self.part.stem}: {reason} after {self.size() / 1e6:.1f} MB")
            time.sleep(min(60.0, self._pause_s * 2 ** max(0, failures - 1)))
        raise DataError(
            f"{url}: cannot be downloaded ({reason}, {TRIES} times in a row; {self.size()} bytes"
            f"{f' of {self.size_bytes}' if self.size_bytes else ''} arrived); check the network "
            "or choose a mirror with --url; the same command resumes where it stopped"
        )

    def size(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _try(self, url: str) -> bool:
        """Send one request; return whether the file is complete."""
        state_path = _state_of(self.part)
        state = read_json(state_path, _State) if state_path.exists() else _State()
        size = self.size()
        if state.get("url") != url or (self.size_bytes and size > self.size_bytes):
            size = 0
            state = _State()
        if size and size == (self.size_bytes or state.get("total")):
            return True
        headers = {"Accept-Encoding": "identity"}
        if size:
            headers["Range"] = f"bytes={size}-"
            if state.get("tag"):
                headers["If-Range"] = state["tag"]
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as reply:
            if reply.status_code == 416:  # range not satisfiable
                if reply.headers.get("Content-Range") == f"bytes */{size}":
                    return True  # an earlier reply announced more bytes than the file has
                forget_part(self.part)  # the file has changed
                return False
            if reply.status_code == 429 or reply.status_code >= 500:
                raise requests.HTTPError(f"HTTP status {reply.status_code}")
            if reply.status_code not in (200, 206):
                raise DataError(
                    f"{url}: the server returns {reply.status_code} ({reply.reason}); "
                    "choose a mirror with --url or get the data by hand"
                )
            start, announced = _content_range(reply, size)
            total = self.size_bytes or announced
            if start not in (0, size):
                raise DataError(f"{url}: the server sends the wrong range; choose another mirror")
            tag = reply.headers.get("ETag", "")
            tag = "" if tag.startswith("W/") else tag
            tag = tag or reply.headers.get("Last-Modified", "")
            free = shutil.disk_usage(self.part.parent).free
            if total is not None and total - start > free:
                raise DataError(
                    f"{self.part.parent}: has {free / 1e9:.1f} GB free, but "
                    f"{self.part.stem} needs {(total - start) / 1e9:.1f} GB more; "
                    "free some space or choose another DATA_DIR"
                )
            with self.part.open("ab") as file:
                file.truncate(start)
                write_json(state_path, {"url": url, "total": total, "tag": tag})
                self._receive(reply, file, start, total)
            return total is None or self.size() == total

    def _receive(
        self, reply: requests.Response, file: IO[bytes], done: int, total: int | None
    ) -> None:
        """Write what arrives, at most ``total`` bytes in the file."""
        until = time.monotonic() + SLOW_S
        counted = done
        with track(self._log, self.part.stem, total, BYTES, done=done) as task:
            # read1 returns the bytes received so far; iter_content would drop an incomplete block.
            while total is None or done < total:
                block = reply.raw.read1(_BLOCK if total is None else min(_BLOCK, total - done))
                if not block:
                    return
                file.write(block)
                task.advance(len(block))
                done += len(block)
                if time.monotonic() > until:
                    if done - counted < SLOW_BYTES:
                        raise _TooSlowError
                    until = time.monotonic() + SLOW_S
                    counted = done


def _content_range(reply: requests.Response, size: int) -> tuple[int, int | None]:
    """First byte and length of the whole file, from the reply's headers."""
    if reply.status_code == 200:
        length = reply.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    try:
        _, numbers = reply.headers.get("Content-Range", "").split(" ")
        span, total = numbers.split("/")
        return int(span.split("-")[0]), None if total == "*" else int(total)
    except ValueError:
        return size, None
