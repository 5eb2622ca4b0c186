# SPDX-License-Identifier: Apache-2.0
"""How the command line behaves: help, version, completion, pipes, colours, names and JSON."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from rich.table import Table

from m3net_tf import __version__
from m3net_tf.boards.device.live import BoardEvent
from m3net_tf.cli import output as output_module
from m3net_tf.cli.app import app
from m3net_tf.cli.output import make_console, print_table
from m3net_tf.export import Bundle
from m3net_tf.networks.pretrained import CARD, CARD_TEXT, FOLDER, pretrained_names
from m3net_tf.system.processes import ENDED
from m3net_tf.system.terminal import MEANINGS, Status
from m3net_tf.training import Run

LAB = importlib.util.find_spec("m3net_tf.lab") is not None  # it can be left out


@pytest.fixture
def printed(monkeypatch):
    """Print on our console: a terminal of 80 columns, or a pipe."""

    def show(what: object, *, terminal: bool = False, **environment: str) -> str:
        for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        output = io.StringIO()
        output.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdout", output)
        make_console().print(what)
        return output.getvalue()

    return show


# --- help, version, completion -------------------------------------------------------------------


def test_the_version(m3net):
    assert m3net("--version") == (0, f"m3net {__version__}\n", "")


def test_the_help_has_every_command_once_in_80_columns(m3net, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = m3net("--help")
    commands = re.findall(r"^  ([a-z]+)  ", output, re.MULTILINE)
    shown = typer.main.get_command(app).commands
    assert sorted(commands) == sorted(shown) and len(shown) <= 25
    assert max(map(len, output.splitlines())) <= 80


def commands(group: typer.Typer = app, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command."""
    own = [
        (*words, command.name or command.callback.__name__.split("_")[-1])
        for command in group.registered_commands
    ]
    for inner in group.registered_groups:
        own += commands(inner.typer_instance, (*words, inner.name))
    return own


@pytest.mark.parametrize("words", sorted({words[:-1] for words in commands()}))
def test_without_a_command_there_is_the_help(m3net, words):
    status, output, error = m3net(*words)
    assert (status, error) == (0, "")
    assert output.startswith(" ".join(("Usage: m3net", *words)))
    assert ("Commands:" if words else "Deploy:") in output
    assert m3net(*words, "--help")[1] == output
    assert "..." not in output.partition("Options:")[2]  # no sentence is cut


@pytest.mark.parametrize("words", commands())
def test_every_command_takes_h_and_json(m3net, words):
    status, output, error = m3net(*words, "-h")
    assert (status, error) == (0, "")
    assert output.startswith(" ".join(("Usage: m3net", *words)))
    assert "-h, --help" in output and "--json" in output


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("data ", {"list", "info", "fetch", "subset", "shard", "check", "stats"}),
        ("export --board mps3_a", {"mps3_an547"}),
        ("footprint --board mps3_a", {"mps3_an547"}),
        ("classify --model ", {"m3net-s-keywords", "sounds_l", "sounds_m", "sounds_s", "runs/own"}),
        ("export runs/", {"runs/own"}),
    ],
)
def test_the_shell_completes(line, expected, m3net, monkeypatch, tmp_path):
    (tmp_path / "runs/own").mkdir(parents=True)
    (tmp_path / "runs/own/recipe.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_M3NET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"m3net {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
    status, output, _ = m3net()
    assert status == 0
    assert expected <= {*output.split()} and len(output.split()) <= len(expected) + 3


def test_the_shell_is_told_how_to_complete(m3net, monkeypatch):
    monkeypatch.setenv("_M3NET_COMPLETE", "source_bash")
    assert "complete -o default -F _m3net_completion m3net" in m3net()[1]


# --- pipes and colours ---------------------------------------------------------------------------


def wide_table() -> Table:
    table = Table(*(f"column {index}" for index in range(10)), title="[red]title[/red]")
    table.add_row(*("word " * 6 for _ in range(10)))
    return table


def test_a_table_in_a_pipe_has_the_width_that_it_needs(printed):
    in_pipe = printed(wide_table())
    assert in_pipe.count("word " * 5 + "word") == 10 and len(in_pipe.splitlines()) == 6
    narrow = printed(wide_table(), COLUMNS="80")
    assert max(map(len, narrow.splitlines())) <= 80


def test_no_color_is_not_even_bold(printed):
    assert "\x1b[" in printed(wide_table(), terminal=True)
    assert "\x1b[" not in printed(wide_table(), terminal=True, NO_COLOR="1")
    assert "\x1b[" not in printed(wide_table())


# --- exit status ---------------------------------------------------------------------------------


def test_the_documentation_has_every_exit_status():
    text = (Path(__file__).parents[2] / "docs/reference/command_line.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(str(int(status)), meaning) for status, meaning in MEANINGS.items()]
    assert {*MEANINGS} == {*Status}
    assert {*ENDED} == {Status.TERMINATED, Status.HUNG_UP}


def test_a_closed_pipe_is_quiet(m3net, monkeypatch):
    """Typer would end with status 1."""

    def closed(_line: str) -> None:
        raise BrokenPipeError(errno.EPIPE, "closed")

    duplicated = []
    monkeypatch.setattr("m3net_tf.cli.data.say", closed)
    monkeypatch.setattr(
        "m3net_tf.system.terminal.os.dup2", lambda *handles: duplicated.append(handles)
    )
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    assert m3net("data", "info", "synth") == (Status.PIPE_CLOSED, "", "")
    assert len(duplicated) == 1


# --- names ---------------------------------------------------------------------------------------

NAMES = ["[bold]x", "[/]", "a, b", ':dog: "c"', "https://x", "\u0635\u0648\u062a"]


def test_names_are_printed_as_they_are(printed, monkeypatch):
    table = Table("name", title="run [1]")
    for name in NAMES:
        table.add_row(name)
    assert all(name in printed(table) for name in [*NAMES, "run [1]"])
    output = io.StringIO()
    monkeypatch.setattr(output_module, "console", make_console())
    monkeypatch.setattr(sys, "stdout", output)
    print_table(SimpleNamespace(columns=("[i]name",), rows=[(name,) for name in NAMES]))
    assert all(name in output.getvalue() for name in [*NAMES, "[i]name"])


# --- JSON ----------------------------------------------------------------------------------------


def test_model_list_fits_80_columns(m3net, narrow):
    status, output, _ = m3net("model", "list")
    lines = output.splitlines()
    assert status == 0 and max(map(len, lines)) <= 80
    assert ["m3net", "mcu", "40", "x", "49"] in [line.split()[:5] for line in lines]
    _, output, _ = m3net("model", "list", "--json")
    presets = json.loads(output)
    trained = [row["trained"] for row in presets if "trained" in row]
    assert (
        trained
        == sorted(pretrained_names())
        == [line.split()[0] for line in lines[-len(trained) :]]
    )
    assert len(presets) == len(lines) - 5  # each has a line of its own, below two headings
    mcu = next(
        preset for preset in presets if (preset["network"], preset["preset"]) == ("m3net", "mcu")
    )
    assert mcu["input_shape"] == [40, 49, 1] and mcu["parameters"] == 31_599
    assert mcu["summary"] in m3net("model", "info", "m3net")[1]


def test_model_list_without_tensorflow(m3net, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    status, output, _ = m3net("model", "list")
    lines = output.splitlines()
    assert status == 0 and [line.split()[0] for line in lines[2:]] == list(pretrained_names())
    trained = json.loads(m3net("model", "list", "--json")[1])
    assert [row["trained"] for row in trained] == list(pretrained_names())


def test_the_card_of_a_trained_network(m3net):
    status, output, _ = m3net("model", "info", "m3net-s-keywords")
    assert status == 0 and output == (FOLDER / "m3net-s-keywords" / CARD_TEXT).read_text()
    _, output, _ = m3net("model", "info", "m3net-s-keywords", "--json")
    assert json.loads(output) == json.loads((FOLDER / "m3net-s-keywords" / CARD).read_text())
    status, _, error = m3net("model", "info", "m3net-s-keywords", "--preset", "s")
    assert status == 2 and "omit --preset and --classes" in error


def test_a_trained_network_is_a_run(m3net, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_DIR", raising=False)
    status, _, error = m3net("evaluate", "m3net-s-keywords")
    assert status == 2 and "speech_commands" in error  # its data set is not here
    copy = tmp_path / "runs" / "m3net-s-keywords"
    assert Run(copy).finished and not (copy / "model.tflite").exists()
    (copy / "mine").touch()
    m3net("evaluate", "m3net-s-keywords")
    assert (copy / "mine").exists()


def test_data_commands_in_json(m3net, tmp_path):
    def value(*words: object) -> object:
        status, output, _ = m3net("data", *words, "--json")
        assert status == 0
        return json.loads(output)

    listed = {entry["name"]: entry for entry in value("list")}
    assert listed["us8k"]["classes"] == 10 and listed["us8k"]["protocols"][0] == "official-10fold"
    info = value("info", "synth")
    assert info["licence"] == "Apache-2.0" and info["here"]["splits"]["test"] == 400
    assert value("info", "fsd50k")["here"] is None
    assert value("fetch", "synth", "--data-dir", tmp_path)["name"] == "synth"
    checked = value("check", "synth")
    assert checked["passed"] and checked["protocols"][0]["clips"]["train"] == 1600
    stats = value("stats", "synth")
    assert stats["clips"]["all"] == 2400 and stats["files"] is None
    assert stats["classes"]["siren"] == {"train": 160, "validation": 40, "test": 40}


def test_export_in_json(m3net, exported_run, no_emulator, tmp_path):
    """One JSON value on standard output; progress goes to standard error."""
    run = shutil.copytree(exported_run, tmp_path / "run")
    status, output, error = m3net("export", run, "--json")
    assert status == 0 and error.startswith(f"{run / 'export'} is already exported\n")
    facts = json.loads(output)
    exported = Bundle.load(run / "export")
    values = exported.manifest.to_dict()
    named = {key: values[key] for key in ("model", "arena", "engine", "operators", "labels")}
    certificate = facts.pop("certificate")
    assert certificate["scope"] == "host only" and no_emulator in certificate["missing"]
    assert facts == {
        **named,
        "folder": str(exported.folder),
        "pace": None,  # it was not measured
        "compiled": exported.compiled,
        "layouts": [],
    }


LAB_JSON = [
    ("lab figure", "", None),
    (
        "lab figure diffres/fig6",
        "lab.figures.catalogue.draw_figure",
        {"figure": "diffres/fig6", "files": ["a"]},
    ),
    (
        "table m3net/table4 --out r --runs r",
        "lab.studies.tables.make_table",
        {"failed": 0, "runs": 2},
    ),
    ("lab list --out r", "", None),
    ("table m3net/table4 --dry-run --scale tiny --out r --runs r", "", None),
    (
        "lab recipe m3net/table4 m3net --scale tiny",
        "lab.studies.cell_recipe.find_cell",
        None,
    ),
    ("lab deployment a/b", "lab.studies.deployment.make_deployment", {"failed": 0, "runs": 2}),
]


@pytest.mark.parametrize(
    ("words", "function", "expected"),
    [
        ("quantize r", "quantization.pipeline.quantize_run", {"drift": []}),
        ("evaluate r", "evaluation.clips.evaluate_clips", {"drift": []}),
        ("emulate r", "boards.measure.chain.run_chain", {"drift": []}),
        ("demo r/recipe.yaml --run r", "boards.measure.chain.run_chain", {"drift": []}),
        ("matrix", "boards.measure.matrix.run_matrix", {"cells": []}),
        (
            "device capture /dev/port --label a --folder f --no-ask",
            "boards.device.capture.capture_port",
            {"label": "a", "files": ["a"]},
        ),
        *(LAB_JSON if LAB else ()),
    ],
)
def test_standard_output_is_one_json_value(
    m3net, monkeypatch, exported_run, tmp_path, words, function, expected
):
    results = {
        **{key: {"drift": []} for key in ("quantize_run", "evaluate_clips", "run_chain")},
        "draw_figure": [Path("a")],
        "capture_port": [Path("a")],
        "run_matrix": [],
        "find_cell": None,
    }
    name = function.rpartition(".")[2]

    def work(*arguments, log=None, **_):
        log = log or next((each for each in arguments[::-1] if callable(each)), print)
        log("working")
        return results.get(name, {"failed": 0, "runs": 2})

    if name == "find_cell":
        monkeypatch.setattr(
            "m3net_tf.lab.studies.cell_recipe.find_cell", lambda grid, _: grid.cells[0]
        )
    elif function:
        monkeypatch.setattr(f"m3net_tf.{function}", work)
    shutil.copytree(exported_run, tmp_path / "r")
    monkeypatch.chdir(tmp_path)
    status, output, error = m3net(*words.split(), "--json")
    assert status == 0
    value = json.loads(output)
    assert value == expected if expected is not None else value
    assert not function or name == "find_cell" or "working\n" in error


def test_a_monitor_prints_a_line_of_json_for_each_event(m3net, monkeypatch):
    def watch(*_, log, on_event, **__):
        log("building")
        on_event(BoardEvent(1.5, "siren", 0.75, 2.0))
        on_event(BoardEvent(2.5, "dog", 0.5, 1.0))

    monkeypatch.setattr("m3net_tf.boards.device.monitor.run_monitor", watch)
    status, output, error = m3net("monitor", "/dev/port", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert (status, error, [line["label"] for line in lines]) == (0, "building\n", ["siren", "dog"])
    assert lines[0] == {"time_s": 1.5, "label": "siren", "score": 0.75, "latency_ms": 2.0}
