# SPDX-License-Identifier: Apache-2.0
"""Folders at a URL: copied once, continued after a stop, refused with one line."""

import sys
import threading
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.errors import DataError
from m3net_tf.training.cluster import data
from m3net_tf.training.cluster.data import local_folder, missing_data, source_of
from m3net_tf.training.cluster.fetching import (
    RemoteFolder,
    fetch_folder,
    folder_or_url,
    require_reachable,
)

fsspec = pytest.importorskip("fsspec", reason="URLs need pip install -e '.[many]'")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def remote(tmp_path):
    """A folder with 70 files, more than are requested at once."""
    folder = tmp_path / "there"
    for i in range(70):
        path = folder / f"class{i % 3}/{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i]) * (i + 1))
    return RemoteFolder(folder.as_uri())


def test_a_folder_is_copied_once(remote, tmp_path):
    lines = []
    folder = fetch_folder(remote, log=lines.append)
    assert folder.is_relative_to(cache_folder()) and folder == local_folder(remote)
    assert sum(path.suffix == ".wav" for path in folder.rglob("*")) == 70
    assert (folder / "class1/1.wav").read_bytes() == b"\1\1"
    assert len(lines) == 1 and "copying 70 of 70 files" in lines[0]
    for path in (tmp_path / "there").rglob("*.wav"):
        path.unlink()
    assert fetch_folder(remote) == folder and local_folder(folder) == folder


def test_a_stopped_copy_continues(remote):
    (remote.copy / "class1").mkdir(parents=True)
    (remote.copy / "class1/1.wav").write_bytes(b"\1\1")
    (remote.copy / "class1/4.wav").write_bytes(b"\4")  # cut off
    (remote.copy / "class1/7.wav.m3net-part").write_bytes(b"\7")
    lines = []
    folder = fetch_folder(remote, log=lines.append)
    assert "copying 69 of 70 files" in lines[0]
    assert (folder / "class1/4.wav").read_bytes() == b"\4" * 5
    assert not list(folder.rglob("*.m3net-part"))


def test_processes_share_one_copy(remote):
    lines = []
    threads = [threading.Thread(target=fetch_folder, args=(remote,)) for _ in range(3)]
    threads.append(threading.Thread(target=fetch_folder, args=(remote, None, lines.append)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(path.suffix == ".wav" for path in remote.copy.rglob("*")) == 70


def test_other_kinds_of_urls_and_an_own_target(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/features/a.npy", b"maps")
    target = tmp_path / "features"
    fetch_folder(RemoteFolder("memory://bucket/features"), target)
    assert (target / "a.npy").read_bytes() == b"maps"
    assert folder_or_url("s3://bucket/us8k/") == RemoteFolder("s3://bucket/us8k")
    assert folder_or_url("data/us8k").name == "us8k"


def test_what_is_missing_is_one_line(remote, monkeypatch):
    nowhere = RemoteFolder(f"{remote.url}/no")
    with refuses(DataError, "URL"):
        require_reachable(nowhere)
    with pytest.raises(DataError, match="has no files|cannot be read"):
        fetch_folder(nowhere)
    with refuses(DataError, "odd://x"):
        fetch_folder(RemoteFolder("odd://x"))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with refuses(DataError, "pip install"):
        fetch_folder(remote)


class Broken:
    """A server with a fault."""

    def __init__(self, names=("root/a.wav",), fault=None):
        self.names = names
        self.fault = fault

    def find(self, root, detail):
        return {name: {"size": 3} for name in self.names}

    def get(self, paths, targets):
        if self.fault:
            raise self.fault
        for target in targets:
            Path(target).write_bytes(b"12")

    def exists(self, root):
        raise RuntimeError("403\nForbidden")


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (Broken(), "root/a.wav was cut off or has changed"),
        (Broken(fault=TimeoutError("slow")), "TimeoutError: slow.*check the URL, the network"),
        (Broken(fault=RuntimeError("odd")), "RuntimeError: odd"),
        (Broken(names=("root/../../a.wav",)), "outside its folder"),
    ],
)
def test_a_fault_of_the_server_is_one_line(server, reason, monkeypatch, tmp_path):
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (server, "root"))
    with pytest.raises(DataError, match=reason):
        fetch_folder(RemoteFolder("s3://bucket/x"))
    with refuses(DataError, "403"):
        require_reachable(RemoteFolder("s3://bucket/x"))
    assert not list(tmp_path.rglob("a.wav"))


def test_a_full_disk_names_the_file(monkeypatch):
    fault = OSError(28, "No space left on device", "/c/a.wav.m3net-part")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Broken(fault=fault), "root"))
    with pytest.raises(OSError, match="No space"):
        fetch_folder(RemoteFolder("s3://bucket/x"))


def test_data_at_a_url_are_checked_but_not_copied_by_the_driver(remote, tiny_recipe):
    recipe = tiny_recipe(dataset={"name": "folder", "options": {}})
    folders = {"": remote}
    assert missing_data([recipe], folders) == [] and not remote.copy.exists()
    (line,) = missing_data([recipe], {"folder": RemoteFolder(f"{remote.url}/no")})
    assert line.startswith("folder: file://") and "does not exist" in line
    assert source_of(recipe, folders) is remote
    assert source_of(tiny_recipe(), folders) is None  # synth needs no folder
    assert data.one_line(ValueError("a\n b")) == "a b"
