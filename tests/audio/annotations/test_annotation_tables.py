# SPDX-License-Identifier: Apache-2.0
"""Tables of annotations as Audacity, Raven, BirdNET, DCASE and spreadsheets write them."""

import contextlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from refusals import refuses

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.annotations.reading import is_annotation_table, read_annotations
from m3net_tf.audio.annotations.writing import event_table, require_fitting
from m3net_tf.system.errors import ConfigError, DataError

AUDACITY = (
    "0.500000\t1.250000\tclap\n\\\t120.000000\t4000.000000\n2.000000\t2.000000\tknock on wood\n"
)
RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tHigh Freq (Hz)\tSpecies\n"
    "1\tWaveform 1\t1\t0.5\t1.25\t8000.0\tclap\n"
    "1\tSpectrogram 1\t1\t0.5\t1.25\t8000.0\tclap\n"
    "2\tSpectrogram 1\t1\t2.0\t2.0\t8000.0\tknock on wood\n"
)
EVENTS = [SoundEvent(0.5, 1.25, "clap"), SoundEvent(2.0, 2.0, "knock on wood")]


@pytest.fixture
def table(tmp_path):
    """Write a table; returns its path."""

    def write(text: str, name: str = "rec.txt", encoding: str = "utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        AUDACITY,
        AUDACITY.replace("\n", "\r\n"),
        AUDACITY.replace("0.5", "0,5").replace("1.25", "1,25"),
        "\n" + AUDACITY,
        RAVEN,
        "start,end,label\n0.5,1.25,clap\n2,2,knock on wood\n",
        "label;onset;offset\nclap;0,5;1,25\nknock on wood;2;2\n",
        "sep=;\nStart_Time;End-Time;Class\n0.5;1.25;clap\n2;2;knock on wood\n",
        "event_onset\tevent_offset\tevent_label\n0.5\t1.25\tclap\n2\t2\tknock on wood\n",
        "start_s,end_s,score,species\n0.5,1.25,.9,clap\n2,2,,knock on wood\n",
        'Start (s),End (s),"Scientific name","Common name"\n0.5,1.25,x,clap\n2,2,x,knock on wood\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_usual_tables_give_the_same_events(table, text, encoding):
    path = table(text, encoding=encoding)
    assert is_annotation_table(path)
    rows = read_annotations(path)
    assert [row.event for row in rows] == EVENTS and {row.recording for row in rows} == {""}


def test_rows_name_their_recording(table):
    path = table("filename,onset,offset,event_label\na.wav,0,1,x\nb.wav,0,1,x\n", "all.csv")
    assert [(row.line, row.recording) for row in read_annotations(path)] == [
        (2, "a.wav"),
        (3, "b.wav"),
    ]


def test_the_offset_in_its_file_counts(table):
    """Raven's Begin Time runs on over the files that were opened together."""
    path = table(
        "Begin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
        "70.0\t71.5\tb.wav\t10.0\tx\n"
    )
    (row,) = read_annotations(path)
    assert row.recording == "b.wav" and row.event == SoundEvent(10.0, 11.5, "x")


@pytest.mark.parametrize(
    "text",
    [
        "Recorded in May.\n",
        "",
        "\n",
        "path,label\na.wav,x\n",
        "slice_file_name,fsID,class\n1.wav,3,dog\n",
        "a\tb\tc\n",
    ],
)
def test_other_files_are_no_annotations(table, text):
    assert not is_annotation_table(table(text))


def test_a_file_that_is_not_text_is_no_annotation(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"1.0\t2.0\t\xff\xfe\x00caf\xe9")
    assert not is_annotation_table(tmp_path / "a.txt")


@pytest.mark.parametrize("text", ["start,end,label\n", RAVEN.partition("\n")[0], "", "\n\n"])
def test_a_table_without_a_row_is_empty(table, text):
    assert read_annotations(table(text)) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("0\t1\tx\n3\t2\tx\n", ("line 2", "2 s", "3 s", "correct")),
        ("0\t1\tx\nsoon\t2\tx\n", ("line 2", "'soon'", "seconds")),
        ("0\t1\tx\n0\tnan\tx\n", ("line 2", "'nan'")),
        ("0\t1\tx\n-1\t1\tx\n", ("line 2", "'-1'")),
        ("0\t1\tx\n1\t2\t \n", ("line 2", "no label", "delete")),
        ("0\t1\tx\n1\t2\n", ("line 2", "2 cells", "label")),
        ("start,end,colour\n0,1,red\n", ("label", "'start', 'end', 'colour'")),
        ("start,end,label\n0,1,x\n0,,x\n", ("line 3", "''")),
        ("start,end,label\n0,1,x\n0,1,x,y\n", ("line 3", "more cells")),
    ],
)
def test_bad_lines_are_named(table, text, named):
    path = table(text)
    assert is_annotation_table(path)
    with refuses(DataError, path, *named):
        read_annotations(path)


CELLS = st.sampled_from(
    ["0", "1.5", "2,5", "-1", "1e400", "nan", "", " ", '"', "\\", "x", "\t", ",", ";", "\n", "\0"]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["", "start,end,label\n", "onset\toffset\tclass\tfile\n"]), st.lists(CELLS))
@example("", ["1", "\t", "2", "\t", "x", "\t", "more"])
def test_any_table_is_read_or_refused(table, head, cells):
    """Nothing else than a DataError, and no event that ends before its start."""
    path = table(head + "".join(cells))
    with contextlib.suppress(DataError):
        for row in read_annotations(path):
            assert 0 <= row.event.start_s <= row.event.end_s < float("inf") and row.event.label


@pytest.mark.parametrize("form", ["audacity", "raven", "csv"])
def test_a_written_table_is_read_again(table, form):
    events = [SoundEvent(0.5, 1.25, "clap", 0.875), SoundEvent(2.0, 3.0, "knock, twice", 1.0)]
    text = event_table([("rec.wav", events)], form, 16_000)
    rows = read_annotations(table(text))
    assert [row.event for row in rows] == [
        SoundEvent(event.start_s, event.end_s, event.label) for event in events
    ]
    assert {row.recording for row in rows} == {"" if form == "audacity" else "rec.wav"}


def test_tables_have_the_columns_of_their_programs():
    events = [SoundEvent(0.5, 1.25, "clap", 0.875)]
    assert event_table([("a.wav", events)], "audacity", 16_000) == "0.500000\t1.250000\tclap\n"
    header, line = event_table([("a.wav", events)], "raven", 16_000).splitlines()
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert row["Selection"] == "1" and row["High Freq (Hz)"] == "8000.0"
    assert row["Begin File"] == "a.wav" and row["Score"] == "0.8750"
    two = event_table([("a.wav", events), ("b.wav", [])], "csv", 16_000)
    assert two == ("filename,onset,offset,event_label,score\na.wav,0.500000,1.250000,clap,0.8750\n")


def test_formats_for_one_recording_refuse_several():
    require_fitting("csv", 2)
    require_fitting("raven", 1)
    with refuses(ConfigError, "audacity", "csv", 2):
        require_fitting("audacity", 2)
