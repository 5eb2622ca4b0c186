# SPDX-License-Identifier: Apache-2.0
"""A body from sounds to its packed folder, interrupted or not."""

import json

import numpy as np
import pytest
from refusals import refuses
from typed_commands import m3net

from m3net_tf import Classifier
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.lab.bodies.distillation import distil
from m3net_tf.lab.bodies.lessons import make_lessons
from m3net_tf.lab.bodies.making import Settings, body_recipe, make_body
from m3net_tf.lab.bodies.sounds import read_sources
from m3net_tf.lab.bodies.yamnet import class_names
from m3net_tf.networks.models import build_model
from m3net_tf.pages.report.card import ABOUT, CARD_TEXT, pack
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.training import Run
from m3net_tf.training.loop.fine_tuning import start_from
from m3net_tf.training.recipe import load_recipe
from m3net_tf.training.recipe.sections import FineTuningSection

# They share a training of half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("private_cache")]


@pytest.fixture(scope="module")
def run(teacher_file, sounds, tmp_path_factory, private_cache):
    """A finished run of a few steps."""
    folder = tmp_path_factory.mktemp("runs") / "body"
    settings = Settings("sounds_s", str(teacher_file), patches=64, steps=1)
    make_body(settings, [sounds], folder)
    return Run(folder)


def test_the_run_folder_is_a_finished_run(run, teacher_file):
    metrics = run.metrics()
    assert run.finished and not run.state_path.exists() and not run.outdated
    assert load_recipe(run.recipe_path).fingerprint() == run.recipe().fingerprint()
    assert metrics.dataset.name == "unlabelled" and metrics.dataset.labels == class_names()
    assert metrics.values["teacher"]["file"] == teacher_file.name
    sources = metrics.dataset.facts["sources"]
    named = sorted(name for part in sources.values() for name in part)
    assert named == ["birds", "cars", "rain", "voices"]
    for figures in (metrics.validation, metrics.test, metrics.values["int8"]):
        assert figures["patches"] == 64 and "accuracy" not in figures
        assert 0 <= figures["agreement"] <= figures["agreement_of_five"] <= 1
    assert metrics.parameters == run.load_model().count_params()


def test_a_finished_run_stays_and_another_setting_is_refused(run, teacher_file, sounds, tmp_path):
    log: list[str] = []
    settings = Settings("sounds_s", str(teacher_file), patches=64, steps=1)
    make_body(settings, [sounds], run.folder, log.append)
    assert log == [f"{run.folder} is already finished"]
    with refuses(ConfigError, run.folder, "--out"):
        make_body(Settings("sounds_s", str(teacher_file), 128, 1), [sounds], run.folder)
    (tmp_path / "sounds.json").write_text('{"train": {}}')
    with refuses(ConfigError, tmp_path, "--sounds", "--out"):
        make_body(settings, [sounds], tmp_path)
    with refuses(ConfigError, "sounds_x", "sounds_m"):
        body_recipe(Settings("sounds_x"))


def test_it_is_packed_without_an_accuracy(run, tmp_path, monkeypatch):
    folder = tmp_path / "sounds_s"
    folder.mkdir()
    (folder / ABOUT).write_text("summary: A.\nintended_use: []\nlimits: []\nlicence: [Free.]\n")
    card = pack(Run(run.folder), folder)
    assert "accuracy" not in card and card["boards"] == []
    assert card["agreement"]["int8"]["same"] == run.metrics().values["int8"]["agreement"]
    text = (folder / CARD_TEXT).read_text()
    assert "## Agreement with teacher.tflite" in text and "m3net lab body sounds_s" in text
    assert "test clips" not in text
    classifier = Classifier(folder)
    assert classifier.labels == class_names() and classifier.window_samples == 15_440
    for place in ("m3net_tf.networks.pretrained", "m3net_tf.cli.models"):
        monkeypatch.setattr(f"{place}.FOLDER", tmp_path)
    rows = [row for row in json.loads(m3net(["model", "list", "--json"])) if "trained" in row]
    assert [(row["trained"], row["accuracy"], row["classes"]) for row in rows] == [
        ("sounds_s", None, 521)
    ]
    line = m3net(["model", "list"]).splitlines()[-1].split()
    assert line[0] == "sounds_s" and "%" not in line


def test_a_training_starts_from_it(run):
    def build(classes: int) -> keras.Model:
        return build_model("mobilenet", "sounds_s", classes=classes)

    model = build(10)
    settings = FineTuningSection(run=str(run.folder))
    started = start_from(model, settings, load_dataset("synth", None), build, str)
    assert started is not None and started["layers_new"] == ["dense"]
    weights = run.load_model().get_layer("block7_pw").get_weights()
    for taken, source in zip(model.get_layer("block7_pw").get_weights(), weights, strict=True):
        np.testing.assert_array_equal(taken, source)


def test_a_resumed_distillation_gives_the_same_weights(teacher, sounds, tmp_path, monkeypatch):
    sources = read_sources([sounds], 0, str).splits["train"]
    lessons = make_lessons(sources, 64, teacher, 2, 0, str)
    settings = body_recipe(Settings("sounds_s", patches=64, steps=2)).training

    def trained(folder):
        keras.utils.set_random_seed(0)
        student = build_model(
            "mobilenet",
            "sounds_s",
            classes=len(class_names()),
            overrides={"channels": (8, 8), "strides": (2, 2)},
            head="sigmoid",
        )
        distil(student, settings, lessons, Run(folder), str)
        return student.get_weights()

    whole = trained(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("m3net_tf.lab.bodies.distillation.Task.advance", once())
        trained(tmp_path / "parts")
    for one, other in zip(whole, trained(tmp_path / "parts"), strict=True):
        np.testing.assert_array_equal(one, other)
    more = make_lessons(sources, 80, teacher, 2, 0, str)
    np.testing.assert_array_equal(more.maps_of(slice(0, 64)), lessons.maps_of(slice(0, 64)))


def once():
    """A method that can be called once; then the process is interrupted."""
    calls: list[None] = []

    def advance(*_: object) -> None:
        calls.append(None)
        if len(calls) > 1:
            raise KeyboardInterrupt

    return advance
