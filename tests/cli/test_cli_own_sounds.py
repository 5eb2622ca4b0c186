# SPDX-License-Identifier: Apache-2.0
"""Own sounds by the command line: early errors, a run that knows its data and its protocol."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typed_commands import ended

from m3net_tf.quantization.report import summary_table
from m3net_tf.training import Run, load_recipe, save_recipe
from m3net_tf.training.clips.source import record_source

pytestmark = pytest.mark.usefixtures("private_cache")

EARLY = """
import contextlib, io, sys
from m3net_tf import cli
for words in {commands!r}:
    sys.argv = ["m3net", *words]
    messages = io.StringIO()
    with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as stop:
            assert stop.code == 2, (words, stop.code)
    print(messages.getvalue().strip())
    assert "tensorflow" not in sys.modules, words
"""


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Two classes by five speakers with two takes each; do not write into it."""
    root = tmp_path_factory.mktemp("own") / "words"
    rng = np.random.default_rng(0)
    for label, speaker, take in itertools.product(("clap", "snap"), range(5), range(2)):
        path = root / label / f"speaker{speaker}_{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-9000, 9000, 24_000 if take else 12_000).astype(np.int16)
        soundfile.write(path, noise, 16_000)
    return root


@pytest.fixture(scope="module")
def plan(tiny_recipe, tmp_path_factory) -> Path:
    """A recipe of the data set ``folder``, which names no options."""
    recipe = tiny_recipe(
        dataset={"name": "folder", "options": {}},
        training={"epochs": 1, "batch_size": 4, "weight_average": 0.0},
    )
    path = tmp_path_factory.mktemp("plan") / "own.yaml"
    save_recipe(recipe, path)
    return path


def no_steps(loop, task) -> dict[str, float]:
    """Replace an epoch of training by nothing, to save time."""
    figures = ("loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds")
    row = {"epoch": 1.0, **dict.fromkeys(figures, 0.5)}
    loop.state.close_epoch(row)
    return row


@pytest.fixture(scope="module")
def trained(private_cache, sounds, plan, tmp_path_factory) -> tuple[Path, str]:
    """A run on sounds with unnamed speakers, and the output of its training."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    words = ("train", plan, "--run", folder, "--data-dir", sounds, "--option", "fit=crop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m3net_tf.training.loop.epochs._run_epoch", no_steps)
        status, output = ended(*words)
    assert status == 0, output
    return folder, output


def test_training_says_what_its_figure_is_worth(trained):
    folder, output = trained
    warning = "stratified-random, speakers unknown: the accuracy may be too high; set group_pattern"
    first, second, *_, last, following = output.splitlines()
    assert first == f"folder: {warning}"
    assert second.startswith("folder: the window of 1 s is shorter than 10 of 20 clips")
    assert "test accuracy" in last and last.endswith(warning)
    assert following == f"next: m3net export {folder}"


def test_option_becomes_part_of_the_recipe(trained, plan):
    folder, _ = trained
    assert load_recipe(folder / "recipe.yaml").dataset.options == {"fit": "crop"}
    assert load_recipe(plan).dataset.options == {}
    status, output = ended("train", plan, "--run", folder, "--option", "fit=pad")
    assert status == 2 and "contains a run of another recipe" in output
    status, output = ended("train", plan, "--option", "seed=3")
    assert status == 2 and "dataset.options.seed is not a data set option" in output


def test_a_run_remembers_where_its_data_were(trained, sounds):
    folder, _ = trained
    assert Run(folder).data_folder(None) == sounds
    status, output = ended("evaluate", folder)
    assert status == 0, output
    said = " ".join(output.split())
    assert "4 test clips of folder" in said
    assert "stratified-random, speakers unknown: the accuracy may be too high;" in said
    assert "CHANGED" not in said


def test_quantising_says_what_its_figures_are_worth():
    dataset = {"protocol": "stratified-random (groups unknown)"}
    report = {"run": "own", "method": "ptq", "ranking": [], "dataset": dataset}
    assert "speakers unknown: the accuracy may be too high" in str(summary_table(report).caption)


def test_a_given_folder_comes_before_the_remembered_one(trained, sounds, tmp_path):
    folder, _ = trained
    moved = shutil.copytree(sounds, tmp_path / "moved")
    for path in moved.rglob("speaker0_0.wav"):
        path.rename(path.with_name("speaker9_0.wav"))
    run = Run(folder)
    assert {clip.path.parents[1] for clip in run.dataset(moved).clips} == {moved}
    assert "CHANGED since the training" in run.protocol_statement(run.dataset(moved))
    status, output = ended("evaluate", folder, "--data-dir", tmp_path / "void")
    assert status == 2 and "void: folder of data set folder does not exist" in output


def test_a_folder_that_vanished_is_named(trained, sounds, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "own")
    record_source(folder, "folder", tmp_path / "gone")
    for words in (("evaluate", folder), ("export", folder), ("emulate", folder)):
        status, output = ended(*words)
        assert status == 2 and output.count("\n") == 1
        assert f"{tmp_path / 'gone'}: {folder / 'data.json'} names this folder" in output
        assert "--data-dir or DATA_DIR" in output
    (folder / "data.json").unlink()
    status, output = ended("evaluate", folder)
    assert status == 2 and "needs its folder: give --data-dir or DATA_DIR" in output


def test_errors_come_before_tensorflow_is_loaded(trained, sounds, plan, tmp_path):
    folder, _ = trained
    for name, changes in {
        "network": {"model": {"name": "m4net"}},
        "preset": {"model": {"name": "m3net", "preset": "huge"}},
    }.items():
        values = {**yaml.safe_load(plan.read_text()), **changes}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    shutil.copytree(sounds / "clap", tmp_path / "alone" / "clap")
    at = ("--run", str(tmp_path / "run"), "--data-dir", str(sounds))
    commands = [
        ("train", str(tmp_path / "absent.yaml")),
        ("train", str(plan), "--run", at[1], "--data-dir", str(tmp_path / "void")),
        ("train", str(plan), "--run", at[1], "--data-dir", str(tmp_path / "alone")),
        ("train", str(plan), *at, "--option", "colour=red"),
        ("train", str(tmp_path / "network.yaml"), *at),
        ("train", str(tmp_path / "preset.yaml"), *at),
        ("train", str(plan), *at, "--option", "sample_rate_hz=8000"),
        ("evaluate", str(folder), "--split", "train"),
        ("evaluate", str(tmp_path)),
        ("export", str(folder), "--data-dir", str(tmp_path / "void")),
        ("emulate", str(folder), "--data-dir", str(tmp_path / "void")),
        ("quantize", str(folder), "--data-dir", str(tmp_path / "void")),
    ]
    script = EARLY.format(commands=commands)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    named = (
        *("absent.yaml is missing", "void: folder of", "only one class", "no option 'colour'"),
        *("unknown model 'm4net'", "preset 'huge'", "sample_rate_hz is 16000", "one of validation"),
        *("not a run folder", "void: folder of", "void: folder of", "void: folder of"),
    )
    for line, words in zip(done.stdout.splitlines(), named, strict=True):
        assert line.startswith("error: ") and words in line
    assert not (tmp_path / "run").exists()


def test_init_refuses_a_project_that_exists_before_it_reads_the_sounds(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "recipe.yaml").touch()
    status, output = ended("init", tmp_path / "no_sounds", "--out", tmp_path / "project")
    assert status == 2 and "recipe.yaml exists" in output


def test_check_suggests_groups(sounds):
    status, output = ended("data", "check", "folder", "--data-dir", sounds, "--suggest")
    assert status == 0
    assert "passed; groups are unknown" in output
    assert "--option 'group_pattern=(speaker[0-9]+)'" in output
