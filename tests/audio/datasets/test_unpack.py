# SPDX-License-Identifier: Apache-2.0
import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m3net_tf.audio.datasets.unpack import Limits, unpack
from m3net_tf.system.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, 200_000).astype(np.uint8).tobytes()


def tar_with(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    return path


def zip_with(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def refused(archive: Path, pattern: str, **kwargs: object) -> None:
    """Unpacking must fail in one line and leave nothing behind, inside or outside."""
    folder = archive.parent / "into/here"
    folder.mkdir(parents=True, exist_ok=True)
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(DataError, match=pattern) as caught:
        unpack(archive, folder, **kwargs)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(tmp_path, mode):
    suffix = mode.replace("w", "tar").replace(":", ".")
    archive = tar_with(tmp_path / f"set.{suffix}", ("top/a/b", NOISE), ("top/c", b""), mode=mode)
    moves: list[Path] = []
    assert unpack(archive, tmp_path, before_move=moves.append) == tmp_path / "top"
    assert moves == [tmp_path / "top"]
    assert (tmp_path / "top/a/b").read_bytes() == NOISE
    assert (tmp_path / "top/c").read_bytes() == b""
    assert not list(tmp_path.glob(".unpack-*"))


def test_several_entries_at_the_top_get_a_folder(tmp_path, umask):
    umask(0o027)
    archive = tar_with(tmp_path / "set_v1.tar.gz", ("./yes/a", b"1"), ("./list.txt", b"2"))
    assert unpack(archive, tmp_path) == tmp_path / "set_v1"
    assert (tmp_path / "set_v1/yes/a").read_bytes() == b"1"
    assert stat.S_IMODE((tmp_path / "set_v1").stat().st_mode) == 0o750


def test_files_that_zip_and_file_managers_leave(tmp_path):
    archive = zip_with(
        tmp_path / "set.zip",
        ("top/", b""),
        ("top/a", NOISE),
        ("top/.DS_Store", b"x"),
        ("__MACOSX/top/._a", b"x"),
    )
    assert unpack(archive, tmp_path) == tmp_path / "top"
    assert [path.name for path in (tmp_path / "top").iterdir()] == ["a"]


def test_an_existing_folder_is_kept(tmp_path):
    archive = tar_with(tmp_path / "set.tar.gz", ("top/a", b"new"))
    (tmp_path / "into/here/top").mkdir(parents=True)
    (tmp_path / "into/here/top/a").write_bytes(b"old")
    refuse = "set.tar.gz is not unpacked over it; move it away"
    with pytest.raises(DataError, match=refuse):
        unpack(archive, tmp_path / "into/here")
    assert (tmp_path / "into/here/top/a").read_bytes() == b"old"


NAMES = ["/etc/evil", "../evil", "top/../../evil", "..", "C:evil", "top\\evil", "top/a\nb"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_outside(tmp_path, name, kind):
    members = (("top/good", b"x"), (name, b"x"))
    if kind == "tar":
        archive = tar_with(tmp_path / "set.tar.gz", *members)
    else:
        archive = zip_with(tmp_path / "set.zip", *members)
    refused(archive, "leads outside its folder or is not a portable name; nothing is unpacked")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (special("top/link", tarfile.SYMTYPE, "/etc/passwd"), "'top/link' is a link"),
        (special("top/link", tarfile.SYMTYPE, "good"), "is a link"),
        (special("top/link", tarfile.LNKTYPE, "top/good"), "is a link"),
        (special("top/null", tarfile.CHRTYPE), "is a device or another special file"),
        (special("top/disk", tarfile.BLKTYPE), "is a device"),
        (special("top/pipe", tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, member, message):
    refused(tar_with(tmp_path / "set.tar.gz", ("top/good", b"x"), member), message)


@pytest.mark.parametrize(
    ("mode", "message"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is a device")]
)
def test_links_and_devices_in_a_zip(tmp_path, mode, message):
    archive = zip_with(tmp_path / "set.zip", ("top/good", b"x"))
    with zipfile.ZipFile(archive, "a") as file:
        info = zipfile.ZipInfo("top/bad")
        info.create_system = 3
        info.external_attr = (mode | 0o644) << 16
        file.writestr(info, "/etc/passwd")
    refused(archive, message)


def test_bombs(tmp_path):
    zeros = bytes(30_000_000)
    bomb = "grows beyond 100 times its size"
    refused(tar_with(tmp_path / "bomb.tar.gz", ("top/zeros", zeros)), bomb)
    refused(zip_with(tmp_path / "bomb.zip", ("top/zeros", zeros)), bomb)
    archive = tar_with(tmp_path / "set.tar.gz", ("top/a", NOISE), ("top/b", NOISE))
    refused(archive, "or 300000 bytes", limits=Limits(max_bytes=300_000))
    refused(archive, "has more than 1 files", limits=Limits(max_files=1))
    unpack(archive, tmp_path)


def test_a_zip_that_lies_about_its_size(tmp_path):
    archive = zip_with(tmp_path / "set.zip", ("top/zeros", bytes(5_000_000)))
    data = archive.read_bytes()
    size = (5_000_000).to_bytes(4, "little")
    assert data.count(size) == 2
    archive.write_bytes(data.replace(size, (5).to_bytes(4, "little")))
    refused(archive, "is a broken archive")


def test_a_name_that_comes_twice(tmp_path):
    refused(tar_with(tmp_path / "set.tar.gz", ("top/a", b"1"), ("top/a", b"2")), "occurs twice")


@pytest.mark.parametrize("kept", [1, 100, 100_000, 150_000])
@pytest.mark.parametrize("name", ["set.tar.gz", "set.tar", "set.zip"])
def test_cut_archives(tmp_path, name, kept):
    members = (("top/a", NOISE[:100_000]), ("top/b", NOISE[100_000:]))
    if name.endswith("zip"):
        archive = zip_with(tmp_path / name, *members)
    else:
        archive = tar_with(tmp_path / name, *members, mode="w:gz" if "gz" in name else "w")
    archive.write_bytes(archive.read_bytes()[:kept])
    refused(archive, "is a broken archive")


def test_a_tar_cut_between_two_files(tmp_path):
    archive = tar_with(tmp_path / "set.tar", ("top/a", bytes(range(256)) * 2), mode="w")
    archive.write_bytes(archive.read_bytes()[: 512 + 512])
    refused(archive, "is a broken archive .its end is missing")


def test_a_broken_byte_in_a_zip(tmp_path):
    archive = zip_with(tmp_path / "set.zip", ("top/a", NOISE))
    data = bytearray(archive.read_bytes())
    data[100_000] ^= 1
    archive.write_bytes(data)
    refused(archive, "is a broken archive .*(CRC|invalid)")


def test_not_an_archive(tmp_path):
    for name, message in (("set.zip", "is a broken archive"), ("set.rar", "not a known kind")):
        (tmp_path / name).write_bytes(b"<html>404</html>")
        refused(tmp_path / name, message)
    empty = tar_with(tmp_path / "empty.tar.gz")
    refused(empty, "contains no files")


@pytest.fixture
def split_zip(tmp_path) -> Callable[..., Path]:
    """A zip in volumes of 64 KiB, made by Info-ZIP."""
    if shutil.which("zip") is None:
        pytest.skip("Info-ZIP's zip is not installed")

    def make() -> Path:
        folder = tmp_path / "source/FSD50K.dev_audio"
        folder.mkdir(parents=True)
        for i in range(12):
            (folder / f"{i}.wav").write_bytes(NOISE[i : i + 30_000])
        archive = tmp_path / "set.zip"
        subprocess.run(
            ["zip", "-q", "-r", "-s", "64k", archive, folder.name], cwd=folder.parent, check=True
        )
        assert len(list(tmp_path.glob("set.z[0-9]*"))) >= 4
        return archive

    return make


def test_split_zip(split_zip, tmp_path):
    folder = unpack(split_zip(), tmp_path)
    assert folder == tmp_path / "FSD50K.dev_audio"
    for i in range(12):
        assert (folder / f"{i}.wav").read_bytes() == NOISE[i : i + 30_000]


@pytest.mark.parametrize("volume", [".z01", ".z02", ".z05"])
def test_split_zip_without_a_volume(split_zip, tmp_path, volume):
    archive = split_zip()
    archive.with_suffix(volume).unlink()
    refused(archive, "is a broken archive")


def test_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    archive = tar_with(tmp_path / "set.tar.gz", ("top/a", b"1"))
    refused(archive, "cannot be unpacked .No space left on device.; free some space")
