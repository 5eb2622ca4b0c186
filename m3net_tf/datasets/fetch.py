# SPDX-License-Identifier: Apache-2.0
"""Data sets from the net: resumed, checksummed, unpacked; killed at any moment nothing is lost.

A data set lies in ``DATA_DIR/<name>`` (without ``DATA_DIR`` in the user's cache). Archives come by
way of pooch, which checks them, with a downloader of ours, since pooch's own starts anew after
each break: bytes go to ``.downloads/<file>.part`` and a broken connection, or a later run, goes on
behind them. ``.m3net-fetch.json`` records where each archive came from and, once it is unpacked,
its checksum and the folder it became; one that is refused is thrown away. A second ``fetch`` of the
same folder waits for nobody: it is refused.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import pooch
import requests
import urllib3

from m3net_tf.artifacts import cache_folder, read_json, write_json
from m3net_tf.datasets.base import Archive, dataset_info, load_dataset
from m3net_tf.datasets.unpack import SCRATCH, ArchiveRefusedError, unpack, volumes
from m3net_tf.errors import ConfigError, DataError
from m3net_tf.locks import in_use
from m3net_tf.progress import Log, silent

Facts = dict[str, Any]
RECORD, DOWNLOADS = ".m3net-fetch.json", ".downloads"
TIMEOUT_S, PROGRESS_S = 30.0, 2.0
TRIES = 5  # in a row without a new byte
_BLOCK = 1 << 16


def fetch(
    name: str,
    data_dir: str | Path | None = None,
    *,
    url: str | None = None,
    keep_archives: bool = False,
    log: Log = silent,
) -> Path:
    """Download and unpack a data set; what is there already is not fetched again.

    Args:
        name: one of :func:`m3net_tf.datasets.dataset_names`.
        data_dir: folder that gets the data set's folder; None takes the user's cache.
        url: a mirror instead of the publisher: the archive itself (``https://``, ``file://`` or a
            local path), or, ending in ``/``, the folder with all of the data set's archives. The
            published checksums still hold; one that a first download from elsewhere left does not.
        keep_archives: keep the archives after unpacking.
        log: takes lines of progress.

    Returns:
        The data set's folder.

    Raises:
        DataError: no archive to fetch, server or disk trouble, wrong checksum, hostile archive.
        InUseError: another fetch is under way.
        ConfigError: unknown name, or a mirror of one file for several archives.
    """
    info = dataset_info(name)
    parent = cache_folder() / "datasets" if data_dir is None else Path(data_dir).expanduser()
    folder = parent / (info.folder or name)
    if not info.needs_folder:
        log(f"{name} is made by the program: there is nothing to fetch")
        return folder
    if _complete(name, parent):
        log(f"{folder}: {name} is complete already")
        return folder
    archives = info.archives or ((Archive(url),) if url else ())
    if not archives:
        raise DataError(
            f"data set {name} cannot be fetched by the program: {info.fetch_hint}; "
            "then give DATA_DIR=<folder>"
        )
    fetch_archives(archives, folder, url=url, keep_archives=keep_archives, log=log)
    return folder


def fetch_archives(
    archives: tuple[Archive, ...],
    folder: Path,
    *,
    url: str | None = None,
    keep_archives: bool = False,
    log: Log = silent,
    pause_s: float = 1.0,
) -> None:
    """Download and unpack archives into a folder; see :func:`fetch`.

    Args:
        archives: what to fetch; the volumes of a split zip before their ``.zip``.
        folder: gets one folder for each archive.
        url: mirror.
        keep_archives: keep the archives after unpacking.
        log: takes lines of progress.
        pause_s: wait before the first new try; doubled each time.
    """
    if url and not url.endswith("/") and len(archives) > 1:
        raise ConfigError(
            f"--url {url} is one file, but {len(archives)} archives are needed; "
            "give the folder that holds them, ending in /"
        )
    downloads = folder / DOWNLOADS
    try:
        downloads.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}); choose another DATA_DIR"
        ) from error
    with in_use(folder):
        _tidy(folder)
        record = _Record(folder / RECORD)
        fetched: dict[str, Facts] = {}  # of the volumes of an archive that is not unpacked yet
        for archive in archives:
            # The volumes of a split zip share the fate of their .zip, which comes last.
            key = archive.file_name if archive.unpack else _zip_name(archive.file_name)
            if record.unpacked(key):
                if not keep_archives:
                    (downloads / archive.file_name).unlink(missing_ok=True)
                if archive.unpack:
                    log(f"{folder / record.get(key)['folder']}: is there already")
                continue
            source = _source(archive, url)
            path, facts = _download(archive, source, downloads, record, key, log, pause_s)
            fetched[archive.file_name] = facts
            if not archive.unpack:
                continue
            log(f"unpacking {path.name}")
            held = volumes(path)
            try:
                target = unpack(path, folder, before_move=partial(record.place, key, fetched))
            except ArchiveRefusedError as error:
                for part in held:
                    part.unlink(missing_ok=True)
                raise DataError(
                    f"{error}. What came from {source} is thrown away: the same command fetches "
                    "it anew, --url takes another mirror"
                ) from error
            fetched = {}
            log(f"{target}: unpacked")
            if not keep_archives:
                for part in held:
                    part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            downloads.rmdir()


def _complete(name: str, parent: Path) -> bool:
    """Whether the folder holds the whole data set."""
    try:
        dataset = load_dataset(name, parent)
    except DataError:
        return False
    return not any(note.startswith("partial copy") for note in dataset.info.notes)


class _Record:
    """Where archives come from and what became of them, kept in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        archives = read_json(path).get("archives") if path.is_file() else {}
        if not isinstance(archives, dict):
            raise DataError(f"{path} is no record of downloads: delete it and run again")
        self._archives: dict[str, Facts] = archives

    def get(self, name: str) -> Facts:
        return self._archives.get(name, {})

    def checksum(self, name: str, key: str) -> str:
        """Checksum of a volume of the archive ``key`` that was once unpacked well, else ''."""
        return self.get(name).get("checksum", "") if "folder" in self.get(key) else ""

    def begin(self, name: str, source: str) -> None:
        """Note where an archive is about to come from."""
        if self.get(name).get("url") != source:
            self._archives[name] = {"url": source}
            self._write()

    def place(self, key: str, fetched: Mapping[str, Facts], place: Path) -> None:
        """Note the folder that an archive becomes, right before it does: it is good, then.

        Args:
            key: name of the archive.
            fetched: what is known of each of its volumes.
            place: the folder.
        """
        for name, facts in fetched.items():
            self._archives[name] = {**facts}
        self._archives[key]["folder"] = place.name
        self._write()

    def unpacked(self, name: str) -> bool:
        """Whether the archive's folder is there; it comes by one rename, so it is whole."""
        place = self.get(name).get("folder")
        return place is not None and (self.path.parent / place).is_dir()

    def _write(self) -> None:
        write_json(self.path, {"archives": self._archives})


def _zip_name(volume: str) -> str:
    return f"{volume.rsplit('.', 1)[0]}.zip"


def _source(archive: Archive, url: str | None) -> str:
    if not url:
        return archive.url
    return url + archive.file_name if url.endswith("/") else url


def _download(
    archive: Archive,
    source: str,
    downloads: Path,
    record: _Record,
    key: str,
    log: Log,
    pause_s: float,
) -> tuple[Path, Facts]:
    """The archive on disk, whole and with the right checksum, and what to record of it.

    What an earlier download from elsewhere left counts only where a published checksum vouches
    for it.
    """
    name = archive.file_name
    part = downloads / f"{name}.part"
    elsewhere = record.get(name).get("url", source) != source
    if elsewhere and not archive.checksum:
        (downloads / name).unlink(missing_ok=True)
    remembered = record.checksum(name, key)
    known = archive.checksum or ("" if elsewhere else remembered)
    record.begin(name, source)
    pooch.get_logger().setLevel("ERROR")
    try:
        path = Path(
            pooch.retrieve(
                source,
                known_hash=known or None,
                fname=name,
                path=downloads,
                downloader=_Downloader(part, log, pause_s),
            )
        )
    except ValueError as error:
        _forget(part)
        if archive.checksum:
            expected, mend = f"the published one ({known})", "fetch it again"
        else:
            expected = f"that of the first download ({known}), which {record.path} remembers"
            mend = f"if its publisher has changed it, remove {name} from that file"
        raise DataError(
            f"{source}: its checksum is not {expected}, so it was thrown away; {mend}, choose "
            "another mirror with --url, or unpack your own copy and give DATA_DIR=<folder>"
        ) from error
    except OSError as error:
        raise DataError(
            f"{downloads / name}: cannot be written ({error.strerror or error}); "
            "free some room or choose another DATA_DIR; the download goes on from where it is"
        ) from error
    if not known:
        with path.open("rb") as file:
            known = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        log(f"{name}: no checksum is published; {known} is recorded once it is unpacked")
        if remembered not in ("", known):
            log(f"{name}: these are other bytes than those of before ({remembered})")
    _forget(part)
    facts = {
        "url": source,
        "checksum": known,
        "checksum_origin": "published" if archive.checksum else "first download",
        "bytes": path.stat().st_size,
    }
    return path, facts


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_of(part).unlink(missing_ok=True)


def _state_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


class _Downloader:
    """Pooch's ``downloader``: one file over HTTP, going on where an earlier try stopped."""

    def __init__(self, part: Path, log: Log, pause_s: float) -> None:
        self._part, self._log, self._pause_s = part, log, pause_s
        self._shown_s = 0.0

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Bring the file to ``output_file``; the part stays until its checksum is known."""
        if urlsplit(url).scheme in ("http", "https"):
            self._fetch(url)
        else:
            self._copy(url)
        Path(output_file).unlink(missing_ok=True)
        try:
            os.link(self._part, output_file)
        except OSError:  # a file system without links
            shutil.copyfile(self._part, output_file)

    def _copy(self, url: str) -> None:
        """A file of this machine."""
        parts = urlsplit(url)
        source = Path(unquote(parts.path) if parts.scheme == "file" else url).expanduser()
        if parts.scheme not in ("", "file") or not source.is_file():
            raise DataError(f"{url}: is neither a web address nor a file; correct --url")
        shutil.copyfile(source, self._part)

    def _fetch(self, url: str) -> None:
        """Try until the file is whole or nothing comes any more."""
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
            self._log(f"{self._part.stem}: {reason} after {self._size() / 1e6:.1f} MB")
            time.sleep(min(60.0, self._pause_s * 2 ** max(0, failures - 1)))
        raise DataError(
            f"{url}: cannot be downloaded ({reason}, {TRIES} times in a row); check the network "
            "or choose a mirror with --url; the same command goes on from where it stopped"
        )

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _try(self, url: str) -> bool:
        """One request; whether the file is whole after it."""
        state_path = _state_of(self._part)
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
            if reply.status_code == 416:  # nothing there: the file has changed
                _forget(self._part)
                return False
            if reply.status_code == 429 or reply.status_code >= 500:
                raise requests.HTTPError(f"HTTP status {reply.status_code}")
            if reply.status_code not in (200, 206):
                raise DataError(
                    f"{url}: the server answers {reply.status_code} ({reply.reason}); "
                    "choose a mirror with --url or get the data by hand"
                )
            start, total = _content_range(reply, size)
            if start not in (0, size):
                raise DataError(f"{url}: the server sends the wrong piece; choose another mirror")
            tag = reply.headers.get("ETag", "")
            tag = "" if tag.startswith("W/") else tag
            tag = tag or reply.headers.get("Last-Modified", "")
            free = shutil.disk_usage(self._part.parent).free
            if total is not None and total - start > free:
                raise DataError(
                    f"{self._part.parent}: has {free / 1e9:.1f} GB free, but "
                    f"{self._part.stem} needs {(total - start) / 1e9:.1f} GB more; "
                    "free some room or choose another DATA_DIR"
                )
            with self._part.open("ab") as file:
                file.truncate(start)
                write_json(state_path, {"url": url, "total": total, "tag": tag})
                self._receive(reply, file, start, total)
            return total is None or self._size() == total

    def _receive(
        self, reply: requests.Response, file: IO[bytes], done: int, total: int | None
    ) -> None:
        began_s, first = time.monotonic(), done
        # read1 gives what has come; iter_content would drop a block that breaks off within.
        while block := reply.raw.read1(_BLOCK):
            file.write(block)
            done += len(block)
            now_s = time.monotonic()
            if now_s - self._shown_s >= PROGRESS_S or done == total:
                self._shown_s = now_s
                share = f" ({100 * done / total:.0f} % of {total / 1e6:.1f})" if total else ""
                speed = (done - first) / max(now_s - began_s, 1e-3) / 1e6
                self._log(f"{self._part.stem}: {done / 1e6:.1f} MB{share}, {speed:.1f} MB/s")


def _content_range(reply: requests.Response, size: int) -> tuple[int, int | None]:
    """First byte and length of the whole file that a reply announces."""
    if reply.status_code == 200:
        length = reply.headers.get("Content-Length")
        return 0, int(length) if length else None
    try:
        _, numbers = reply.headers.get("Content-Range", "").split(" ")
        span, total = numbers.split("/")
        return int(span.split("-")[0]), None if total == "*" else int(total)
    except ValueError:
        return size, None


def _tidy(folder: Path) -> None:
    """Remove what a killed run left half-done; downloaded parts stay."""
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f".{RECORD}.*"):
        path.unlink()
    for path in (folder / DOWNLOADS).iterdir():
        if path.name.startswith("tmp") or path.name.startswith("."):
            path.unlink()
