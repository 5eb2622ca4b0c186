# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: exit status, one line of error, nothing half-written."""

import json

import pytest

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
        (["export", "--engine", "paint", "x"], ["): 'paint' is not one of"]),
        (["train", "{tmp}/absent.yaml"], ["absent.yaml", "missing"]),
        (["train", "{tmp}/tiny.yaml", "--run"], ["--run"]),
        (["export", "{tmp}/no_run"], ["no_run", "train first"]),
        (["export", "{tmp}/absent.tflite"], ["absent.tflite", "No such file"]),
        (["export", __file__, "--out", "{tmp}/no_run"], ["test_cli.py has no metadata"]),
        (["emulate", "{tmp}/no_run"], ["no_run"]),
        (["firmware", "{tmp}/no_run"], ["no_run", "export"]),
        (["model", "info", "vgg"], ["vgg", "m3net"]),
        (["model", "info", "m3net", "--preset", "huge"], ["huge", "mcu"]),
        (["data", "info", "cats"], ["cats", "synth"]),
        (["data", "info", "speech_commands", "--data-dir", "{tmp}/void"], ["void"]),
    ],
)
def test_user_errors_are_one_line_with_status_2(m3net, tmp_path, recipe, arguments, named):
    arguments = [text.format(tmp=tmp_path) for text in arguments]
    before = sorted(tmp_path.rglob("*"))
    status, _, err = m3net(*arguments)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    for word in named:
        assert word in err
    assert sorted(tmp_path.rglob("*")) == before


def test_dataset_errors_leave_nothing_that_looks_trained(m3net, tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text("dataset: {name: speech_commands}\nmodel: {name: m3net}\n")
    status, _, err = m3net("train", path, "--run", tmp_path / "run", "--data-dir", tmp_path / "no")
    assert status == 2 and str(tmp_path / "no") in err
    assert not (tmp_path / "run").exists()


def test_model_info_json(m3net):
    arguments = ["model", "info", "m3net", "--preset", "paper", "--json"]
    status, out, _ = m3net(*arguments)
    facts = json.loads(out)
    assert status == 0
    assert facts["input_shape"] == [256, 256, 3]
    assert facts["parameters"] == sum(layer["parameters"] for layer in facts["layers"])


def test_dataset_option_replaces_the_recipes_data_set(m3net, monkeypatch, tmp_path, recipe):
    plans = []
    monkeypatch.setattr(
        "m3net_tf.training.train", lambda plan, *_: plans.append(plan) or {"test": {}}
    )
    with pytest.raises(AttributeError):  # the stand-in's metrics are empty
        m3net("train", recipe, "--dataset", "us8k", "--run", tmp_path / "run")
    assert plans[0].dataset.name == "us8k" and plans[0].model.name == "m3net"


def test_interrupted_training_says_how_to_go_on(m3net, monkeypatch, recipe, tmp_path):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("m3net_tf.training.train", stop)
    status, _, err = m3net("train", recipe, "--run", tmp_path / "run")
    assert status == 130
    assert err == f"stopped; to continue: m3net train {recipe} --run {tmp_path / 'run'}\n"


def test_matrix_says_why_nothing_is_emulated(m3net, monkeypatch):
    """Without the tools: an error, or a skip with a reason where that is allowed."""
    monkeypatch.setenv("PATH", "")
    status, _, error = m3net("matrix")
    assert (status, error.count("\n")) == (2, 1)
    assert "mps2_an385 cannot be emulated with --engine compiled: firmware tools are" in error
    status, _, error = m3net("matrix", "--engine", "steam")
    assert status == 2 and "engine 'steam' is not one of compiled, tflm" in error
    status, output, _ = m3net("matrix", "--if-possible")
    assert status == 0
    for engine in ("compiled", "tflm"):
        assert f"not emulated here: mps2_an385 cannot be emulated with --engine {engine}" in output
