# SPDX-License-Identifier: Apache-2.0
"""Downloads that break off, change, are refused or are killed."""

import dataclasses
import functools
import multiprocessing
import os
import random
import re
import shutil
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import Archive, download
from m3net_tf.audio.datasets.fetch import DOWNLOADS, RECORD, fetch_archives
from m3net_tf.audio.datasets.unpack import SCRATCH
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import DataError, InUseError
from m3net_tf.system.locks import LOCK_NAME, locked


@pytest.fixture
def noise_archive(server) -> Callable[..., Archive]:
    """A tar of files of noise on the server."""

    def make(files: int = 20, size: int = 5000, name: str = "set.tar.gz") -> Archive:
        rng = np.random.default_rng(files)
        top = server.folder / "top"
        for i in range(files):
            (top / f"{i % 7}").mkdir(parents=True, exist_ok=True)
            (top / f"{i % 7}/{i}.wav").write_bytes(rng.bytes(size))
        with tarfile.open(server.folder / name, "w:gz", compresslevel=1) as tar:
            tar.add(top, "top")
        return Archive(server.url + name, server.checksum(name))

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections(noise_archive, server, tmp_path, ranges):
    archive = noise_archive()
    server.ranges = ranges
    server.cut_after = [30_000, 20_000, 0, 10_000]
    lines: list[str] = []
    fetch_archives((archive,), tmp_path / "data", log=lines.append, pause_s=0.01)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")
    size = (server.folder / "set.tar.gz").stat().st_size
    sent = [count for _, _, count in server.asked]
    asked = [header for _, header, _ in server.asked]
    if ranges:  # not a byte came twice
        assert asked == [None, "bytes=30000-", "bytes=50000-", "bytes=50000-", "bytes=60000-"]
        assert sum(sent) == size
    else:
        assert sent[-1] == size
    assert any("after 0.0 MB" in line for line in lines)


@pytest.mark.parametrize("length", ["30000", "9999999", "many", ""])
def test_the_published_size_counts_not_the_announced_one(noise_archive, server, tmp_path, length):
    archive = noise_archive()
    size = (server.folder / "set.tar.gz").stat().st_size
    server.length = length
    archive = dataclasses.replace(archive, size_bytes=size)

    def announce_truly(line: str) -> None:
        server.length = None

    fetch_archives((archive,), tmp_path / "data", pause_s=0.001, log=announce_truly)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")
    assert sum(sent for _, _, sent in server.asked) <= 2 * size


def test_a_server_that_announces_too_much_ends(noise_archive, server, tmp_path):
    """Without a published size: what is there is complete, once the server says so."""
    archive = noise_archive()
    server.length = "9999999"
    fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


def test_what_goes_on_after_the_published_size_is_not_received(noise_archive, server, tmp_path):
    archive = noise_archive()
    path = server.folder / "set.tar.gz"
    archive = dataclasses.replace(archive, size_bytes=path.stat().st_size)
    with path.open("ab") as file:
        file.truncate(20_000_000)
    server.length = ""
    fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


def test_a_server_that_sends_a_byte_now_and_then(noise_archive, server, tmp_path, monkeypatch):
    archive = noise_archive()
    monkeypatch.setattr(download, "SLOW_S", 1e-9)  # each block is too slow, on any computer
    monkeypatch.setattr(download, "SLOW_BYTES", 1 << 40)
    with refuses(DataError, "set.tar.gz", "bytes/s", "5"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)


def test_a_later_run_goes_on(noise_archive, server, tmp_path):
    archive = noise_archive()
    server.cut_after = [40_000] + [0] * 5
    with refuses(DataError, "set.tar.gz", "5"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert (tmp_path / "data" / DOWNLOADS / "set.tar.gz.part").stat().st_size == 40_000
    server.forget()
    fetch_archives((archive,), tmp_path / "data")
    assert [header for _, header, _ in server.asked] == ["bytes=40000-"]
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


def test_a_file_that_changes_meanwhile_is_not_glued(noise_archive, server, tmp_path):
    archive = noise_archive()
    server.cut_after = [40_000] + [0] * 5
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    archive = noise_archive(files=21)
    fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


def test_a_part_longer_than_the_file(noise_archive, server, tmp_path):
    archive = noise_archive()
    server.cut_after = [40_000] + [0] * 5
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    with (tmp_path / "data" / DOWNLOADS / "set.tar.gz.part").open("ab") as file:
        file.truncate(10_000_000)
    fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


def test_busy_server(noise_archive, server, tmp_path):
    archive = noise_archive()
    server.answers = [503, 429, 500]
    fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusing_server(noise_archive, server, tmp_path, status):
    archive = noise_archive()
    server.answers = [status]
    with refuses(DataError, status):
        fetch_archives((archive,), tmp_path / "data")
    assert len(server.asked) == 1


def test_no_server(tmp_path):
    archive = Archive("http://127.0.0.1:9/set.tar.gz")
    with refuses(DataError, "ConnectionError", "5"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)


def test_wrong_checksum(noise_archive, server, tmp_path):
    archive = dataclasses.replace(noise_archive(), checksum=f"md5:{'0' * 32}")
    for _ in range(2):  # the bad file is not kept either
        with refuses(DataError, "md5:000"):
            fetch_archives((archive,), tmp_path / "data")
        assert list((tmp_path / "data" / DOWNLOADS).iterdir()) == []
    assert not (tmp_path / "data/top").exists()
    assert [header for _, header, _ in server.asked] == [None, None]


def test_trust_on_first_use(noise_archive, tmp_path):
    archive = dataclasses.replace(noise_archive(), checksum="")
    lines: list[str] = []
    fetch_archives((archive,), tmp_path / "data", log=lines.append)
    digest = re.search(r"no checksum is published; (sha256:\w+) is recorded", "\n".join(lines))
    record = read_json(tmp_path / "data" / RECORD)["archives"]["set.tar.gz"]
    assert digest and record["checksum"] == digest[1]
    shutil.rmtree(tmp_path / "data/top")
    noise_archive(files=30)  # another file at the same address
    path = tmp_path / "data" / RECORD
    message = rf"not the first download's \(sha256:\w+\), recorded in {path}"
    with pytest.raises(DataError, match=message):
        fetch_archives((archive,), tmp_path / "data")


def hostile(path: Path) -> str:
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../evil"))
    return "member '../../evil' leads outside its folder"


def page(path: Path) -> str:
    path.write_text("<html>Please log in</html>")
    return "set.tar.gz: is a broken archive"


def cut(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:50_000])
    return "set.tar.gz: is a broken archive"


def no_gzip_within(path: Path) -> str:
    data = bytearray(path.read_bytes())
    data[2] = 99  # a compression method that does not exist
    path.write_bytes(data)
    return "set.tar.gz: is a broken archive"


def deep(path: Path) -> str:
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("d/" * 2000 + "file"))
    return r"member '(d/){20}\.\.\.' is more than 64 folders deep"


@pytest.mark.parametrize("spoil", [hostile, page, cut, no_gzip_within, deep])
def test_a_refused_archive_is_forgotten(noise_archive, server, tmp_path, spoil):
    """Neither archive nor checksum is kept: the next fetch downloads the current archive."""
    archive = dataclasses.replace(noise_archive(), checksum="")
    good = (server.folder / "set.tar.gz").read_bytes()
    message = spoil(server.folder / "set.tar.gz")
    folder = tmp_path / "deep/data"
    with pytest.raises(DataError, match=f"{message}.*from {archive.url} is deleted"):
        fetch_archives((archive,), folder)
    assert not list(tmp_path.rglob("evil"))
    assert not list(folder.glob(f"{SCRATCH}*"))
    assert not (folder / DOWNLOADS / "set.tar.gz").exists()
    assert "checksum" not in read_json(folder / RECORD)["archives"]["set.tar.gz"]
    (server.folder / "set.tar.gz").write_bytes(good)
    fetch_archives((archive,), folder)
    assert contents(folder / "top") == contents(server.folder / "top")
    assert hidden(folder) == {RECORD}


def test_a_record_of_another_form_is_named(noise_archive, tmp_path):
    (tmp_path / "data").mkdir()
    write_json(tmp_path / "data" / RECORD, {"files": []})
    with refuses(DataError, RECORD):
        fetch_archives((noise_archive(),), tmp_path / "data")


def test_another_url_is_taken_at_its_word(noise_archive, server, tmp_path):
    """The checksum of the first download does not describe the mirror's archive."""
    archive = dataclasses.replace(noise_archive(), checksum="")
    fetch_archives((archive,), tmp_path / "data")
    shutil.rmtree(tmp_path / "data/top")
    (server.folder / "mirror").mkdir()
    noise_archive(files=30, name="mirror/set.tar.gz")
    server.forget()
    lines: list[str] = []
    fetch_archives((archive,), tmp_path / "data", url=server.url + "mirror/", log=lines.append)
    assert [path for path, _, _ in server.asked] == ["/mirror/set.tar.gz"]
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")
    assert any("the bytes differ from the previous download (sha256:" in line for line in lines)


def test_two_at_once(noise_archive, tmp_path):
    archive = noise_archive()
    (tmp_path / "data").mkdir()
    with locked(tmp_path / "data" / LOCK_NAME, "another fetch"):
        message = rf"data is in use by process {os.getpid()} \(.*\); wait for it or stop it"
        with pytest.raises(InUseError, match=message):
            fetch_archives((archive,), tmp_path / "data")
    fetch_archives((archive,), tmp_path / "data")


def test_too_little_room(noise_archive, tmp_path, monkeypatch):
    archive = noise_archive()
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with refuses(DataError, "0.0", "GB", "set.tar.gz"):
        fetch_archives((archive,), tmp_path / "data")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with refuses(DataError, "file/data", "DATA_DIR"):
        fetch_archives((Archive("http://127.0.0.1:9/x.zip"),), tmp_path / "file/data")


def test_stopped_between_download_and_check(noise_archive, server, tmp_path, monkeypatch):
    archive = noise_archive()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pooch.core, "hash_matches", stop)
        fetch_archives((archive,), tmp_path / "data")
    size = (server.folder / "set.tar.gz").stat().st_size
    assert (tmp_path / "data" / DOWNLOADS / "set.tar.gz.part").stat().st_size == size
    fetch_archives((archive,), tmp_path / "data")
    assert len(server.asked) == 1
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")


KILLS = 20


def test_kills_at_random_moments(noise_archive, server, tmp_path):
    """SIGKILL: half of them during the download and half while files are written."""
    archive = noise_archive(files=400, size=4000)
    expected = contents(server.folder / "top")
    folder = tmp_path / "data"
    part = tmp_path / "data" / DOWNLOADS / "set.tar.gz.part"
    server.pause_s = 0.004
    chance = random.Random(3)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["m3net_tf.audio.datasets.fetch"])
    held = 0
    survived = 0
    killed = {"download": 0, "unpack": 0}

    def kill_one(until: Callable[[], bool], delay_s: float) -> bool:
        """Start a fetch, wait, kill it; returns whether it was still running."""
        process = context.Process(target=fetch_archives, args=((archive,), folder))
        process.start()
        deadline = time.monotonic() + 60
        while not until() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay_s)
        running = process.is_alive()
        if running:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        running = running and process.exitcode == -signal.SIGKILL
        process.close()
        return running

    def sound() -> None:
        """The folder is absent or complete, and no downloaded byte is lost."""
        nonlocal held
        visible = {path.name for path in folder.iterdir()} - hidden(folder)
        assert visible <= {"top"}
        if visible:
            assert contents(folder / "top") == expected
            return
        now = max((p.stat().st_size for p in (part, part.with_suffix("")) if p.exists()), default=0)
        assert now >= held
        held = now

    def answered(before: int) -> bool:
        return server.started > before

    while sum(killed.values()) < KILLS:
        phase = "download" if killed["download"] < KILLS // 2 else "unpack"
        if phase == "download":
            asked = functools.partial(answered, server.started)
            alive = kill_one(asked, chance.uniform(0, 0.15))
        else:
            server.pause_s = 0.0
            alive = kill_one(lambda: any(folder.glob(f"{SCRATCH}*")), chance.uniform(0, 0.08))
        sound()
        killed[phase] += alive
        if not alive:  # it finished before the kill: start again
            survived += 1
            assert survived < 40
            shutil.rmtree(folder)
            held = 0
    fetch_archives((archive,), folder)
    assert contents(folder / "top") == expected
    assert hidden(folder) == {RECORD}
    assert killed == {"download": KILLS // 2, "unpack": KILLS // 2}
