# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: exit status, one line of error, nothing half-written."""

import json
import sys

import pytest

from m3net_tf import cli


def run(monkeypatch, capsys, *arguments):
    """Run ``m3net ARGUMENTS``; returns exit status, output, error output."""
    monkeypatch.setattr(sys, "argv", ["m3net", *map(str, arguments)])
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    caught = capsys.readouterr()
    return status, caught.out, caught.err


RECIPE = """
dataset: {name: synth, options: {clips_per_class: 12}}
model: {name: m3net, preset: mcu}
training: {epochs: 1}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--colour", "red"], ["--colour", "--help"]),
        (["train"], ["recipe", "--help"]),
        (["paint"], ["paint", "--help"]),
        (["train", "{tmp}/absent.yaml"], ["absent.yaml", "missing"]),
        (["train", "{tmp}/tiny.yaml", "--run"], ["--run"]),
        (["export", "{tmp}/no_run"], ["no_run", "train first"]),
        (["emulate", "{tmp}/no_run"], ["no_run"]),
        (["firmware", "{tmp}/no_run"], ["no_run", "export"]),
        (["model", "info", "vgg"], ["vgg", "m3net"]),
        (["model", "info", "m3net", "--preset", "huge"], ["huge", "mcu"]),
        (["data", "info", "cats"], ["cats", "synth"]),
        (["data", "info", "speech_commands", "--data-dir", "{tmp}/void"], ["void"]),
    ],
)
def test_user_errors_are_one_line_with_status_2(
    monkeypatch, capsys, tmp_path, recipe, arguments, named
):
    arguments = [text.format(tmp=tmp_path) for text in arguments]
    before = sorted(tmp_path.rglob("*"))
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    for word in named:
        assert word in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("recipe", "colour: red"),
        ("dataset", "dataset: {name: synth, colour: red}"),
        ("frontend", "frontend: {colour: red}"),
        ("augmentation", "augmentation: {colour: red}"),
        ("training", "training: {colour: red}"),
        ("quantization", "quantization: {colour: red}"),
    ],
)
def test_unknown_key_names_section_and_known_keys(monkeypatch, capsys, tmp_path, section, text):
    path = tmp_path / "bad.yaml"
    base = {line.split(":")[0]: line for line in RECIPE.strip().splitlines()}
    base[text.split(":")[0]] = text
    path.write_text("\n".join(base.values()))
    status, _, err = run(monkeypatch, capsys, "train", path, "--run", tmp_path / "run")
    assert status == 2
    assert "'colour'" in err and f"'{section}'" in err and "known keys are" in err
    assert "bad.yaml" in err
    assert not (tmp_path / "run").exists()


def test_dataset_errors_leave_nothing_that_looks_trained(monkeypatch, capsys, tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text("dataset: {name: speech_commands}\nmodel: {name: m3net}\n")
    status, _, err = run(
        monkeypatch, capsys, "train", path, "--run", tmp_path / "run", "--data-dir", tmp_path / "no"
    )
    assert status == 2 and str(tmp_path / "no") in err
    assert not (tmp_path / "run").exists()


def test_model_info_json(monkeypatch, capsys):
    arguments = ["model", "info", "m3net", "--preset", "paper", "--json"]
    status, out, _ = run(monkeypatch, capsys, *arguments)
    facts = json.loads(out)
    assert status == 0
    assert facts["input_shape"] == [256, 256, 3]
    assert facts["parameters"] == sum(layer["parameters"] for layer in facts["layers"])


def test_lists(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "model", "list")
    assert status == 0 and "ds_cnn" in out and "m3net" in out
    status, out, _ = run(monkeypatch, capsys, "data", "list")
    assert status == 0 and "synth" in out and "us8k" in out


def test_interrupted_training_says_how_to_go_on(monkeypatch, capsys, recipe, tmp_path):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("m3net_tf.training.train", stop)
    status, _, err = run(monkeypatch, capsys, "train", recipe, "--run", tmp_path / "run")
    assert status == 130 and "same command" in err
