# SPDX-License-Identifier: Apache-2.0
"""The lock file and fetching by commit, against a repository on disk."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.builds import sources
from m3net_tf.boards.builds.sources import Source
from m3net_tf.system.errors import FirmwareError

ENTRY = '[[source]]\nname = "a"\nurl = "u"\ncommit = "{}"\ntree = "{}"\ncontent = "{}"\n'


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture()
def upstream(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository of two commits, and their hashes."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    commits = []
    for version in ("one", "two"):
        (folder / "code").mkdir(exist_ok=True)
        (folder / "code" / "file.c").write_text(f"// {version}\n")
        (folder / "docs").mkdir(exist_ok=True)
        (folder / "docs" / "page.md").write_text(version)
        (folder / "LICENSE").write_text("free")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", version)
        commits.append(git(folder, "rev-parse", "HEAD"))
    return folder, commits


def test_lock_pins_sources_by_full_commit():
    pinned = sources.read_lock()
    assert len(pinned) == 10 and len(sources.library_sources()) == 7
    assert {source.url.rsplit("/", 2)[0] for source in pinned} == {"https://github.com"}
    assert all(len(source.commit) == len(source.tree) == 40 for source in pinned)
    assert all(source.licence and source.folders for source in pinned)
    package = sources.read_package("cmsisdsp")
    assert package.licence and package.folders == ("Include", "PrivateInclude", "Source")
    with refuses(FirmwareError, sources.LOCK_FILE, "'dsp'"):
        sources.read_package("dsp")


def test_lock_digest_follows_names_and_commits_alone():
    """Compiled libraries are kept under it."""
    (*rest, last) = sources.read_lock()
    digest = sources.lock_digest([last, *rest])
    other_files = dataclasses.replace(last, tree="0" * 40, content="0" * 64, licence="none")
    assert sources.lock_digest([*rest, other_files]) == digest
    assert sources.lock_digest([*rest, dataclasses.replace(last, commit="0" * 40)]) != digest


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[source]\n", "line 1"),
        ("", "'source'"),
        ('[[source]]\nname = "a"\nurl = "u"\n', "'commit'"),
        (ENTRY.format("main", "a" * 40, "a" * 64), "commit 'main'"),
        (ENTRY.format("a" * 40, "a" * 39, "a" * 64), "tree 'a"),
        (ENTRY.format("a" * 40, "a" * 40, "a" * 40), "content 'a"),
        (2 * ENTRY.format("a" * 40, "a" * 40, "a" * 64), "once"),
        ('source = []\n[[package]]\nname = "d"\nversion = "1"\nsha256 = "12"\n', "content ''"),
    ],
)
def test_broken_lock_is_named(tmp_path: Path, text: str, key: str):
    path = tmp_path / "third_party.lock"
    path.write_text(text)
    with refuses(FirmwareError, path, key):
        sources.read_lock(path)
    path.unlink()
    with refuses(FirmwareError, path):
        sources.read_lock(path)


def test_fetch_takes_the_pinned_commit_and_only_its_folders(tmp_path, upstream):
    folder, commits = upstream
    source = Source("lib", str(folder), commits[0], folders=("code",))
    cache = tmp_path / "cache"
    assert not sources.is_fetched(source, cache)
    checkout = sources.fetch_source(source, cache)
    assert (checkout / "code" / "file.c").read_text() == "// one\n"
    assert (checkout / "LICENSE").exists()
    assert not (checkout / "docs").exists() and not (checkout / ".git").exists()
    assert sources.is_fetched(source, cache)
    folder.rename(tmp_path / "gone")
    lines: list[str] = []
    assert sources.fetch_sources([source], cache, lines.append) == {"lib": checkout}
    assert lines == [] and sources.why_sources_unavailable([source], cache) == ""


@pytest.mark.parametrize(
    ("url", "commit", "folders", "words"),
    [
        ("", "f" * 40, (), "lib"),
        ("nowhere", "f" * 40, (), "M3NET_CACHE"),
        ("", "", ("code", "include"), "third_party.lock"),
    ],
    ids=["commit", "repository", "folder"],
)
def test_what_cannot_be_fetched_leaves_nothing(tmp_path, upstream, url, commit, folders, words):
    folder, commits = upstream
    address = str(tmp_path / url if url else folder)
    source = Source("lib", address, commit or commits[0], folders=folders)
    with refuses(FirmwareError, words) as caught:
        sources.fetch_source(source, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache" / "sources").iterdir()) == []
    if not folders:
        assert address in str(caught.value)
    if url:
        assert "unreachable" in sources.why_sources_unavailable([source], tmp_path / "cache")


def test_fetch_killed_half_way_is_made_good(tmp_path, upstream):
    """A process dies between checkout and renaming; the next fetch is complete."""
    folder, commits = upstream
    source = Source("lib", str(folder), commits[0], folders=("code",))
    script = (
        "import os, pathlib, sys\n"
        "from m3net_tf.boards.builds import sources\n"
        "original = sources._checkout\n"
        "def dying(source, scratch):\n"
        "    original(source, scratch)\n"
        "    os._exit(9)\n"
        "sources._checkout = dying\n"
        "sources.fetch_source(sources.Source('lib', sys.argv[1], sys.argv[2],"
        " folders=('code',)), pathlib.Path(sys.argv[3]))\n"
    )
    cache = tmp_path / "cache"
    arguments = [sys.executable, "-c", script, str(folder), commits[0], str(cache)]
    assert subprocess.run(arguments, check=False).returncode == 9
    assert not sources.is_fetched(source, cache)
    (leftover,) = (cache / "sources").iterdir()
    assert (sources.fetch_source(source, cache) / "code" / "file.c").exists()
    assert sources.is_fetched(source, cache) and not leftover.exists()


def test_damaged_checkout_is_fetched_again(tmp_path, upstream):
    folder, commits = upstream
    source = Source("lib", str(folder), commits[0], folders=("code",))
    checkout = sources.fetch_source(source, tmp_path / "cache")
    (checkout / "code" / "file.c").unlink()
    (checkout / "code").rmdir()
    assert not sources.is_fetched(source, tmp_path / "cache")
    assert (sources.fetch_source(source, tmp_path / "cache") / "code" / "file.c").exists()


@pytest.fixture()
def pinned(tmp_path: Path, upstream: tuple[Path, list[str]]) -> Source:
    """A source with all hashes, as in the lock file; it is in the cache ``tmp_path / "cache"``."""
    folder, commits = upstream
    tree = git(folder, "rev-parse", f"{commits[0]}^{{tree}}")
    source = Source("lib", str(folder), commits[0], tree, folders=("code",))
    checkout = sources.fetch_source(source, tmp_path / "cache")
    return dataclasses.replace(source, content=sources.content_digest(checkout))


def change(checkout: Path) -> None:
    file = checkout / "code" / "file.c"
    facts = file.stat()
    file.write_text("// 0ne\n")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as many bytes, as old


def add(checkout: Path) -> None:
    (checkout / "code" / "added.h").touch()


def link(checkout: Path) -> None:
    file = checkout / "code" / "file.c"
    file.rename(checkout.parent / "elsewhere.c")
    file.symlink_to(checkout.parent / "elsewhere.c")


@pytest.mark.parametrize("tamper", [change, add, link])
def test_a_changed_checkout_is_refused_until_it_is_deleted(tmp_path, pinned, tamper):
    cache = tmp_path / "cache"
    checkout = sources.fetch_source(pinned, cache)
    tamper(checkout)
    with pytest.raises(FirmwareError, match="delete this folder") as caught:
        sources.fetch_source(pinned, cache)
    assert str(caught.value).startswith(f"{checkout}: ") and "\n" not in str(caught.value)
    shutil.rmtree(checkout)
    assert (sources.fetch_source(pinned, cache) / "code" / "file.c").read_text() == "// one\n"


@pytest.mark.parametrize("key", ["tree", "content"])
def test_files_other_than_the_pinned_ones_are_not_kept(tmp_path, pinned, key):
    source = dataclasses.replace(pinned, **{key: "0" * 64})
    with refuses(FirmwareError, key, getattr(pinned, key)):
        sources.fetch_source(source, tmp_path / "new")
    assert list((tmp_path / "new" / "sources").iterdir()) == []


def test_the_user_s_line_ends_do_not_change_files(tmp_path, pinned, monkeypatch):
    path = tmp_path / "gitconfig"
    path.write_text("[core]\n\tautocrlf = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    assert sources.fetch_source(pinned, tmp_path / "new")
