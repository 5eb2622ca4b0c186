# SPDX-License-Identifier: Apache-2.0
"""The first words of a report, and the commands that make what it lacks."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from m3net_tf import cli
from m3net_tf.boards.builds import sources
from m3net_tf.boards.measure.cost import COST_KEYS
from m3net_tf.evaluation.scoring import Tally
from m3net_tf.export import Bundle
from m3net_tf.pages.report import page
from m3net_tf.pages.report.content import Note, Part, Section
from m3net_tf.pages.report.gather import gather
from m3net_tf.pages.report.page import measuring_commands, run_command, title_of, verdict
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.training import Run

BOARD = "mps2_an386"


@pytest.fixture(scope="module")
def run(exported_run: Path, private_cache: Path, tmp_path_factory) -> Path:
    """An exported run in a folder whose name has a space."""
    return Path(shutil.copytree(exported_run, tmp_path_factory.mktemp("runs") / "my run"))


def test_the_title_says_network_sounds_and_classes_in_words(run: Path, tmp_path: Path):
    own = shutil.copytree(run, tmp_path / "own")
    metrics = read_json(own / "metrics.json")
    metrics["dataset"] |= {"name": "folder", "labels": ["_silence_", "cat", "cow", "dog", "hen"]}
    write_json(own / "metrics.json", metrics)
    first = gather([run])
    second = gather([own])
    assert title_of(first) == "M3Net on synth, ten classes"
    assert title_of(second) == "M3Net on your sounds, four classes and silence"
    assert title_of([*first, *first]) == "my run and my run: M3Net on synth, ten classes"
    both = title_of([*first, *second])
    assert "my run (M3Net on synth" in both and "own (M3Net on your sounds" in both


def test_the_verdict_has_accuracy_board_and_real_time(run: Path):
    (data,) = gather([run])
    test = data.metrics.test
    assert verdict(data).startswith(f"Right on {100 * test['accuracy']:.1f} % of {test['clips']} ")
    assert "not yet run on a board" in verdict(data) and "was not measured" in verdict(data)
    manifest = Bundle.load(run / "export").manifest
    cost = {
        **dict.fromkeys(COST_KEYS, 0),
        "board": BOARD,
        "sections": {},
        "instructions": 3_263_720,
        "frontend_instructions": 27_525,
    }
    summary = {
        **cost,
        "model_sha256": manifest.model.sha256,
        "engine": manifest.engine,
        "accuracy": {"emulated": 0.875},
        "clips": test["clips"],
    }
    write_json(run / "summary.json", summary)
    sentence = verdict(data)
    assert f"87.5 % on the emulated {BOARD}" in sentence
    assert "Not real time" in sentence and "run_columns 15 in detector.yaml" in sentence
    assert "130.5 ms an inference, 10 decisions a second, 136 % of 25 MHz" in sentence
    assert "emulator" in sentence
    write_json(
        run / "cross_validation.json",
        {"accuracy": 0.915, "accuracy_95_low": 0.88, "accuracy_95_high": 0.94, "clips": 200},
    )
    whole = verdict(data)
    assert whole.startswith("Right on 91.5 % of all 200 clips by cross-validation (95 %: 88.0 to")
    assert f"; 87.5 % of {test['clips']} test clips on the emulated {BOARD}" in whole
    (run / "cross_validation.json").unlink()
    (run / "summary.json").unlink()


def test_what_live_detection_misses_comes_first(run: Path, tmp_path: Path):
    detected = shutil.copytree(run, tmp_path / "detected")
    live = {
        "model_sha256": Bundle.load(run / "export").manifest.model.sha256,
        "hours": 2.5,
        "all": Tally(200, 190, 1, (0.5,) * 190).to_dict(2.5),
    }
    write_json(detected / "streaming.json", live)
    first, *rest = verdict(gather([detected])[0]).split(". ")
    assert first.startswith("Live detection misses 5.0 % of 200 sounds (95 %: 2.7 to 9.0)")
    assert "0.40 false accepts an hour in 2.5 h" in first and rest[0].startswith("Right on")
    write_json(detected / "streaming.json", live | {"model_sha256": "another network's"})
    assert verdict(gather([detected])[0]).startswith("Right on")


def test_what_can_be_measured_is_measured_in_the_order_of_need():
    named = [
        *("m3net emulate runs/a", "apt-get install lld", "m3net report runs/a --data-dir FOLDER"),
        *("m3net footprint 'runs/my run'", "m3net export runs/a", "m3net quantize runs/a"),
    ]
    sections = [Section("a", "A", "", [Part("", [Note("", command) for command in named])])]
    assert measuring_commands(sections) == [
        *("m3net quantize runs/a", "m3net export runs/a", "m3net emulate runs/a"),
        "m3net footprint 'runs/my run'",
    ]


@pytest.fixture
def lacking(run: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One section that lacks a fit until it was made; the commands that have run."""
    done: list[str] = []

    def section(runs) -> Section:
        command = f"m3net footprint {runs[0].path}"
        notes = [] if command in done else [Note("There is no fit.", command)]
        return Section("fit", "Boards", "", [Part("", notes)])

    monkeypatch.setattr(page, "_makers", lambda runs: (section,))
    monkeypatch.setattr(page, "run_command", lambda command, data_dir, log: done.append(command))
    monkeypatch.setattr(page, "gather", lambda folders, *_: [_data(folder) for folder in folders])
    monkeypatch.setattr(page, "render", lambda runs, sections: "page")
    return done


def _data(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(run=Run(folder), path=shlex.quote(str(folder)))


def test_what_is_missing_is_listed_with_a_way_on_or_measured(lacking, run, tmp_path, capsys):
    words = ["report", str(run), "--out", str(tmp_path / "page.html")]
    command = f"m3net footprint {shlex.quote(str(run))}"
    assert not cli.app(words, standalone_mode=False)
    said = capsys.readouterr().out
    assert "--measure" in said and f"\n  {command}\n" in said and "incomplete" not in said
    assert lacking == []
    assert not cli.app([*words, "--measure"], standalone_mode=False)
    said = capsys.readouterr().out
    assert lacking == [command] and "without figures" not in said


def test_a_command_is_run_with_its_lines_and_its_error(run: Path, tmp_path: Path):
    lines: list[str] = []
    run_command(f"m3net footprint {shlex.quote(str(tmp_path / 'no run'))}", None, lines.append)
    assert lines[0].startswith("$ m3net footprint ") and lines[-1].startswith("error: ")


def test_an_unreachable_source_is_said_in_words_not_by_git(monkeypatch, tmp_path):
    git = tmp_path / "git"
    git.write_text(
        "#!/bin/sh\necho 'fatal: unable to access: Could not resolve host: x' >&2; exit 128\n"
    )
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (source, *_) = sources.read_lock()
    reason = sources.why_sources_unavailable([source], tmp_path)
    assert reason and "fatal" not in reason and "check the network, or set M3NET_CACHE" in reason
