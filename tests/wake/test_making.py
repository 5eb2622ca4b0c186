# SPDX-License-Identifier: Apache-2.0
"""A wake word from a phrase: voices, training, threshold, export, emulation, own recordings."""

import collections
import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from refusals import refuses

import m3net_tf
from m3net_tf.compiler.wake_words import read_wake_word
from m3net_tf.runtime.interpreter import host_arena_bytes, tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import silent
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training import Run, load_recipe
from m3net_tf.wake import project as wake_project
from m3net_tf.wake.teachers import train_teachers
from m3net_tf.wake.voices import speaking, synthesis

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("private_cache"),
    pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng, which speaks, is missing"),
]


WORDS = ["computer", "--count", 40, "--near-count", 20, "--hours", 0.04, "--out"]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Recipes that train for seconds, and a few voices of one synthesiser."""
    throats = ("f1", "f2", "m1", "m2", "m3", "m4", "klatt", "croak")
    whole = wake_project.wake_recipe

    def voices(_: object, language: str) -> list[synthesis.Voice]:
        return [synthesis.Voice(f"{language}+{name}", name) for name in throats]

    def small(sounds: object) -> dict:
        recipe = whole(sounds)
        recipe["model"]["arguments"] = {"filters": 16, "features": 8}
        recipe["augmentation"]["copies"] = 1
        recipe["training"]["epochs"] = 2
        return recipe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaking, "available", lambda models: [synthesis.Espeak()])
        patch.setattr(synthesis.Espeak, "voices", voices)
        patch.setattr(speaking, "installed_words", lambda language: ["house", "garden", "water"])
        patch.setattr(wake_project, "wake_recipe", small)
        yield


@pytest.fixture(scope="module")
def project(quick, private_cache, tmp_path_factory) -> Path:
    """A finished project of :data:`WORDS`."""
    folder = tmp_path_factory.mktemp("wake") / "computer"
    made = m3net_tf.make_wake_word("computer", folder, count=40, near_count=20, hours=0.04, jobs=1)
    assert made.run.folder == folder / "run"
    return folder


def contents(project: Path) -> tuple[dict[Path, int], bytes]:
    """When each sound and teacher was made, and the trained network."""
    made = (*project.rglob("*.wav"), *project.glob("teachers/*/model.keras"))
    times = {path: path.stat().st_mtime_ns for path in made}
    return times, (project / "run" / "model.keras").read_bytes()


@pytest.mark.slow
def test_from_a_phrase_to_an_emulated_board(project, m3net):
    result = json.loads((project / "wake.json").read_text())
    live = result["live"]
    assert live["all"]["true_events"] > 10 and live["hours"] > 0.08  # scenes and noise
    assert [row["label"] for row in live["detector"]["classes"]] == ["_unknown_", "computer"]
    distillation = read_yaml(project / "run" / "recipe.yaml")["distillation"]
    teachers = [Run(Path(name)) for name in (distillation["run"], *distillation["ensemble"])]
    assert [each.recipe().training.seed for each in teachers] == [1, 2, 3, 4]
    assert all(each.finished and not each.recipe().distillation.runs for each in teachers)
    if "emulation_missing" not in result["emulated"]:
        assert result["emulated"]["bytes_equal"] and result["emulated"]["live"]["equal"]

    before = contents(project)
    again = m3net("wake", *WORDS, project)
    assert again.status == 0
    assert f"m3net flash {project / 'run'} --board mps2_an386" in " ".join(again.out.split())
    assert "none of them in noise: " in again.out and "80 % of them in noise 0 to 25" in again.out
    assert "cannot show less than" in again.out  # an hour is too short for half a false accept
    assert json.loads((project / "wake.json").read_text()) == result
    other = m3net("wake", *WORDS, project, "--seed", 1)
    assert other.status == 2
    assert "was started with seed 0, not 1" in " ".join(other.err.split())
    assert contents(project) == before


@pytest.mark.slow
def test_teachers_that_are_trained_at_once_are_the_same(project, tmp_path):
    pytest.importorskip("ray")
    folders = [tmp_path / "1", tmp_path / "2"]
    recipe = load_recipe(project / "recipe.yaml")
    named = dataclasses.replace(
        recipe.distillation, run=str(folders[0]), ensemble=[str(folders[1])]
    )
    recipe = dataclasses.replace(recipe, distillation=named)
    train_teachers(recipe, Run(tmp_path / "run"), project / "sounds", jobs=2, log=silent)
    for folder in folders:
        in_turn = Run(project / "teachers" / folder.name).load_model().get_weights()
        at_once = Run(folder).load_model().get_weights()
        assert all(map(np.array_equal, in_turn, at_once))


@pytest.mark.slow
def test_own_recordings_are_added_and_measured_by_the_same_rule(project, m3net, tmp_path):
    times, model = contents(project)
    own = tmp_path / "mine"
    for label, folder in (("computer", "computer"), ("false_alarm", "_near_")):
        (own / label).mkdir(parents=True)
        for number, path in enumerate(sorted(project.glob(f"voices/{folder}/*.wav"))[:3]):
            shutil.copyfile(path, own / label / f"me_{number}.wav")
    # The project has the other settings.
    assert m3net("wake", "computer", "--out", project, "--add", own).status == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times  # nothing is made again
    assert (project / "run" / "model.keras").read_bytes() == model
    recipe = read_yaml(project / "run_mine" / "recipe.yaml")
    assert recipe["fine_tuning"]["add_times"] > 1 and not recipe["fine_tuning"]["hold_out"]
    assert len(list((project / "own_mine" / "computer").glob("*.wav"))) == 3
    with (project / "run_mine" / "added" / "clips.csv").open() as file:
        added = collections.Counter(row["label"] for row in csv.DictReader(file))
    assert added == {"computer": 3, "_unknown_": 3}

    tuned = json.loads((project / "run" / "streaming.json").read_text())
    target = ["--target-false-accepts-per-hour", 0.5]
    assert m3net("evaluate", project / "run", "--streaming", *target).status == 0
    evaluated = json.loads((project / "run" / "streaming.json").read_text())
    for name in ("detector", "scenes", "hours", "all"):  # the rule of m3net wake
        assert evaluated[name] == tuned[name]


@pytest.mark.slow
def test_a_wake_word_for_micro_wake_word(project, m3net, tmp_path):
    made = m3net("wake", *WORDS, project, "--micro-wake-word")
    assert made.status == 0
    folder = project / "micro_wake_word"
    assert f"computer for ESPHome: {folder / 'computer.json'}" in " ".join(made.out.split())
    word = read_wake_word(folder / "computer.json")
    figures = json.loads((folder / "run" / "micro_wake_word.json").read_text())
    assert word.phrase == "computer" and 0.3 <= word.cutoff < 1 and word.step_ms == 10
    assert figures["all"]["true_events"] > 10 and figures["hours"] > 0.08
    arena_bytes = json.loads((folder / "computer.json").read_text())["micro"]["tensor_arena_size"]
    if not tflm_unavailable_reason():
        needed = host_arena_bytes(word.model.read_bytes())
        assert needed <= arena_bytes < 1.5 * needed
    compiled = m3net("compile", folder / "computer.json", "--out", tmp_path / "c", "--name", "word")
    assert compiled.status == 0 and (tmp_path / "c" / "word_detection.h").exists()

    model = (folder / "run" / "model.keras").read_bytes()
    assert m3net("wake", *WORDS, project, "--micro-wake-word").status == 0
    assert (folder / "run" / "model.keras").read_bytes() == model  # not trained again


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["computer", "--board", "nix"], "unknown board 'nix'"),
        (["computer", "--negatives", "nowhere"], "nowhere: has no sound files"),
        (["computer", "--add", "nowhere"], "nowhere: has no sound files"),
        (["computer", "--hours", "0"], "hours is 0"),
        (["computer", "--count", "0"], "--count"),
        (["computer", "computer"], "given twice"),
    ],
)
def test_a_wrong_start_ends_before_a_voice_speaks_and_can_be_corrected(
    quick, m3net, monkeypatch, tmp_path, words, reason
):
    monkeypatch.chdir(tmp_path)
    wrong = m3net("wake", *words)
    assert wrong.status == 2
    assert reason in " ".join(wrong.err.split())
    assert not (tmp_path / "computer_wake" / "voices").exists()
    corrected = m3net("wake", "computer", "--say", "###")
    assert corrected.status == 2  # not: was started with others
    assert "respell it" in " ".join(corrected.err.split())


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ({"count": 0}, "wake.count"),
        ({"near_count": 0}, "wake.near_count"),
        ({"seed": -1}, "wake.seed"),
        ({"target_false_accepts_per_hour": -1.0}, "-1.0 false accepts per hour"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_a_voice_speaks(quick, tmp_path, setting, names):
    with refuses(ConfigError, names):
        m3net_tf.make_wake_word("computer", tmp_path / "project", **setting)
    assert not (tmp_path / "project").exists()
