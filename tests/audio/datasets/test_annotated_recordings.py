# SPDX-License-Identifier: Apache-2.0
"""Annotated recordings as a data set: tables, segments, the rest, and whole recordings."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset, protocol_statement, read_audio
from m3net_tf.audio.datasets.annotated import (
    BACKGROUND,
    MARGIN_S,
    annotated_clips,
    annotation_lines,
    read_annotated,
    segments,
)
from m3net_tf.audio.datasets.checking import check
from m3net_tf.audio.datasets.folder import require_enough_training
from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines
from m3net_tf.audio.datasets.tables import suggestions
from m3net_tf.audio.datasets.windows import in_windows
from m3net_tf.boards.starter.project import starter_recipe
from m3net_tf.system.errors import ConfigError, DataError

RATE_HZ = 8_000


def labels(*events: tuple[float, float, str]) -> str:
    """Audacity's labels."""
    return "".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in events)


@pytest.fixture
def record(tmp_path, write_wav):
    """Write a recording, whose samples count, and a table beside it; returns the folder."""

    def write(name: str, seconds: float, text: str | None = None, table: str = "") -> Path:
        root = tmp_path / "field"
        count = np.arange(1, round(seconds * RATE_HZ) + 1, dtype=np.int64) % 30_000
        path = write_wav(root / name, count.astype(np.int16), RATE_HZ)
        if text is not None:
            (path.parent / (table or f"{path.stem}.txt")).write_text(text)
        return root

    return write


@pytest.fixture
def recordings(record):
    """Six recordings of a minute: ten claps and three rare snaps in each."""
    for number in range(6):
        claps = [(4 * i + 0.1 * number, 4 * i + 0.5, "clap") for i in range(1, 11)]
        snaps = [(46 + 2 * i, 46.3 + 2 * i, "snap") for i in range(3)]
        root = record(f"day{number}.wav", 60, labels(*claps, *snaps))
    return root


def spans(clips) -> list[tuple[str, float, float]]:
    return [(clip.label, clip.start_s, clip.start_s + clip.duration_s) for clip in clips]


def sound_of(clip) -> np.ndarray:
    return read_audio(
        clip.path, sample_rate_hz=RATE_HZ, start_s=clip.start_s, duration_s=clip.duration_s
    )


# Whose table is whose


def test_tables_belong_to_the_recording_of_their_name(record):
    record("a.wav", 5, labels((1, 2, "x")))
    record("b.wav", 5, "Begin Time (s)\tEnd Time (s)\tAnnotation\n1\t2\tx\n", "b.Table.1.txt")
    record("b.late.wav", 5, "start,end,label\n3,4,x\n", "b.late.csv")
    record("deep/a.wav", 5, labels((2, 3, "x")))
    root = record("c.wav", 5)
    (root / "all.csv").write_text("file,start,end,label\nc.wav,0,1,x\ndeep\\a.wav,0,1,y\na,3,4,z\n")
    with refuses(DataError, "all.csv", "line 4", "'a'", "a.wav and deep/a.wav"):
        read_annotated(root)
    (root / "all.csv").write_text("file,start,end,label\nc,0,1,x\nC:\\old\\deep\\a.wav,0,1,y\n")
    with refuses(DataError, "all.csv", "line 3", "deep"):
        read_annotated(root)
    (root / "all.csv").write_text("file,start,end,label\nlost.wav,0,1,x\n")
    with refuses(DataError, "all.csv", "line 2", "'lost.wav'", "missing"):
        read_annotated(root)
    (root / "all.csv").write_text("file,start,end,label\nc,0,1,x\ndeep\\a.wav,0,1,y\n")
    found = {
        of.name: [(e.start_s, e.label) for e in of.events] for of in read_annotated(root).recordings
    }
    assert found == {
        "a.wav": [(1, "x")],
        "b.wav": [(1, "x")],
        "b.late.wav": [(3, "x")],
        "c.wav": [(0, "x")],
        "deep/a.wav": [(0, "y"), (2, "x")],
    }


def test_what_annotates_nothing_is_said(record):
    record("a.wav", 5, labels((1, 2, "x"), (3, 4, "y")))
    record("empty.wav", 5, "")
    record("blank.wav", 5, "start,end,label\n", "blank.csv")
    root = record("bare.wav", 5)
    (root / "other.txt").write_text(labels((1, 2, "x")))
    (root / "README.txt").write_text("Recorded in May.\n")
    found = read_annotated(root)
    assert [of.name for of in found.recordings] == ["a.wav"] and found.tables == (root / "a.txt",)
    said = "\n".join(sounds_lines(inspect_folder(root)))
    for words in ("empty.txt is not read", "blank.csv is not read", "other.txt is not read"):
        assert words in said
    assert "not annotated: 3 recordings, such as bare.wav" in said
    assert "4 .txt" not in said and "other files: 3 .txt, 1 .csv" in said


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (labels((1, 2, "x"), (4, 75, "y")), ("line 2", "75 s", "lasts 5 s")),
        (labels((2, 1, "x")), ("line 1", "before its start")),
        ("start,end,what\n0,1,x\n", ("no column for the label", "'what'")),
    ],
)
def test_bad_tables_stop_before_training(record, text, named):
    root = record("a.wav", 5, text)
    for read in (read_annotated, inspect_folder):
        with refuses(DataError, root / "a.txt", *named):
            read(root)
    with refuses(DataError, root / "a.txt", *named):
        load_dataset("folder", root, annotations=True)


def test_recordings_that_cannot_be_told_apart_or_read(record):
    root = record("a.wav", 5, labels((1, 2, "x")))
    (root / "a.flac").write_bytes(b"no sound")
    with refuses(DataError, "a.txt", "a.flac and a.wav", "'file'"):
        read_annotated(root)
    (root / "a.wav").unlink()
    with refuses(DataError, "a.flac", "replace"):
        read_annotated(root)


def test_a_rounded_end_is_the_recordings(record):
    root = record("a.wav", 5, labels((4, 5.02, "x")))
    (recording,) = read_annotated(root).recordings
    assert recording.events[0].end_s == 5.0
    (clip,) = (clip for clip in annotated_clips([recording], 1.0) if clip.label == "x")
    assert len(sound_of(clip)) == RATE_HZ


# Segments and the rest


def test_segments_are_read_where_they_are(record):
    """The samples of a recording count, so their values are their places."""
    events = [(1, 3.5, "x"), (6.0, 6.25, "y"), (0, 0, "y"), (11.9, 12, "y")]
    found = segments(read_annotated(record("a.wav", 12, labels(*events))).recordings, 1.0)
    assert spans(found) == [
        ("y", 0.0, 1.0),  # a point at the beginning, widened to a clip
        ("x", 1.0, 3.5),
        ("y", 5.625, 6.625),  # around its middle
        ("y", 11.0, 12.0),
    ]
    for clip in found:
        first = round(clip.start_s * RATE_HZ) + 1
        assert round(float(sound_of(clip)[0]) * 32768) == first % 30_000


def test_every_window_has_the_whole_of_a_short_segment(record):
    events = [(0.1, 0.3, "x"), (2.0, 2.4, "x"), (4.0, 4.5, "x"), (4.8, 5.0, "y"), (5.2, 5.3, "x")]
    recordings = read_annotated(record("a.wav", 8, labels(*events))).recordings
    found = segments(recordings, 1.0, windows=True)
    assert spans(found) == [
        ("x", 0.0, pytest.approx(1.1)),  # from the recording's beginning
        ("x", pytest.approx(1.4), pytest.approx(3.0)),
        ("x", pytest.approx(3.5), pytest.approx(4.8)),  # up to the next one of another label
        ("y", pytest.approx(4.4), pytest.approx(5.4)),  # too little is left, so around its middle
        ("x", pytest.approx(5.0), pytest.approx(6.2)),
    ]
    for clip in in_windows(found, 1.0):
        start_s, end_s = (
            float(time) for time in clip.clip_id.split("@")[1].split("s ")[0].split("-")
        )
        assert clip.start_s <= start_s + 1e-3 and end_s <= clip.start_s + 1.0 + 1e-3


def test_the_rest_keeps_away_from_all_segments(record):
    events = [(2.0, 3.0, "x"), (2.5, 4.0, "y"), (6.0, 6.1, "x"), (9.0, 9.5, "x")]
    recordings = read_annotated(record("a.wav", 12, labels(*events))).recordings
    rest = spans(clip for clip in annotated_clips(recordings, 0.5) if clip.label == BACKGROUND)
    assert len(rest) == 3  # as many as the largest class
    for _, start_s, end_s in rest:
        assert end_s - start_s == pytest.approx(0.5)
        for first_s, last_s, _ in events:
            assert end_s <= first_s - MARGIN_S + 1e-6 or start_s >= last_s + MARGIN_S - 1e-6
    many = annotated_clips(recordings, 0.1)
    assert sum(clip.label == BACKGROUND for clip in many) == 3
    longer = annotated_clips(recordings, 0.2, windows=True)
    windows = 9 + 2 + 4  # of the segments of class x, half-overlapping
    assert sum(clip.label == BACKGROUND for clip in longer) == windows
    assert not [clip for clip in annotated_clips(recordings, 3.0) if clip.label == BACKGROUND]


def test_lines_say_what_becomes_of_it(record):
    events = [(2.0, 3.0, "x"), (2.5, 4.0, "y"), (2.6, 2.7, "y"), (6.0, 6.1, "x")]
    said = annotation_lines(read_annotated(record("a.wav", 12, labels(*events))))
    assert said[0].startswith("annotations: 4 segments in 1 recording of 0.2 minutes")
    assert "0.2 s away" in said[1] and BACKGROUND in said[1]
    assert said[2].startswith("overlap: 2 segments")


# The data set


def test_recordings_stay_on_one_side_and_no_split_lacks_a_class(recordings):
    for seed in range(4):
        dataset = load_dataset("folder", recordings, seed=seed, annotations=True, clip_s=1.0)
        assert dataset.info.labels == (BACKGROUND, "clap", "snap")
        assert dataset.info.protocol_name == "grouped" and dataset.leak() == 0
        sides = {(clip.group, clip.split) for clip in dataset.clips}
        assert Counter(split for _, split in sides) == {"train": 4, "validation": 1, "test": 1}
        assert all(n for counts in dataset.counts().values() for n in counts.values())
    assert "no recording is in both training and test" in protocol_statement(dataset)
    checked = check("folder", recordings, annotations=True)
    assert not checked.broken and not checked.errors
    assert not any("not used" in remark for remark in checked.remarks)


def test_a_class_of_few_recordings_is_on_all_sides(record):
    """A random draw of recordings seldom has the class in test and validation."""
    for number in range(12):
        events = [(2 + 2 * i, 2.5 + 2 * i, "clap") for i in range(8)]
        events += [(20 + 2 * i, 20.5 + 2 * i, "rare") for i in range(3 if number % 4 == 0 else 0)]
        root = record(f"{number}.wav", 30, labels(*events))
    for seed in range(5):
        dataset = load_dataset("folder", root, seed=seed, annotations=True)
        assert {dataset.counts()[split]["rare"] for split in ("validation", "test", "train")} == {3}


def test_a_class_of_one_recording_cannot_be_tested(recordings):
    with (recordings / "day0.txt").open("a") as table:
        table.write(labels((55, 56, "once"), (57, 58, "once")))
    with refuses(DataError, "'once'", "2 clips of 1 recording", "annotate", "classes"):
        load_dataset("folder", recordings, annotations=True)
    facts = inspect_folder(recordings)
    assert facts.rare == ("once",)
    assert "rare: 1 label, such as 'once' (2 segments in 1 recording)" in "\n".join(facts.taken)
    recipe = starter_recipe(facts)
    options = recipe["dataset"]["options"]
    assert options["classes"] == ["clap", "snap"] and options["annotations"] is True
    chosen = load_dataset("folder", recordings, **options)
    assert chosen.info.labels == (BACKGROUND, "clap", "snap")
    (once,) = (of for of in read_annotated(recordings).recordings if of.name == "day0.wav")
    for clip in chosen.clips:  # a sound that is left out is no background, either
        for event in (e for e in once.events if e.label == "once" and clip.path == once.path):
            end_s = clip.start_s + clip.duration_s
            assert clip.label != BACKGROUND or clip.start_s >= event.end_s or end_s <= event.start_s


def test_of_two_recordings_one_tests(recordings):
    for number in range(2, 6):
        (recordings / f"day{number}.wav").unlink()
        (recordings / f"day{number}.txt").unlink()
    dataset = load_dataset("folder", recordings, annotations=True)
    held = {clip.path for clip in dataset.split("test")}
    others = {clip.path for clip in (*dataset.split("train"), *dataset.split("validation"))}
    assert len(held) == len(others) == 1 and held.isdisjoint(others)
    assert dataset.counts()["validation"]["clap"] == 2
    assert "validates, from the same recordings" in protocol_statement(dataset)
    (recordings / "day1.wav").unlink()
    (recordings / "day1.txt").unlink()
    with refuses(DataError, "day0.wav", "only recording", "add another"):
        load_dataset("folder", recordings, annotations=True)


def test_too_few_segments_do_not_train(recordings):
    dataset = load_dataset("folder", recordings, annotations=True, classes=["snap"])
    assert dataset.info.labels == (BACKGROUND, "snap")
    require_enough_training(dataset)
    for number in range(2, 6):
        (recordings / f"day{number}.txt").unlink()
    with refuses(DataError, "'snap'", "annotate more"):
        require_enough_training(load_dataset("folder", recordings, annotations=True))


def test_long_segments_become_windows(record):
    for number in range(5):
        events = [(5 * i, 5 * i + 3, "ab"[i % 2]) for i in range(1, 11)]
        root = record(f"{number}.wav", 60, labels(*events))
    dataset = load_dataset("folder", root, annotations=True, long_clips="windows")
    windows = [clip for clip in dataset.clips if clip.whole and clip.label == "a"]
    assert len(windows) == 5 * 5 * 5  # five windows in three seconds
    assert dataset.load(windows[0]).shape == (16_000,)


def test_options_that_contradict_annotations(recordings):
    for option in ({"group_pattern": "(day)"}, {"table": "all.csv"}):
        with refuses(ConfigError, next(iter(option)), "annotations"):
            load_dataset("folder", recordings, annotations=True, **option)
    with refuses(ConfigError, "--group-pattern"):
        inspect_folder(recordings, "(day)")
    with refuses(ConfigError, "--suggest"):
        suggestions("folder", recordings, annotations=True)
    with refuses(DataError, "'knock'", "classes"):
        load_dataset("folder", recordings, annotations=True, classes="knock")


def test_a_folder_without_annotations_says_what_to_do(record):
    root = record("a.wav", 5)
    with refuses(DataError, root, "a recording's name", ".txt"):
        load_dataset("folder", root, annotations=True)


# Beside class folders


def test_a_stray_table_does_not_change_class_folders(record, write_wav):
    root = record("clap/a.wav", 5, labels((1, 2, "x")))
    for name in ("clap/b.wav", "snap/c.wav", "snap/d.wav"):
        write_wav(root / name, 8_000)
    facts = inspect_folder(root)
    assert facts.classes.keys() == {"clap", "snap"} and facts.rest_s is None
    assert "annotations of 1 sound, such as clap/a.wav, are not read" in "\n".join(facts.taken)
    (root / "clap" / "a.txt").write_text(labels((2, 1, "x")))
    facts = inspect_folder(root)
    assert facts.rest_s is None and "before its start" in "\n".join(facts.taken)


def test_a_table_of_parts_lists_no_clips(record):
    """Its rows name each recording once, as a table of clips does."""
    record("a.wav", 5)
    root = record("b.wav", 5)
    (root / "all.csv").write_text("filename,start,end,label\na.wav,1,2,x\nb.wav,1,2,y\n")
    facts = inspect_folder(root)
    assert facts.table == "" and facts.rest_s == pytest.approx(2 * (5 - 1 - 2 * MARGIN_S))


def test_a_table_of_clips_may_say_where_they_were(write_wav, tmp_path):
    """UrbanSound8K's table has a start and an end, in the recording that a clip was cut from."""
    names = [f"{number}.wav" for number in range(6)]
    for number, name in enumerate(names):
        write_wav(tmp_path / name, 8_000 + number)
    rows = "".join(f"{name},30,34,{i + 1},{'ab'[i % 2]}\n" for i, name in enumerate(names))
    (tmp_path / "clips.csv").write_text(f"slice_file_name,start,end,fold,class\n{rows}")
    facts = inspect_folder(tmp_path)
    assert facts.table == "clips.csv" and facts.rest_s is None
    assert not any("not read" in line for line in facts.taken)
