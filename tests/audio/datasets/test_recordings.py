# SPDX-License-Identifier: Apache-2.0
"""Hours of other publishers' recordings, fetched from a local server."""

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.audio.datasets.clips import Archive
from m3net_tf.audio.datasets.recordings import (
    RECORDINGS,
    divided_recordings,
    fetch_recordings,
    fetched_recordings,
)
from m3net_tf.cli import app
from m3net_tf.system.errors import ConfigError, DataError

SECONDS = 36  # of each of ten speakers in a part


def archive(folder: Path, part: str) -> Archive:
    """An archive as LibriSpeech's: a folder of each speaker and chapter."""
    path = folder / f"{part}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for speaker in range(10):
            sound = io.BytesIO()
            soundfile.write(sound, np.zeros(SECONDS * 1000), 1000, format="FLAC")
            member = tarfile.TarInfo(f"LibriSpeech/{part}/{speaker}/7/{speaker}-7-0000.flac")
            member.size = len(sound.getvalue())
            sound.seek(0)
            tar.addfile(member, sound)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Archive(f"https://localhost/{path.name}", f"sha256:{digest}")


@pytest.fixture
def librispeech(server, monkeypatch) -> str:
    """Small archives in place of LibriSpeech's; returns the address of their folder."""
    published = RECORDINGS["librispeech"]
    small = tuple(archive(server.folder, Path(part.folder).name) for part in published.parts)
    monkeypatch.setitem(RECORDINGS, "librispeech", dataclasses.replace(published, archives=small))
    return server.url


def speakers(paths: list[Path]) -> list[str]:
    return [f"{path.parents[2].name}/{path.parents[1].name}" for path in paths]


def test_held_out_speakers_validate_and_test(librispeech):
    assert fetched_recordings() == ()
    fetch_recordings("librispeech", url=librispeech)
    assert fetched_recordings() == ("librispeech",)
    divided = divided_recordings("librispeech")
    assert speakers(divided["train"]) == [f"dev-other/{i}" for i in range(10)]
    for split, numbers in (("validation", range(3)), ("test", range(3, 10))):
        assert speakers(divided[split]) == [
            f"{part}/{i}" for part in ("test-clean", "test-other") for i in numbers
        ]


def test_hours_in_excess_are_left_out_evenly(librispeech, monkeypatch):
    recordings = RECORDINGS["librispeech"]
    half = SECONDS * 5 / 3600
    parts = tuple(dataclasses.replace(part, most_hours=half) for part in recordings.parts)
    monkeypatch.setitem(RECORDINGS, "librispeech", dataclasses.replace(recordings, parts=parts))
    fetch_recordings("librispeech", url=librispeech)
    kept = speakers(divided_recordings("librispeech")["train"])
    assert kept == [f"dev-other/{i}" for i in (1, 3, 5, 7, 9)]


def test_a_part_that_is_missing_or_another_is_refused(librispeech, server):
    with refuses(ConfigError, "dev-other.tar.gz", "3 archives"):
        fetch_recordings("librispeech", url=f"{librispeech}dev-other.tar.gz")
    with refuses(DataError, "dev-other", "m3net data fetch librispeech"):
        divided_recordings("librispeech")
    (server.folder / "test-other.tar.gz").write_bytes(b"other")
    with refuses(DataError, "test-other.tar.gz", "checksum"):
        fetch_recordings("librispeech", url=librispeech)
    assert fetched_recordings() == ()


def test_the_command_names_the_licence(librispeech):
    command = ["data", "fetch", "librispeech", "--url", librispeech]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "CC BY 4.0" in result.stdout
    facts = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert facts["licence"] == RECORDINGS["librispeech"].licence
    assert len(list(Path(facts["folder"]).rglob("*.flac"))) == 30


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_split_has_a_share(name):
    for part in RECORDINGS[name].parts:
        assert sum(part.shares.values()) == pytest.approx(1)
    shared = [part.shares for part in RECORDINGS[name].parts]
    assert {split for shares in shared for split in shares} == {"train", "validation", "test"}
