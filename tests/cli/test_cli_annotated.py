# SPDX-License-Identifier: Apache-2.0
"""Two annotated recordings from m3net init to events and their scores."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from m3net_tf import cli
from m3net_tf.audio.annotations.reading import read_annotations
from m3net_tf.export import Bundle, export_run
from m3net_tf.runtime import load_detector
from m3net_tf.training import Run

pytestmark = pytest.mark.usefixtures("private_cache")

RATE_HZ, SECONDS = 16_000, 48
TONES_HZ = {"high": 2500.0, "low": 500.0}


def command(*words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["m3net", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, words


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    """Two recordings of tones in noise, one annotated in Audacity and one in Raven."""
    root = tmp_path_factory.mktemp("annotated") / "field"
    root.mkdir()
    rng = np.random.default_rng(0)
    tables = []
    for number in range(2):
        sound = rng.normal(0, 0.01, SECONDS * RATE_HZ)
        rows = []
        for index, at_s in enumerate(np.arange(1.0, SECONDS - 3, 3.0)):
            label = ("high", "low")[index % 2]
            length_s = rng.uniform(0.8, 1.6)
            samples = np.arange(round(length_s * RATE_HZ))
            pitch = TONES_HZ[label] * rng.uniform(0.95, 1.05)
            start = round(at_s * RATE_HZ)
            sound[start : start + len(samples)] += 0.3 * np.sin(
                2 * np.pi * pitch * samples / RATE_HZ
            )
            rows.append((at_s, at_s + length_s, label))
        soundfile.write(root / f"day{number}.wav", sound, RATE_HZ, subtype="PCM_16")
        tables.append(rows)
    (root / "day0.txt").write_text("".join(f"{a:f}\t{b:f}\t{label}\n" for a, b, label in tables[0]))
    (root / "day1.Table.1.selections.txt").write_text(
        "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
        + "".join(f"{i}\t{a:f}\t{b:f}\t{label}\n" for i, (a, b, label) in enumerate(tables[1]))
    )
    return root


@pytest.fixture(scope="module")
def run(private_cache, field) -> Path:
    """The exported run of the recipe that m3net init writes; do not write into it."""
    folder = field.with_name("run")
    command("init", field, "--out", folder.with_name("project"))
    command("train", folder.with_name("project") / "recipe.yaml", "--run", folder)
    export_run(Run(folder), None)
    return folder


def test_init_shows_what_it_found(m3net, field, tmp_path):
    project = tmp_path / "project"
    done = m3net("init", field, "--out", project)
    assert done.status == 0, done.err
    said = " ".join(done.out.split())
    assert "annotations: 30 segments in 2 recordings of 1.6 minutes, by 2 tables" in said
    assert "become the class _background_" in said
    assert "no recording is in both training and test" in said
    options = yaml.safe_load((project / "recipe.yaml").read_text())["dataset"]["options"]
    assert options["annotations"] is True and "silence_percentage" not in options
    assert options["long_clips"] == "windows"
    checked = m3net(
        "data", "check", "folder", "--data-dir", field, "--option", "annotations=true", "--json"
    )
    facts = json.loads(checked.out)
    assert facts["passed"] and not facts["broken"]


def scores(done) -> dict:
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.mark.slow
def test_events_are_scored_against_annotations(m3net, field, run, tmp_path):
    found = scores(m3net("evaluate", run, "--events", "--json"))
    assert found["split"] == "test" and len(found["recordings"]) == 1
    assert found["event_based"]["all"]["annotated"] == 15 and found["left_out"] == 0
    assert found["segment_based"]["all"]["f1"] > 0.7
    copy = Path(shutil.copytree(run, tmp_path / "own"))
    fitted = scores(m3net("evaluate", copy, "--events", "--fit-edges", "--json"))
    saved = load_detector(copy / "detector.yaml")
    assert saved == Bundle.load(copy / "export").detector
    assert saved.inset_s == fitted["detector"]["inset_s"] != 0
    assert fitted["recordings"] == found["recordings"]
    assert fitted["event_based"]["all"]["f1"] > found["event_based"]["all"]["f1"]
    text = m3net("evaluate", copy, "--events").out
    assert "1 test recording, 0.8 minutes" in text and "segments of 1 s" in text


@pytest.mark.slow
def test_recordings_that_trained_do_not_score(m3net, field, run, tmp_path):
    (tested,) = scores(m3net("evaluate", run, "--events", "--json"))["recordings"]
    (trained,) = {"day0.wav", "day1.wav"} - {tested}
    for words, named in (
        (("--recordings", field), (trained, "omit --recordings")),
        (("--split", "validation"), ("--split test", "four recordings")),
        (("--recordings", tmp_path), ("no annotated recording",)),
    ):
        done = m3net("evaluate", run, "--events", *words)
        assert done.status == 2 and all(name in done.err for name in named), done.err
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(field / tested, other / "new.wav")
    (other / "new.csv").write_text("start,end,label\n1,2,high\n4,5,chirp\n")
    found = scores(m3net("evaluate", run, "--events", "--recordings", other, "--json"))
    assert found["recordings"] == ["new.wav"] and found["split"] is None
    assert found["left_out"] == 1 and found["event_based"]["all"]["annotated"] == 1
    for words in (("--events", "--streaming"), ("--fit-edges",), ("--recordings", other)):
        assert m3net("evaluate", run, *words).status == 2


def test_a_run_without_annotations_names_the_option(m3net, exported_run):
    done = m3net("evaluate", exported_run, "--events")
    assert done.status == 2 and "--recordings" in done.err


@pytest.mark.slow
def test_events_are_those_of_live_detection(m3net, field, run, tmp_path):
    words = ("classify", "--model", run, field / "day0.wav", "--engine", "litert")
    done = m3net(*words, "--events", "audacity")
    assert done.status == 0, done.err
    (tmp_path / "day0.txt").write_text(done.out)
    rows = read_annotations(tmp_path / "day0.txt")
    streamed = m3net(*words, "--stream", "--json").out.splitlines()
    events = [json.loads(line) for line in streamed]
    assert sorted(row.event.label for row in rows) == sorted(event["label"] for event in events)
    assert len(rows) > 10
    for row, event in zip(rows, events, strict=True):
        assert row.event.label == event["label"]
        assert row.event.start_s < event["time_s"] < row.event.end_s + 2


@pytest.mark.slow
def test_several_sounds_need_a_table_that_names_them(m3net, field, run):
    words = ("classify", "--model", run, field, "--engine", "litert", "--events")
    done = m3net(*words, "csv")
    names = {line.split(",")[0] for line in done.out.splitlines()}
    assert names == {"filename", "day0.wav", "day1.wav"}
    refused = m3net(*words, "audacity")
    assert refused.status == 2 and "--events csv" in refused.err and not refused.out
    assert m3net(*words, "csv", "--json").status == 2
