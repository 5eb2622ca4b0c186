# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path
from typing import TypedDict

import pytest
from refusals import refuses

from m3net_tf.system import artifacts, unfinished
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.locks import complete_folder, scratch_folder
from m3net_tf.system.markdown import markdown_text
from m3net_tf.system.yaml_files import read_yaml


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    artifacts.write_bytes(path, b"one")
    artifacts.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_the_umask_decides_who_may_read_results(tmp_path, umask, mask):
    umask(mask)
    artifacts.write_bytes(tmp_path / "file.bin", b"")
    with complete_folder(tmp_path / "export"):
        pass
    with scratch_folder(".source-", tmp_path) as scratch:
        scratch.rename(tmp_path / "source")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    folder = 0o777 & ~mask
    assert modes == {"file.bin": 0o666 & ~mask, "export": folder, "source": folder}


def test_a_scratch_folder_of_the_system_is_private(umask):
    umask(0)
    with scratch_folder("m3net-private-") as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(function, tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    artifacts.write_text(path, "old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)
    with refuses(OSError, path):
        artifacts.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_nothing_either(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        artifacts.write_bytes(tmp_path / "file.bin", b"new")
    assert not list(tmp_path.iterdir())


def test_json_has_no_nan(tmp_path):
    with refuses(ValueError, "JSON"):
        artifacts.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_read_json_names_the_file_and_how_to_fix_it(tmp_path):
    path = tmp_path / "metrics.json"
    with refuses(DataError, "metrics.json"):
        artifacts.read_json(path)
    whole = json.dumps({"accuracy": 0.5})
    for damaged in (whole[:-3].encode(), b"", b"\xff\xfe\x00", b"[" * 100_000):
        path.write_bytes(damaged)
        with refuses(DataError, "metrics.json", "JSON"):
            artifacts.read_json(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9" * 4301, "a number of more than 64 characters"),
        ('{"a": 1, "a": 2}', "the key 'a' twice"),
        ("[NaN]", "the number NaN"),
        ("[1e999]", "the number 1e999"),
        ('{"\\ud800": 1}', "half a character"),
        ("[" * 101 + "]" * 101, "more than 100 levels deep"),
        (" " * (9 << 20), "more than 8388608 bytes"),
        ('{"epochs": "3"}', "another form: .*int"),
        ("[]", "another form: .*object"),
    ],
)
def test_json_that_no_step_writes(tmp_path, text, reason):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"mine\.json is not valid JSON \(.*{reason}") as caught:
        artifacts.read_json(path, TypedDict("Record", {"epochs": int}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_json_may_have_emoji_and_further_keys(tmp_path):
    values = {"epochs": 3, "note": "\U0001f600"}
    artifacts.write_json(tmp_path / "a.json", values)
    assert artifacts.read_json(tmp_path / "a.json", TypedDict("Record", {"epochs": int})) == values


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "record")
    with refuses(DataError, "record", "not a file"):
        artifacts.read_json(tmp_path / "record")
    with refuses(ConfigError, "record", "not a file"):
        read_yaml(tmp_path / "record")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("M3NET_CACHE", str(tmp_path))
    assert artifacts.cache_folder() == tmp_path
    monkeypatch.setenv("M3NET_CACHE", "")
    assert artifacts.cache_folder().name == "m3net_tf"


def test_provenance(monkeypatch):
    made = artifacts.provenance()
    assert {"python", "tf_keras", "numpy"} <= set(made["versions"])

    def no_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(artifacts.subprocess, "run", no_git)
    assert artifacts.provenance()["git_commit"] == ""


def test_markdown_shows_names_as_they_are():
    assert markdown_text("a_b, c d") == "a_b, c d"
    assert markdown_text(r"a|b [x](y) *c* `d` <b> \\") == (r"a\|b \[x\](y) \*c\* \`d\` \<b\> \\\\")


def test_a_folder_replaces_another_even_if_names_cannot_be_exchanged(tmp_path, monkeypatch):
    for number, exchanges in enumerate((True, False)):
        if not exchanges:
            monkeypatch.setattr(unfinished, "_exchange", lambda first, second: False)
        for content in ("old", "new"):
            new = tmp_path / f".new-{content}-{number}"
            new.mkdir()
            (new / content).touch()
            unfinished.replace_folder(new, tmp_path / "folder")
            assert [path.name for path in tmp_path.rglob("*")] == ["folder", content]


def test_the_old_folder_stays_until_the_new_one_has_its_name(tmp_path, monkeypatch):
    """As after a kill in the midst of removing the old one."""
    folder = tmp_path / "folder"
    new = tmp_path / "new"
    for path in (folder, new):
        path.mkdir()
        (path / path.name).touch()
    monkeypatch.setattr(unfinished.shutil, "rmtree", lambda path: None)
    unfinished.replace_folder(new, folder)
    assert [path.name for path in folder.iterdir()] == ["new"]
