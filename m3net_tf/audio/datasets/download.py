# SPDX-License-Identifier: Apache-2.0
"""Downloads a file over HTTP; an interrupted download resumes after the bytes on disk."""

import os
import shutil
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import BYTES, Log, track

TIMEOUT_S = 30.0
TRIES = 5  # consecutive attempts without a new byte
_BLOCK = 1 << 16


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
    """

    def __init__(self, part: Path, log: Log, pause_s: float) -> None:
        self.part, self._log, self._pause_s = part, log, pause_s

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
        failures, reason = 0, ""
        while failures < TRIES:
            before = self._size()
            try:
                if self._try(url):
                    return
                reason = "the connection ended early"
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = type(error).__name__
            failures = 0 if self._size() > before else failures + 1
            self._log(f"{self.part.stem}: {reason} after {self._size() / 1e6:.1f} MB")
            time.sleep(min(60.0, self._pause_s * 2 ** max(0, failures - 1)))
        raise DataError(
            f"{url}: cannot be downloaded ({reason}, {TRIES} times in a row); check the network "
            "or choose a mirror with --url; the same command resumes where it stopped"
        )

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _try(self, url: str) -> bool:
        """Send one request; return whether the file is complete."""
        state_path = _state_of(self.part)
        state = read_json(state_path) if state_path.exists() else {}
        size = self._size()
        if state.get("url") != url:
            size, state = 0, {}
        if size and size == state.get("total"):
            return True
        headers = {"Accept-Encoding": "identity"}
        if size:
            headers["Range"] = f"bytes={size}-"
            if state.get("tag"):
                headers["If-Range"] = state["tag"]
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as reply:
            if reply.status_code == 416:  # range not satisfiable: the file has changed
                forget_part(self.part)
                return False
            if reply.status_code == 429 or reply.status_code >= 500:
                raise requests.HTTPError(f"HTTP status {reply.status_code}")
            if reply.status_code not in (200, 206):
                raise DataError(
                    f"{url}: the server returns {reply.status_code} ({reply.reason}); "
                    "choose a mirror with --url or get the data by hand"
                )
            start, total = _content_range(reply, size)
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
            return total is None or self._size() == total

    def _receive(
        self, reply: requests.Response, file: IO[bytes], done: int, total: int | None
    ) -> None:
        with track(self._log, self.part.stem, total, BYTES, done=done) as task:
            # read1 returns the bytes received so far; iter_content would drop an incomplete block.
            while block := reply.raw.read1(_BLOCK):
                file.write(block)
                task.advance(len(block))


def _content_range(reply: requests.Response, size: int) -> tuple[int, int | None]:
    """First byte and length of the whole file, from the reply's headers."""
    if reply.status_code == 200:
        length = reply.headers.get("Content-Length")
        return 0, int(length) if length else None
    try:
        _, numbers = reply.headers.get("Content-Range", "").split(" ")
        span, total = numbers.split("/")
        return int(span.split("-")[0]), None if total == "*" else int(total)
    except ValueError:
        return size, None
