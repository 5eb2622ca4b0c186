# SPDX-License-Identifier: Apache-2.0
"""Windows of long clips, and folds of whole groups."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import cut_statement, load_dataset
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.datasets.protocols import UnsuitedProtocolError, grouped_fold_split
from m3net_tf.audio.datasets.tables import split_table
from m3net_tf.audio.datasets.windows import (
    in_windows,
    is_silent,
    levels_of,
    loudest_windows,
)
from m3net_tf.audio.frontend.windows import window_starts, windows_of_chunks
from m3net_tf.system.errors import ConfigError, DataError

RATE_HZ = 8000
WINDOWS = {"clip_s": 1.0, "long_clips": "windows", "sample_rate_hz": RATE_HZ}


def write(path: Path, *loud_s: float, length_s: float = 4.0) -> Path:
    """A sound with half a second of noise at some times, and digital zero elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.zeros(round(length_s * RATE_HZ), np.float32)
    noise = np.random.default_rng(len(path.name)).uniform(-0.3, 0.3, RATE_HZ // 2)
    for start_s in loud_s:
        sound[round(start_s * RATE_HZ) :][: noise.size] = noise
    soundfile.write(path, sound, RATE_HZ)
    return path


def starts(clips: list[Clip]) -> list[float]:
    return [clip.start_s for clip in clips]


def test_windows_have_sound(tmp_path: Path):
    clip = Clip("sneeze/a.wav", "sneeze", "train", "a", write(tmp_path / "a.wav", 3.0))
    kept = in_windows([clip], 1.0)
    assert starts(kept) == [2.5, 3.0] and {c.whole for c in kept} == {"sneeze/a.wav"}
    assert [c.clip_id for c in kept] == ["sneeze/a.wav@2.500s", "sneeze/a.wav@3.000s"]
    assert in_windows([clip], 4.0) == [clip]
    muted = dataclasses.replace(clip, path=write(tmp_path / "muted.wav"))
    assert in_windows([muted], 1.0) == []
    muted_test = dataclasses.replace(muted, split="test")
    assert starts(in_windows([muted_test], 1.0)) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_a_broken_file_is_left_to_its_reader(tmp_path: Path):
    path = write(tmp_path / "a.flac", 3.0)
    path.write_bytes(path.read_bytes()[:-200])
    clip = Clip("a", "a", "train", "a", path)
    assert len(in_windows([clip], 1.0)) == 7
    path.write_bytes(b"RIFF")
    assert in_windows([clip], 1.0) == [clip]


def test_the_last_window_ends_with_the_sound():
    assert window_starts(100, 40, 5) == [0, 20, 40, 60]
    assert window_starts(104, 40, 5) == [0, 20, 40, 60]
    assert window_starts(105, 40, 5) == [0, 20, 40, 60, 65]
    assert window_starts(40, 40, 1) == [0]
    for samples in (100, 104, 105, 40):
        sound = np.arange(samples, dtype=np.int16)
        for chunks in ([sound], np.split(sound, [1, 7, 39]), np.split(sound, range(3, samples, 3))):
            windows = list(windows_of_chunks(chunks, 40, 5))
            assert [start for start, _ in windows] == window_starts(samples, 40, 5)
            assert all((part == np.arange(start, start + 40)).all() for start, part in windows)
    ((start, part),) = windows_of_chunks([np.ones(3, np.int16)], 5, 1)
    assert (start, part.tolist()) == (0, [1, 1, 1, 0, 0])


def test_silence_is_far_below_the_loudest_window():
    audio = np.repeat(np.array([0.5, 0.006, 0.004, 0.0], np.float32), 100)
    levels = levels_of([audio], [0, 100, 200, 300], 100)
    np.testing.assert_allclose(levels, [0.5, 0.006, 0.004, 0.0], atol=1e-9)
    assert is_silent(levels).tolist() == [False, False, True, True]
    assert is_silent(np.array([1e-6, 0.0])).all()


def test_a_folder_with_long_clips(tmp_path: Path):
    for label, number in itertools.product("ab", range(10)):
        write(tmp_path / label / f"{number}.wav", 0.35 * number)
    dataset = load_dataset("folder", tmp_path, silence_percentage=25, **WINDOWS)
    assert all(len(dataset.load(clip)) == RATE_HZ for clip in dataset.clips)
    assert all(dataset.load(c).any() for c in dataset.clips if not c.synthetic)
    # A clip counts once in the share of silence and in the preview of the split.
    assert sum(clip.synthetic for clip in dataset.split("test")) == 1
    assert split_table(dataset).rows[1:] == (
        ("a", "6", "2", "2"),
        ("b", "6", "2", "2"),
        ("clips", *(str(12 + sum(c.synthetic for c in dataset.split("train"))), "5", "5")),
    )
    said = cut_statement(dataset)
    assert said.startswith(
        "folder: the window of 1 s is shorter than 20 of 20 clips: training uses"
    )
    assert "only their beginning" in cut_statement(load_dataset("folder", tmp_path))
    with refuses(ConfigError, "long_clips", "'all'"):
        load_dataset("folder", tmp_path, long_clips="all")


def test_digital_zero_is_no_example_of_a_class(tmp_path: Path):
    for label, number in itertools.product(("bark", "sneeze", "silence"), range(10)):
        write(tmp_path / label / f"{number}.wav", 0.1, length_s=0.6)
    write(tmp_path / "bark" / "zero.wav", length_s=0.6)
    write(tmp_path / "sneeze" / "zero.wav", length_s=4.0)
    write(tmp_path / "silence" / "zero.wav", length_s=0.6)
    (tmp_path / "bark" / "broken.wav").write_bytes(b"RIFF")
    for options in (WINDOWS, {}):
        dataset = load_dataset("folder", tmp_path, **options)
        assert dataset.silent == ("bark/zero.wav", "sneeze/zero.wav")
        names = {clip.whole or clip.clip_id for clip in dataset.clips}
        assert len(names) == 32 and {"silence/zero.wav", "bark/broken.wav"} < names
    remark = next(line for line in check("folder", tmp_path).remarks if "digital zero" in line)
    assert "2 clips" in remark and "bark/zero.wav" in remark
    write(tmp_path / "zeros" / "a.wav")
    with refuses(DataError, "'zeros'"):
        load_dataset("folder", tmp_path)


def test_only_the_loudest_window_has_the_event(tmp_path: Path):
    clip = Clip("sneeze/a.wav", "sneeze", "test", "a", write(tmp_path / "a.wav", 3.0))
    clips = [*in_windows([clip], 1.0), dataclasses.replace(clip, clip_id="b")]
    sounds = {c: np.full(8, c.start_s == 2.5, np.float32) for c in clips}
    assert starts(loudest_windows(clips, sounds.__getitem__)) == [2.5, 0.0]


def named(label: str, groups: int, each: int = 1) -> list[Clip]:
    return [
        Clip(f"{label}/{group}_{i}", label, "", f"{label}{group}")
        for group in range(groups)
        for i in range(each)
    ]


def test_folds_have_whole_groups_and_as_many_clips_of_each_class():
    clips = [*named("a", 10, 2), *named("b", 5, 3), *named("c", 7)]
    tested: Counter[str] = Counter()
    for fold in range(1, 6):
        split = grouped_fold_split(clips, fold, 5, seed=3)
        of_group = {}
        for clip in split:
            assert of_group.setdefault(clip.group, clip.split) == clip.split
        test = Counter(clip.label for clip in split if clip.split == "test")
        assert test["a"] == 4 and test["b"] == 3 and test["c"] in (1, 2)
        assert {clip.label for clip in split if clip.split == "train"} == {"a", "b", "c"}
        tested.update(clip.clip_id for clip in split if clip.split == "test")
    assert tested == Counter(clip.clip_id for clip in clips)  # each once


def test_too_few_groups_for_folds_are_said():
    with refuses(UnsuitedProtocolError, "'b'", "5"):
        for fold in range(1, 6):
            grouped_fold_split([*named("a", 9), *named("b", 1, 9)], fold, 5, seed=0)
    with refuses(UnsuitedProtocolError, "fold 4"):
        grouped_fold_split(named("a", 3, 5), 4, 5, seed=0)
