# SPDX-License-Identifier: Apache-2.0
"""The command line as a user meets it: exit status, one line of error, nothing half-written."""

import json

import numpy as np
import pytest
import soundfile

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
        (["export", "{tmp}/absent.tflite"], ["absent.tflite is a file", "--out"]),
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
def test_unknown_key_names_section_and_known_keys(m3net, tmp_path, section, text):
    path = tmp_path / "bad.yaml"
    base = {line.split(":")[0]: line for line in RECIPE.strip().splitlines()}
    base[text.split(":")[0]] = text
    path.write_text("\n".join(base.values()))
    status, _, err = m3net("train", path, "--run", tmp_path / "run")
    assert status == 2
    assert "'colour'" in err and f"'{section}'" in err and "known keys are" in err
    assert "bad.yaml" in err
    assert not (tmp_path / "run").exists()


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


def test_model_info_of_a_network_without_an_mcu_preset(m3net):
    status, out, _ = m3net("model", "info", "bc_resnet", "--json")
    assert status == 0
    assert json.loads(out)["preset"] == "tau1"


def test_lists(m3net):
    status, out, _ = m3net("model", "list")
    assert status == 0 and "ds_cnn" in out and "m3net" in out
    status, out, _ = m3net("data", "list")
    assert status == 0 and "synth" in out and "us8k" in out


def test_interrupted_training_says_how_to_go_on(m3net, monkeypatch, recipe, tmp_path):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("m3net_tf.training.train", stop)
    status, _, err = m3net("train", recipe, "--run", tmp_path / "run")
    assert status == 130
    assert err == f"stopped; to continue: m3net train {recipe} --run {tmp_path / 'run'}\n"


WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed")
SPLITS = {"train": "aa", "validation": "bb", "test": "cc"}


@pytest.fixture
def words(tmp_path):
    """A tiny copy of Speech Commands in the official layout: one clip a word and split."""
    rng = np.random.default_rng(0)
    root = tmp_path / "speech_commands"
    for word in (*WORDS, "_background_noise_"):
        (root / word).mkdir(parents=True)
    for word in WORDS:
        for speaker in SPLITS.values():
            samples = rng.integers(-9000, 9000, 16_000).astype(np.int16)
            soundfile.write(root / word / f"{speaker}_nohash_0.wav", samples, 16_000)
    noise = rng.integers(-900, 900, 20 * 16_000).astype(np.int16)
    soundfile.write(root / "_background_noise_" / "hum.wav", noise, 16_000)
    for split in ("validation", "test"):
        name = f"{split}_list.txt".replace("test_", "testing_")
        (root / name).write_text("".join(f"{w}/{SPLITS[split]}_nohash_0.wav\n" for w in WORDS))
    (tmp_path / "words.yaml").write_text(
        "dataset: {name: speech_commands}\nmodel: {name: m3net}\ntraining: {epochs: 1}\n"
    )
    return root


def cut(path):
    path.write_bytes(path.read_bytes()[:9000])


def wrong_rate(path):
    soundfile.write(path, np.zeros(8000, np.int16), 8000)


def two_channels(path):
    soundfile.write(path, np.zeros((16_000, 2), np.int16), 16_000)


def not_a_number(path):
    soundfile.write(path, np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        lambda path: path.write_text("no sound at all"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        wrong_rate,
        two_channels,
        not_a_number,
    ],
    ids=["truncated", "text", "empty", "missing", "rate", "channels", "nan"],
)
def test_broken_audio_is_named_and_nothing_is_written(m3net, tmp_path, words, spoil, private_cache):
    victim = words / "stop" / "aa_nohash_0.wav"
    spoil(victim)
    status, _, err = m3net("train", tmp_path / "words.yaml", "--run", tmp_path / "run",
        "--data-dir", words,
    )  # fmt: skip
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "stop" in err
    assert not (tmp_path / "run").exists()


def test_empty_class_is_named(m3net, tmp_path, words):
    for path in (words / "stop").iterdir():
        path.unlink()
    status, _, err = m3net("train", tmp_path / "words.yaml", "--run", tmp_path / "run",
        "--data-dir", words,
    )  # fmt: skip
    assert status == 2 and "stop" in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_dataset_option_replaces_the_recipes_data_set(m3net, monkeypatch, tmp_path, words):
    plans = []
    monkeypatch.setattr(
        "m3net_tf.training.train", lambda plan, *_: plans.append(plan) or {"test": {}}
    )
    path = tmp_path / "words.yaml"
    with pytest.raises(AttributeError):  # the stand-in's metrics are empty
        m3net("train", path, "--dataset", "us8k", "--run", tmp_path / "run")
    assert plans[0].dataset.name == "us8k" and plans[0].model.name == "m3net"


def test_matrix_says_why_nothing_is_emulated(m3net, monkeypatch):
    """Without the tools: an error, or a skip with a reason where that is allowed."""
    monkeypatch.setenv("PATH", "")
    status, _, error = m3net("matrix")
    assert (status, error.count("\n")) == (2, 1)
    assert "mps2_an385 cannot be emulated with --engine compiled: firmware tools are" in error
    status, _, error = m3net("matrix", "--engine", "steam")
    assert status == 2 and "engine 'steam' is none of compiled, tflm" in error
    status, output, _ = m3net("matrix", "--if-possible")
    assert status == 0
    for engine in ("compiled", "tflm"):
        assert f"not emulated here: mps2_an385 cannot be emulated with --engine {engine}" in output
