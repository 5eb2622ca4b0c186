# SPDX-License-Identifier: Apache-2.0
"""Downloads from a local server: the real archives' layouts in small, and all that goes wrong."""

import dataclasses
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m3net_tf.artifacts import read_json
from m3net_tf.datasets import dataset_info, load_dataset, registry
from m3net_tf.datasets.fetch import RECORD, fetch
from m3net_tf.errors import ConfigError, DataError


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
                checksum=archive.checksum and server.checksum(archive.file_name),
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
    assert {path.name for path in folder.glob(".*")} == {RECORD}
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
