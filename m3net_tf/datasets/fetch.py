# SPDX-License-Identifier: Apache-2.0
"""Download data sets: resumable, checksummed and unpacked; an interruption loses nothing.

A data set lies in ``DATA_DIR/<name>`` (without ``DATA_DIR`` in the user's cache). Pooch downloads
and checks the archives, through :class:`.download.Downloader`, since pooch's own starts again
after each break: bytes go to ``.downloads/<file>.part``, and the next try, or a later run, resumes
behind them. ``.m3net-fetch.json`` records where each archive came from and, once it is unpacked,
its checksum and its folder; a refused archive is deleted. A second ``fetch`` of the same folder
does not wait: it is refused.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pooch

from m3net_tf.artifacts import cache_folder
from m3net_tf.datasets.clips import Archive
from m3net_tf.datasets.download import Downloader, forget_part
from m3net_tf.datasets.fetch_record import Facts, FetchRecord
from m3net_tf.datasets.registry import dataset_info, load_dataset
from m3net_tf.datasets.unpack import SCRATCH, ArchiveRefusedError, unpack, volumes
from m3net_tf.errors import ConfigError, DataError
from m3net_tf.locks import in_use
from m3net_tf.progress import Log, silent

RECORD, DOWNLOADS = ".m3net-fetch.json", ".downloads"


def fetch(
    name: str,
    data_dir: str | Path | None = None,
    *,
    url: str | None = None,
    keep_archives: bool = False,
    log: Log = silent,
) -> Path:
    """Download and unpack a data set; a complete one is not fetched again.

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
    _make_folder(folder / DOWNLOADS)
    with in_use(folder):
        _tidy(folder)
        record = FetchRecord(folder / RECORD)
        volumes_of_zip: dict[str, Facts] = {}  # fetched for a zip that is not unpacked yet
        for archive in archives:
            # The volumes of a split zip share the fate of their .zip, which comes last.
            key = archive.file_name if archive.unpack else _zip_name(archive.file_name)
            if record.unpacked(key):
                if not keep_archives:
                    (folder / DOWNLOADS / archive.file_name).unlink(missing_ok=True)
                if archive.unpack:
                    log(f"{folder / record.get(key)['folder']}: is there already")
                continue
            source = _source(archive, url)
            path, facts = _download(archive, source, record, key, log, pause_s)
            volumes_of_zip[archive.file_name] = facts
            if archive.unpack:
                before_move = partial(record.place, key, volumes_of_zip)
                _unpack(path, folder, source, before_move, keep_archives, log)
                volumes_of_zip = {}
        with contextlib.suppress(OSError):
            (folder / DOWNLOADS).rmdir()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot be made ({error.strerror}); choose another DATA_DIR"
        ) from error


def _unpack(
    path: Path,
    folder: Path,
    source: str,
    before_move: Callable[[Path], None],
    keep_archives: bool,
    log: Log,
) -> None:
    """Unpack a downloaded archive; one that is refused is deleted, with all its volumes."""
    log(f"unpacking {path.name}")
    parts = volumes(path)
    try:
        target = unpack(path, folder, before_move=before_move)
    except ArchiveRefusedError as error:
        for part in parts:
            part.unlink(missing_ok=True)
        raise DataError(
            f"{error}. What came from {source} is deleted: the same command fetches it again, "
            "--url takes another mirror"
        ) from error
    log(f"{target}: unpacked")
    if not keep_archives:
        for part in parts:
            part.unlink(missing_ok=True)


def _complete(name: str, parent: Path) -> bool:
    """Whether the folder holds the whole data set."""
    try:
        dataset = load_dataset(name, parent)
    except DataError:
        return False
    return not any(note.startswith("partial copy") for note in dataset.info.notes)


def _zip_name(volume: str) -> str:
    return f"{volume.rsplit('.', 1)[0]}.zip"


def _source(archive: Archive, url: str | None) -> str:
    if not url:
        return archive.url
    return url + archive.file_name if url.endswith("/") else url


def _download(
    archive: Archive, source: str, record: FetchRecord, key: str, log: Log, pause_s: float
) -> tuple[Path, Facts]:
    """The archive on disk, whole and with the right checksum, and what to record of it.

    What an earlier download from elsewhere left counts only where a published checksum vouches
    for it.
    """
    name, downloads = archive.file_name, record.path.parent / DOWNLOADS
    elsewhere = record.get(name).get("url", source) != source
    if elsewhere and not archive.checksum:
        (downloads / name).unlink(missing_ok=True)
    remembered = record.checksum(name, key)
    checksum = archive.checksum or ("" if elsewhere else remembered)
    record.begin(name, source)
    part = downloads / f"{name}.part"
    path = _retrieve(archive, source, checksum, Downloader(part, log, pause_s), record)
    if not checksum:
        with path.open("rb") as file:
            checksum = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        log(f"{name}: no checksum is published; {checksum} is recorded once it is unpacked")
        if remembered not in ("", checksum):
            log(f"{name}: these are other bytes than those of before ({remembered})")
    forget_part(part)
    facts = {
        "url": source,
        "checksum": checksum,
        "checksum_origin": "published" if archive.checksum else "first download",
        "bytes": path.stat().st_size,
    }
    return path, facts


def _retrieve(
    archive: Archive, source: str, checksum: str, downloader: Downloader, record: FetchRecord
) -> Path:
    """Let pooch download a file and check it; without a ``checksum`` any file is taken."""
    name, downloads = archive.file_name, record.path.parent / DOWNLOADS
    pooch.get_logger().setLevel("ERROR")
    try:
        path = pooch.retrieve(
            source,
            known_hash=checksum or None,
            fname=name,
            path=downloads,
            downloader=downloader,
        )
    except ValueError as error:
        forget_part(downloader.part)
        if archive.checksum:
            expected, remedy = f"the published one ({checksum})", "fetch it again"
        else:
            expected = f"that of the first download ({checksum}), recorded in {record.path}"
            remedy = f"if its publisher has changed it, remove {name} from that file"
        raise DataError(
            f"{source}: its checksum is not {expected}, so it was deleted; {remedy}, choose "
            "another mirror with --url, or unpack your own copy and give DATA_DIR=<folder>"
        ) from error
    except OSError as error:
        raise DataError(
            f"{downloads / name}: cannot be written ({error.strerror or error}); "
            "free some room or choose another DATA_DIR; the download resumes where it stopped"
        ) from error
    return Path(path)


def _tidy(folder: Path) -> None:
    """Remove what a killed run left half-done; downloaded parts stay."""
    for path in folder.glob(f"{SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f".{RECORD}.*"):
        path.unlink()
    for path in (folder / DOWNLOADS).iterdir():
        if path.name.startswith("tmp") or path.name.startswith("."):
            path.unlink()
