# SPDX-License-Identifier: Apache-2.0
"""Captured clips: a folder data set with the provenance of each clip."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import captured
from m3net_tf.audio.datasets.captured import COLUMNS, TABLE, CapturedClips
from m3net_tf.system.errors import ConfigError, DataError

SOUND = np.linspace(-1, 1, 1600, dtype=np.float32)
HEARD = {
    "time_utc": "2030-01-31T13:00:00+01:00",
    "source": "qemu:mps2_an386",
    "model_sha256": "ab" * 32,
    "detected": "clap",
    "score": 0.61,
    "threshold": 0.7,
    "reason": "near_miss",
}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open() as file:
        return list(csv.DictReader(file))


def test_a_captured_clip_has_its_provenance_and_is_a_clip_of_the_folder_data_set(tmp_path: Path):
    from m3net_tf.audio.datasets import load_dataset

    clips = CapturedClips(tmp_path / "captured")
    path = clips.add(SOUND, 8000, "no clap", HEARD)
    assert path.parent.name == "no clap" and path.name.startswith("20300131T120000_")
    pcm, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 8000 and pcm[0] == -32768 and pcm[-1] == 32767
    (row,) = table(clips.folder)
    assert tuple(row) == COLUMNS
    assert row["time_utc"] == "2030-01-31T12:00:00.000+00:00" and row["score"] == "0.61"
    assert row["file"] == f"no clap/{path.name}" and row["label"] == "no clap"

    twin = clips.add(SOUND, 8000, "clap", HEARD)  # the same sound at the same time
    assert path.name != twin.name and len(clips) == 2
    assert {(row["file"], row["label"]) for row in table(clips.folder)} == {
        (f"clap/{twin.name}", "clap"),
        (f"no clap/{path.name}", "no clap"),
    }
    for split in ("train", "validation", "test"):  # more than the few clips of this test need
        (tmp_path / "split").mkdir(exist_ok=True)
        (tmp_path / "split" / split).symlink_to(clips.folder)
    assert load_dataset("folder", tmp_path / "split").info.labels == ("clap", "no clap")
    clips.remove(path)
    assert [clip.label for clip in clips] == ["clap"] and len(table(clips.folder)) == 1


@pytest.mark.parametrize("label", ["", "..", ".hidden", "a/b", "a\\b", "/clap", " clap", "a\nb"])
def test_labels_that_cannot_be_class_folders_are_refused(tmp_path: Path, label: str):
    clips = CapturedClips(tmp_path)
    with refuses(ConfigError, "name"):
        clips.add(SOUND, 8000, label, {})
    assert not len(clips)


def test_wrong_input_is_one_line_that_says_how_to_fix_it(tmp_path: Path):
    clips = CapturedClips(tmp_path)
    for provenance, message in (
        ({"reason": "boring"}, "choose one of near_miss, false_alarm, missed"),
        ({"scor": 1.0}, "unknown key 'scor' in the provenance"),
        ({"time_utc": "yesterday"}, "give a time such as"),
        ({"source": "a\nb"}, "one line of printable characters"),
    ):
        with pytest.raises(ConfigError, match=message):
            clips.add(SOUND, 8000, "clap", provenance)
    with refuses(ConfigError, "1000", "768000"):
        clips.add(SOUND, 0, "clap", {})
    for sound in (SOUND[:0], SOUND[None], SOUND * np.float32(np.nan)):
        with refuses(DataError, "mono"):
            clips.add(sound, 8000, "clap", {})
    (tmp_path / "outside.wav").write_bytes(b"")
    for path in (tmp_path / "outside.wav", tmp_path / "clap" / ".." / ".." / "x.wav"):
        with pytest.raises(DataError, match="is not a clip of"):
            clips.remove(path)
    (tmp_path / TABLE).write_text("file,label\n")
    with refuses(DataError, "'detected'"):
        list(clips)
    (tmp_path / TABLE).write_bytes(b"\xff")
    with refuses(DataError, "CSV", "UTF-8"):
        list(clips)


def test_a_killed_process_loses_only_the_clip_that_it_was_adding(tmp_path: Path, monkeypatch):
    clips = CapturedClips(tmp_path)
    first = clips.add(SOUND, 8000, "clap", HEARD)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(captured, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            clips.add(SOUND / 2, 8000, "clap", HEARD)
    assert [clip.path for clip in clips] == [first] and len(table(tmp_path)) == 2
    (tmp_path / "other").mkdir()
    first.rename(tmp_path / "other" / first.name)
    (clip,) = clips  # moved, and its row still belongs to it
    assert clip.label == "other" and clip.provenance["reason"] == "near_miss"
    clips.add(SOUND / 4, 8000, "clap", {})
    assert sorted(row["label"] for row in table(tmp_path)) == ["clap", "other"]


def test_sounds_that_the_user_put_there_are_clips_without_provenance(tmp_path: Path, write_wav):
    path = write_wav(tmp_path / "clap" / "door" / "1.wav")
    write_wav(tmp_path / "clap" / ".hidden.wav")
    write_wav(tmp_path / "loose.wav")
    write_wav(tmp_path / "other" / "1.wav")
    clips = CapturedClips(tmp_path)
    assert next((c.path, c.label, dict(c.provenance)) for c in clips) == (path, "clap", {})
    assert len(clips) == 2


def test_the_documented_program_captures_and_labels_a_clip(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "reference" / "data.md").read_text()
    page = page.partition("\n## Captured clips\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(program, {})
    (clip,) = CapturedClips(tmp_path / "captured")
    assert clip.label == "clap" and clip.provenance["reason"] == "near_miss"
    assert capsys.readouterr().out.endswith(".wav near_miss 0.55\n")
    columns = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)))
    assert sorted(columns) == sorted(COLUMNS)
