# SPDX-License-Identifier: Apache-2.0
"""Downloads from a local server: the real archives' layouts in small, and all that goes wrong."""

import dataclasses
import functools
import hashlib
import http.server
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pooch
import pytest

from m3net_tf.artifacts import read_json, write_json
from m3net_tf.datasets import Archive, dataset_info, load_dataset, registry
from m3net_tf.datasets.fetch import DOWNLOADS, RECORD, fetch, fetch_archives
from m3net_tf.datasets.unpack import SCRATCH
from m3net_tf.errors import ConfigError, DataError, InUseError
from m3net_tf.locks import LOCK_NAME, locked


class Server:
    """An HTTP server of one folder, with faults to order.

    Attributes:
        ranges: whether it understands Range.
        cut_after: bytes after which the next replies break off, one number a reply.
        pause_s: wait after each 4 KiB.
        answers: status codes of the next replies instead of files.
        asked: (path, Range header, bytes sent) of each request that is done.
        started: requests so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ranges, self.pause_s = folder, True, 0.0
        self.started = 0
        self.cut_after: list[int] = []
        self.answers: list[int] = []
        self.asked: list[tuple[str, str | None, int]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reply(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.started += 1
        asked = handler.headers.get("Range")
        path = self.folder / handler.path.lstrip("/")
        status = self.answers.pop(0) if self.answers else 200 if path.is_file() else 404
        if status != 200:
            self.asked.append((handler.path, asked, 0))
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = path.read_bytes()
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start, matching = 0, handler.headers.get("If-Range", tag) == tag
        if asked and self.ranges and matching:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            status = 206 if start < len(data) else 416
        handler.send_response(status)
        handler.send_header("ETag", tag)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        body = b"" if status == 416 else data[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        stop = self.cut_after.pop(0) if self.cut_after else len(body)
        sent = 0
        try:
            for place in range(0, min(stop, len(body)), 4096):
                block = body[place : min(place + 4096, stop)]
                handler.wfile.write(block)
                sent += len(block)
                time.sleep(self.pause_s)
        except OSError:  # the other side was killed
            pass
        self.asked.append((handler.path, asked, sent))
        handler.close_connection = True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    server = Server(tmp_path / "www")
    yield server
    server.close()


def checksum(path: Path) -> str:
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


@pytest.fixture
def noise_archive(server: Server) -> Callable[..., Archive]:
    """A tar of files of noise on the server."""

    def make(files: int = 20, size: int = 5000, name: str = "set.tar.gz") -> Archive:
        rng = np.random.default_rng(files)
        top = server.folder / "top"
        for i in range(files):
            (top / f"{i % 7}").mkdir(parents=True, exist_ok=True)
            (top / f"{i % 7}/{i}.wav").write_bytes(rng.bytes(size))
        with tarfile.open(server.folder / name, "w:gz", compresslevel=1) as tar:
            tar.add(top, "top")
        return Archive(server.url + name, checksum(server.folder / name))

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


# How each publisher packs: archive name -> what of the layout goes in, under which folder.


def pack(name: str, root: Path, www: Path) -> None:
    """Pack a layout as its publisher does."""
    if name == "speech_commands":  # everything at the top, names start with ./
        with tarfile.open(www / "speech_commands_v0.02.tar.gz", "w:gz") as tar:
            tar.add(root / "speech_commands_v0.02", "./")
    elif name == "us8k":
        with tarfile.open(www / "UrbanSound8K.tar.gz", "w:gz") as tar:
            tar.add(root / "UrbanSound8K", "UrbanSound8K")
    elif name == "nsynth":
        for part in ("train", "valid", "test"):
            with tarfile.open(www / f"nsynth-{part}.jsonwav.tar.gz", "w:gz") as tar:
                tar.add(root / f"nsynth-{part}", f"nsynth-{part}")
    elif name in ("esc10", "esc50"):
        shutil.make_archive(str(www / "master"), "zip", root, "ESC-50-master")
    elif name == "ravdess":  # the actors' folders at the top
        folder = root / "Audio_Speech_Actors_01-24"
        shutil.make_archive(str(www / "Audio_Speech_Actors_01-24"), "zip", folder)
    elif name == "fsd50k":  # split archives with as many volumes as the real ones
        for part, count in (("dev_audio", 6), ("eval_audio", 2), ("ground_truth", 1)):
            split = ["-s", "64k"] if count > 1 else []
            top = f"FSD50K.{part}"
            if count > 1:
                rng = np.random.default_rng(count)
                (root / top / "noise.bin").write_bytes(rng.bytes(65_536 * (count - 1) - 20_000))
            command = ["zip", "-q", "-r", *split, www / f"{top}.zip", top]
            subprocess.run(command, cwd=root, check=True)


@pytest.fixture
def publish(server, make_layout, monkeypatch, tmp_path) -> Callable[[str], registry.DatasetInfo]:
    """Put a small copy of a data set's archives on the server, with their checksums."""

    def put(name: str) -> registry.DatasetInfo:
        pack(name, make_layout(name, tmp_path / "layout"), server.folder)
        info = dataset_info(name)
        archives = tuple(
            dataclasses.replace(
                archive,
                url=server.url + archive.file_name,
                checksum=archive.checksum and checksum(server.folder / archive.file_name),
            )
            for archive in info.archives
        )
        info = dataclasses.replace(info, archives=archives)
        entry = dataclasses.replace(registry._REGISTRY[name], info=info)
        monkeypatch.setitem(registry._REGISTRY, name, entry)
        return info

    return put


@pytest.mark.parametrize(
    "name", ["us8k", "speech_commands", "esc10", "esc50", "ravdess", "nsynth", "fsd50k"]
)
def test_fetch_a_real_layout(name, publish, server, tmp_path):
    if name == "fsd50k" and shutil.which("zip") is None:
        pytest.skip("Info-ZIP's zip is not installed")
    info = publish(name)
    lines: list[str] = []
    folder = fetch(name, tmp_path / "data", log=lines.append)
    assert folder == tmp_path / "data" / (info.folder or name)
    fetched = load_dataset(name, tmp_path / "data")
    original = load_dataset(name, tmp_path / "layout" / name)
    assert fetched.clip_list_hash() == original.clip_list_hash()
    clip = fetched.clips[0]
    assert fetched.load(clip).tolist() == original.load(original.clips[0]).tolist()
    record = read_json(folder / RECORD)["archives"]
    assert set(record) == {archive.file_name for archive in info.archives}
    origins = {facts["checksum_origin"] for facts in record.values()}
    assert origins == {"published" if info.archives[0].checksum else "first download"}
    assert any("100 %" in line for line in lines)
    assert hidden(folder) == {RECORD}
    requests = len(server.asked)
    fetch(name, tmp_path / "data")  # nothing to do
    assert len(server.asked) == requests


def test_nothing_to_fetch(tmp_path):
    with pytest.raises(DataError, match="cremad cannot be fetched by the program: git lfs clone"):
        fetch("cremad", tmp_path)
    with pytest.raises(DataError, match="audioset cannot be fetched by the program: download"):
        fetch("audioset", tmp_path)
    lines: list[str] = []
    fetch("synth", log=lines.append)
    assert lines == ["synth is made by the program: there is nothing to fetch"]


def test_an_archive_of_ones_own(make_layout, tmp_path):
    root = make_layout("cremad")
    with tarfile.open(tmp_path / "own.tar", "w") as tar:
        tar.add(root / "AudioWAV", "AudioWAV")
    for url in (str(tmp_path / "own.tar"), (tmp_path / "own.tar").as_uri()):
        folder = fetch("cremad", tmp_path / "data", url=url)
        assert len(load_dataset("cremad", tmp_path / "data").clips) == 546
        shutil.rmtree(folder)
    with pytest.raises(DataError, match="ftp://x/y.tar: is neither a web address nor a file"):
        fetch("cremad", tmp_path / "data", url="ftp://x/y.tar")


def test_a_complete_copy_is_not_fetched(tmp_path, make_layout, monkeypatch):
    make_layout("esc10", tmp_path / "data")
    from m3net_tf.datasets import esc50

    monkeypatch.setattr(esc50, "CLIPS_PER_CLASS", 20)
    lines: list[str] = []
    fetch("esc10", tmp_path / "data", url="http://127.0.0.1:9/", log=lines.append)
    assert lines == [f"{tmp_path / 'data/esc50'}: esc10 is complete already"]


def test_mirror(publish, server, tmp_path):
    publish("nsynth")
    (server.folder / "mirror").mkdir()
    for path in server.folder.glob("*.tar.gz"):
        path.rename(server.folder / "mirror" / path.name)
    with pytest.raises(DataError, match="the server answers 404 .*choose a mirror with --url"):
        fetch("nsynth", tmp_path / "data")
    with pytest.raises(ConfigError, match="is one file, but 3 archives are needed; .*ending in /"):
        fetch("nsynth", tmp_path / "data", url=server.url + "mirror/nsynth-test.jsonwav.tar.gz")
    fetch("nsynth", tmp_path / "data", url=server.url + "mirror/")
    assert len(load_dataset("nsynth", tmp_path / "data").clips) == 84


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


def test_a_later_run_goes_on(noise_archive, server, tmp_path):
    archive = noise_archive()
    server.cut_after = [40_000] + [0] * 5
    with pytest.raises(DataError, match=r"set.tar.gz: cannot be downloaded .*5 times in a row"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)
    assert (tmp_path / "data" / DOWNLOADS / "set.tar.gz.part").stat().st_size == 40_000
    server.asked.clear()
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
    with pytest.raises(DataError, match=f"the server answers {status} "):
        fetch_archives((archive,), tmp_path / "data")
    assert len(server.asked) == 1


def test_no_server(tmp_path):
    archive = Archive("http://127.0.0.1:9/set.tar.gz")
    with pytest.raises(DataError, match=r"cannot be downloaded \(ConnectionError, 5 times"):
        fetch_archives((archive,), tmp_path / "data", pause_s=0.001)


def test_wrong_checksum(noise_archive, server, tmp_path):
    archive = dataclasses.replace(noise_archive(), checksum=f"md5:{'0' * 32}")
    for _ in range(2):  # the bad file is not kept either
        with pytest.raises(DataError, match="its checksum is not the published one .md5:000"):
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
    message = rf"not that of the first download \(sha256:\w+\), recorded in {path}"
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
    data[2] = 99  # a compression method that there is none of
    path.write_bytes(data)
    return "set.tar.gz: is a broken archive"


def deep(path: Path) -> str:
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("d/" * 2000 + "file"))
    return r"member '(d/){20}\.\.\.' lies more than 64 folders deep"


@pytest.mark.parametrize("spoil", [hostile, page, cut, no_gzip_within, deep])
def test_a_refused_archive_is_forgotten(noise_archive, server, tmp_path, spoil):
    """Nothing of it is kept, not even its checksum: the next fetch takes what is there then."""
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


def test_what_an_earlier_release_remembers_of_a_refused_archive(noise_archive, tmp_path):
    archive = dataclasses.replace(noise_archive(), checksum="")
    (tmp_path / "data" / DOWNLOADS).mkdir(parents=True)
    bad = {
        "url": archive.url,
        "checksum": f"sha256:{'0' * 64}",
        "checksum_origin": "first download",
    }
    write_json(tmp_path / "data" / RECORD, {"archives": {"set.tar.gz": bad}})
    fetch_archives((archive,), tmp_path / "data")
    assert (tmp_path / "data/top").is_dir()


def test_a_record_of_another_form_is_named(noise_archive, tmp_path):
    (tmp_path / "data").mkdir()
    write_json(tmp_path / "data" / RECORD, {"files": []})
    with pytest.raises(DataError, match=rf"{RECORD} is no record of downloads: delete it"):
        fetch_archives((noise_archive(),), tmp_path / "data")


def test_another_url_is_taken_at_its_word(noise_archive, server, tmp_path):
    """Neither the archive that is kept nor its checksum stands for what the mirror has."""
    archive = dataclasses.replace(noise_archive(), checksum="")
    fetch_archives((archive,), tmp_path / "data", keep_archives=True)
    shutil.rmtree(tmp_path / "data/top")
    (server.folder / "mirror").mkdir()
    noise_archive(files=30, name="mirror/set.tar.gz")
    server.asked.clear()
    lines: list[str] = []
    fetch_archives((archive,), tmp_path / "data", url=server.url + "mirror/", log=lines.append)
    assert [path for path, _, _ in server.asked] == ["/mirror/set.tar.gz"]
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")
    assert any("other bytes than those of before (sha256:" in line for line in lines)


def test_a_kept_archive_with_a_published_checksum_stands_for_any_url(
    noise_archive, server, tmp_path
):
    archive = noise_archive()
    fetch_archives((archive,), tmp_path / "data", keep_archives=True)
    shutil.rmtree(tmp_path / "data/top")
    server.asked.clear()
    fetch_archives((archive,), tmp_path / "data", url=server.url + "mirror/")
    assert server.asked == [] and (tmp_path / "data/top").is_dir()


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
    with pytest.raises(DataError, match=r"has 0.0 GB free, but set.tar.gz needs .*free some room"):
        fetch_archives((archive,), tmp_path / "data")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file/data: cannot be made .*choose another DATA_DIR"):
        fetch_archives((Archive("http://127.0.0.1:9/x.zip"),), tmp_path / "file/data")


def test_archives_can_be_kept(noise_archive, server, tmp_path):
    archive = noise_archive()
    fetch_archives((archive,), tmp_path / "data", keep_archives=True)
    kept = tmp_path / "data" / DOWNLOADS / "set.tar.gz"
    assert kept.read_bytes() == (server.folder / "set.tar.gz").read_bytes()
    shutil.rmtree(tmp_path / "data/top")
    fetch_archives((archive,), tmp_path / "data")
    assert len(server.asked) == 1
    assert contents(tmp_path / "data/top") == contents(server.folder / "top")
    assert not kept.exists()


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
    """SIGKILL, half of them while bytes come and half while files are written."""
    archive = noise_archive(files=400, size=4000)
    expected = contents(server.folder / "top")
    folder, part = tmp_path / "data", tmp_path / "data" / DOWNLOADS / "set.tar.gz.part"
    server.pause_s = 0.004
    chance = random.Random(3)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["m3net_tf.datasets.fetch"])
    held, survived, killed = 0, 0, {"download": 0, "unpack": 0}

    def kill_one(until: Callable[[], bool], delay_s: float) -> bool:
        """Start a fetch, wait, kill it; whether it was still running."""
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
        """There is nothing or everything, and no byte that was there is gone."""
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
        if not alive:  # it was done before the kill: start again
            survived += 1
            assert survived < 40
            shutil.rmtree(folder)
            held = 0
    fetch_archives((archive,), folder)
    assert contents(folder / "top") == expected
    assert hidden(folder) == {RECORD}
    assert killed == {"download": KILLS // 2, "unpack": KILLS // 2}
