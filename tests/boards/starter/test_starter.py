# SPDX-License-Identifier: Apache-2.0
"""A starter project from a folder of sounds: what is in the folder, the recipe, the commands."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.audio.datasets import cut_statement, load_dataset
from m3net_tf.audio.datasets.captured import CapturedClips, recordings
from m3net_tf.audio.datasets.inspection import inspect_folder, sounds_lines
from m3net_tf.audio.datasets.tables import suggestions
from m3net_tf.boards.starter.project import (
    README,
    recipe_lines,
    speed_lines,
    starter_pace,
    starter_recipe,
    write_starter,
)
from m3net_tf.cli import app
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training import Recipe, load_recipe
from m3net_tf.training.start import prepare

DOCS = Path(__file__).parents[3] / "docs"

pytestmark = pytest.mark.usefixtures("private_cache")


def sounds(root: Path, *names: str, length_s: float = 0.1, rate_hz: int = 16_000) -> Path:
    """Different noises in files of these names."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(-9000, 9000, round(length_s * rate_hz))
        soundfile.write(root / name, noise.astype(np.int16), rate_hz)
    return root


def by_speakers(*classes: str) -> list[str]:
    return [
        f"{c}/spk{s:02d}_{take}.wav" for c, s, take in itertools.product(classes, range(6), "12")
    ]


def numbered(label: str, count: int) -> list[str]:
    return [f"{label}/{number}.wav" for number in range(count)]


def test_a_project_is_made_from_a_folder(tmp_path: Path, monkeypatch, narrow):
    monkeypatch.chdir(tmp_path)
    folder = sounds(tmp_path / "my sounds", *by_speakers("clap", "snap"))
    begin = ["init", str(folder), "--from", "nothing"]
    done = CliRunner().invoke(app, begin, catch_exceptions=False)
    printed = done.output.splitlines()
    assert max(map(len, printed[:4])) <= 80 and printed[2].split() == [
        *("clap", "12", "50", "%", "0.0", "0.10", "0.10", "0.10", "0"),
    ]
    said = " ".join(done.output.split())
    assert (
        "the file names seem to identify 6 speakers or recordings, as in clap/spk00_1.wav" in said
    )
    examples = ", ".join(f"clap/spk0{s}_1.wav -> spk0{s}" for s in range(3))
    guess = (
        f"by a GUESS of the groups from the file names, group_pattern (spk[0-9]+), as in {examples}"
    )
    assert f"split: grouped, {guess}: if it is wrong" in said and "no group is" not in said
    assert "clap 8 2 2 snap 8 2 2 clips 18 4 4 groups (group) 4 1 1" in said
    assert "a class has only 2 test clips, so five more trainings follow" in said
    assert "speed on mps2_an386: real time" in said and "decisions a second" in said
    assert printed[-1] == "next: m3net train 'my sounds_project/recipe.yaml' --run runs/own"
    project = tmp_path / "my sounds_project"
    recipe = load_recipe(project / "recipe.yaml")
    assert recipe.dataset.options == {
        "sample_rate_hz": 16_000,
        "clip_s": 1.0,
        "group_pattern": "(spk[0-9]+)",
        "group_pattern_guessed": True,
        "silence_percentage": 10,
    }
    assert recipe.training.batch_size == 16 and not recipe.augmentation.random_crop
    assert recipe.training.cross_validation == "grouped-5fold"
    assert recipe.detector.automatic_gain
    dataset = load_dataset("folder", folder, **recipe.dataset.options)
    assert dataset.leak() == 0 and "_silence_" in dataset.info.labels
    assert json.loads((project / "data.json").read_text()) == {"folder": str(folder)}
    text = (project / README).read_text()
    assert printed[-1].removeprefix("next: ") in text
    assert "m3net emulate runs/own --board mps2_an386" in text
    assert recipe.model.preset == "plain_xs" and recipe.frontend.mel_bins == 20
    assert f"--data-dir '{folder}'" in text and "'group_pattern=(spk[0-9]+)'" in text
    with refuses(ConfigError, "recipe.yaml", "--out"):
        CliRunner().invoke(app, begin, catch_exceptions=False)
    words = [*begin, "--out", "other", "--board", "stm32f4_discovery", "--json"]
    facts = json.loads(CliRunner().invoke(app, words, catch_exceptions=False).output)
    assert facts["sounds"]["clips"] == 24 and facts["recipe"]["model"]["preset"] == "mcu"
    assert facts["pace"]["real_time"] and facts["pace"]["cpu_share"] < 0.5
    assert "m3net flash runs/own --board stm32f4_discovery" in Path("other", README).read_text()


def test_what_is_wrong_with_the_sounds_is_said(tmp_path: Path, every_step):
    folder = sounds(tmp_path, *numbered("rain", 28), length_s=0.05, rate_hz=8000)
    sounds(folder, *numbered("wind", 8), length_s=3, rate_hz=8000)
    shutil.copy(folder / "rain" / "1.wav", folder / "rain" / "again.wav")
    shutil.copy(folder / "rain" / "2.wav", folder / "rain" / "again2.wav")
    soundfile.write(folder / "rain" / "zero.wav", np.zeros(400), 8000)
    told = every_step
    facts = inspect_folder(folder, log=told.append)
    assert "repeated sounds: 1/39 files" in told[0] and "headers of sounds: 39/39" in told[-1]
    lines = "\n".join(sounds_lines(facts))
    assert "uneven: the largest class has 3.9 times the clips of the smallest" in lines
    assert "same content: rain/1.wav, rain/again.wav: keep one of them" in lines
    assert "sample rates: 8000 Hz (39)" in lines and "the longest lasts 3.00 s" in lines
    assert "the file names do not identify speakers or recordings" in lines
    recipe = starter_recipe(facts, log=told.append, start="nothing")
    assert any(line.startswith("windows of sounds: ") for line in told)
    options = recipe["dataset"]["options"]
    assert options["clip_s"] == 2.0 and options["long_clips"] == "windows"
    dataset = load_dataset("folder", folder, **options)
    said = recipe_lines(recipe, facts, dataset)
    assert cut_statement(dataset) in said
    assert any("1 clip of digital zero" in line and "rain/zero.wav" in line for line in said)
    plan = Recipe.from_dict(recipe)
    prepare(plan, tmp_path / "run", folder, told.append)
    assert any("1 clip of digital zero" in line for line in told)
    assert recipe["frontend"] == {
        **{"preset": "mcu", "sample_rate_hz": 8000, "hop_ms": 30.0, "mel_bins": 20},
    }
    assert recipe["training"]["class_weights"] == "balanced"
    (folder / "rain" / "broken.wav").write_bytes(b"RIFF")
    facts = inspect_folder(folder)
    assert facts.classes["rain"].unreadable == 1
    assert f"unreadable: {folder / 'rain' / 'broken.wav'}" in "\n".join(sounds_lines(facts))
    with refuses(DataError, "1 of 40"):
        starter_recipe(facts)


def test_folders_without_sounds_are_refused(tmp_path: Path):
    with refuses(DataError, tmp_path / "void"):
        inspect_folder(tmp_path / "void")
    with refuses(DataError, tmp_path, "WAV"):
        inspect_folder(tmp_path)
    (tmp_path / "clap").mkdir()
    (tmp_path / "clap" / "a.wav").write_bytes(b"RIFF")
    with refuses(DataError, tmp_path):
        inspect_folder(tmp_path)
    sounds(tmp_path, "clap/a.wav", *numbered("clap", 4))
    with pytest.raises(DataError, match="only one class"):
        write_starter(starter_recipe(facts := inspect_folder(tmp_path)), facts, tmp_path, "x")


def test_a_folder_may_have_any_name(tmp_path: Path):
    folder = sounds(tmp_path / "fan", *by_speakers("on", "off"))
    facts = inspect_folder(folder.rename(tmp_path / os.fsdecode(b"l\xfcfter")))
    write_starter(starter_recipe(facts), facts, tmp_path / "project", "mps2_an386")
    assert b"/l\xfcfter" in (tmp_path / "project" / README).read_bytes()
    load_recipe(tmp_path / "project" / "recipe.yaml")


def test_the_users_own_split_and_noise_are_kept(tmp_path: Path):
    names = [f"{s}/{c}/{s}{i}.wav" for s in ("train", "val", "test") for c in "ab" for i in (0, 1)]
    facts = inspect_folder(sounds(tmp_path / "split", *names))
    said = "test is test (4 clips), train is train (4 clips), val is validation (4 clips)"
    assert f"folders of splits: {said}" in sounds_lines(facts)
    assert starter_recipe(facts)["dataset"]["options"].keys() == {
        *("sample_rate_hz", "clip_s", "silence_percentage"),
    }
    folder = sounds(tmp_path / "noise", *numbered("a", 8), *numbered("background", 8))
    options = starter_recipe(inspect_folder(folder))["dataset"]["options"]
    assert "silence_percentage" not in options and "group_pattern" not in options


def test_a_guess_that_cannot_be_split_is_not_used(tmp_path: Path):
    """The speakers of one class are all in training."""
    names = [f"{c}/spk{s}_{t}.wav" for c in "ab" for s in range(10) for t in range(2)]
    facts = inspect_folder(
        sounds(tmp_path, *names, *(f"c/spk{s}_{t}.wav" for s in range(4) for t in "12"))
    )
    assert facts.groups is not None
    recipe = starter_recipe(facts)
    options = recipe["dataset"]["options"]
    assert "group_pattern" not in options
    dataset = load_dataset("folder", tmp_path, **recipe["dataset"]["options"])
    assert any("which ignores them" in line for line in recipe_lines(recipe, facts, dataset))
    with refuses(DataError, "'c'", "8"):
        load_dataset("folder", tmp_path, **options, group_pattern=facts.groups.pattern)


#: Names like ESC-50's: the fold, the recording at Freesound, the take, the class.
FREESOUND = [
    f"{c}/{n % 5 + 1}-{20_000 + n // 2}-{'AB'[n % 2]}-0.wav" for c in "ab" for n in range(6)
]
FREESOUND += [f"{c}/{n % 5 + 1}-{30_000 + n}-A-0.wav" for c in "ab" for n in range(20)]


def test_init_and_suggest_find_the_same_groups(tmp_path: Path):
    """Only a few of the recordings have several clips."""
    folder = sounds(tmp_path / "sounds", *FREESOUND)
    facts = inspect_folder(folder)
    options = starter_recipe(facts)["dataset"]["options"]
    table, lines = suggestions("folder", folder)
    assert table.rows[0][0] == options["group_pattern"] == facts.groups.pattern
    assert "a guess: check" in lines[0]


def test_a_weak_guess_is_shown_but_not_used(tmp_path: Path):
    """Numbers of folds, or of takes."""
    folder = sounds(tmp_path / "s", *(f"{c}/{n % 4}-{c}{n}.wav" for c in "ab" for n in range(12)))
    facts = inspect_folder(folder)
    line = sounds_lines(facts)[-1]
    hint = re.search(r"give (--group-pattern .*) if it is right", line)[1]
    assert "do not identify" in line and shlex.split(hint)[1] == facts.groups.pattern
    assert "group_pattern" not in starter_recipe(facts)["dataset"]["options"]
    assert "a weak guess, which m3net init does not use" in suggestions("folder", folder)[1][0]


def test_the_groups_can_be_given(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = sounds(tmp_path / "s", *(f"{c}/{n % 4}-{c}{n}.wav" for c in "ab" for n in range(12)))
    words = ["init", "s", "--group-pattern", "/([0-9])-"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "groups: 4 by --group-pattern, as in a/0-a0.wav -> 0" in said
    assert "group_pattern is a guess" not in Path("s_project", "recipe.yaml").read_text()
    recipe = load_recipe(Path("s_project", "recipe.yaml"))
    assert recipe.dataset.options["group_pattern"] == "/([0-9])-"
    assert not recipe.training.cross_validation  # four groups are too few for five folds
    for pattern, message in (
        ("([0-9]", "is not a regular expression"),
        ("/(x)", "finds no"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            inspect_folder(folder, pattern)
    with refuses(DataError, "grouped"):
        starter_recipe(inspect_folder(folder, "/[0-9]-([ab])"))


def test_a_hint_can_be_typed_and_its_split_trains(tmp_path: Path):
    names = [f"{c}/{n % 5}-{c}{n}\\.wav" for c in "ab" for n in range(20)]
    facts = inspect_folder(sounds(tmp_path / "s", *names))
    hint = re.search(r"give (--group-pattern .*) if it is right", sounds_lines(facts)[-1])[1]
    typed = subprocess.run(
        ["sh", "-c", f"printf %s {hint.split(' ', 1)[1]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    recipe = starter_recipe(inspect_folder(tmp_path / "s", typed.stdout))
    assert recipe["dataset"]["options"]["group_pattern"] == typed.stdout
    assert recipe["training"]["cross_validation"] == "grouped-5fold"
    uneven = [f"{c}/{n // 9}_{c}{n}.wav" for c in "ab" for n in range(20)]
    assert inspect_folder(sounds(tmp_path / "u", *uneven)).groups is None


def test_without_groups_there_is_no_cross_validation_by_groups(tmp_path: Path):
    facts = inspect_folder(sounds(tmp_path, *numbered("a", 12), *numbered("b", 12)))
    recipe = starter_recipe(facts)
    assert "cross_validation" not in recipe["training"]
    dataset = load_dataset("folder", tmp_path, **recipe["dataset"]["options"])
    (said,) = (line for line in recipe_lines(recipe, facts, dataset) if "test clips" in line)
    assert "--group-pattern" in said


def test_a_recipe_without_enough_training_is_refused(tmp_path: Path):
    folder = sounds(tmp_path / "s", *(f"{c}/{n % 3}-{c}{n}.wav" for c in "ab" for n in range(12)))
    with refuses(DataError, "less than half", "group_pattern"):
        starter_recipe(inspect_folder(folder, "/([0-9])-"))
    options = {"group_pattern": "/([0-9])-", "sample_rate_hz": 16_000}
    recipe = starter_recipe(inspect_folder(folder))
    recipe["dataset"]["options"] |= options
    with refuses(DataError, "less than half", "group_pattern"):
        prepare(Recipe.from_dict(recipe), tmp_path / "run", folder, print)


def test_a_rate_reaches_the_board(tmp_path: Path):
    """The band up to half of it, too; and the estimate counts the longer FFT."""
    folder = sounds(tmp_path, *numbered("a", 8), *numbered("b", 8))
    facts = inspect_folder(folder)
    board = "stm32f4_discovery"
    plan = starter_recipe(facts, board, sample_rate_hz=48_000)
    assert plan["dataset"]["options"]["sample_rate_hz"] == 48_000
    frontend = Recipe.from_dict(plan).frontend
    assert frontend.sample_rate_hz == 48_000 and frontend.mel_max_hz == 22_800
    assert any("microphone" in line and "16000 Hz" in line for line in speed_lines(plan, board))
    usual = starter_recipe(facts, board, start="nothing")
    assert not any("microphone" in line for line in speed_lines(usual, board))
    assert starter_pace(plan, board).cpu_share > starter_pace(usual, board).cpu_share


def test_a_project_starts_from_the_body_that_suits_the_board(tmp_path: Path):
    few = inspect_folder(sounds(tmp_path / "few", *by_speakers("clap", "snap"), length_s=2))
    plan = starter_recipe(few, "nucleo_h753zi", start="sounds_m")
    assert plan["model"] == {"name": "mobilenet", "preset": "sounds_m"}
    assert plan["fine_tuning"] == {"from": "sounds_m", "fit_head": True}
    assert plan["training"]["epochs"] == 1
    said = " ".join(speed_lines(plan, "nucleo_h753zi"))
    assert "only its head is fitted" in said and "--from nothing" in said
    many = inspect_folder(sounds(tmp_path / "many", *numbered("a", 60), *numbered("b", 60)))
    plan = starter_recipe(many, "mps2_an386", start="sounds_s")
    assert plan["training"]["epochs"] > 1 and starter_pace(plan, "mps2_an386").real_time
    with refuses(ConfigError, "--sample-rate", "--from nothing"):
        starter_recipe(few, start="sounds_s", sample_rate_hz=48_000)
    with refuses(ConfigError, "--from sounds_xl", "sounds_m"):
        starter_recipe(few, start="sounds_xl")


def test_spoken_words_do_not_start_from_a_body_for_sounds(tmp_path: Path):
    if shutil.which("espeak-ng") is None:
        pytest.skip("no speech synthesiser here: sudo apt-get install espeak-ng")
    folder = sounds(tmp_path / "s", *numbered("noise", 8))
    for word, pitch in itertools.product(("seven", "marvin"), range(10, 90, 10)):
        (folder / word).mkdir(exist_ok=True)
        path = folder / word / f"{pitch}.wav"
        subprocess.run(["espeak-ng", "-p", f"{pitch}", "-w", path, word], check=True)
    said: list[str] = []
    plan = starter_recipe(inspect_folder(folder), log=said.append)
    assert "fine_tuning" not in plan
    assert any("2 of 3 classes" in line and "--from sounds_s" in line for line in said)
    asked = starter_recipe(inspect_folder(folder), start="sounds_s")
    assert asked["fine_tuning"]["from"] == "sounds_s"
    shutil.rmtree(folder / "marvin")
    assert starter_recipe(inspect_folder(folder))["fine_tuning"]["from"] == "sounds_s"


def test_init_and_training_say_what_the_files_give_away(tmp_path: Path):
    folder = sounds(tmp_path / "s", *numbered("a", 12))
    sounds(folder, *numbered("b", 12), rate_hz=8000)
    facts = inspect_folder(folder)
    recipe = starter_recipe(facts)
    dataset = load_dataset("folder", folder, **recipe["dataset"]["options"])
    told: list[str] = []
    prepare(Recipe.from_dict(recipe), tmp_path / "run", folder, told.append)
    for lines in (told, recipe_lines(recipe, facts, dataset)):
        assert any("shortcut: rate, channels" in line and "100 %" in line for line in lines)


def test_many_test_clips_need_no_cross_validation(tmp_path: Path):
    folder = sounds(tmp_path, *numbered("a", 110), *numbered("b", 100), length_s=0.02)
    assert "cross_validation" not in starter_recipe(inspect_folder(folder))["training"]


@pytest.mark.slow
def test_the_transcript_is_what_its_commands_print(tmp_path: Path, monkeypatch):
    """The sounds of the page, made and inspected as shown there."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("no speech synthesiser here: sudo apt-get install espeak-ng")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "evidence" / "spoken_words.md").read_text()
    scripts = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    spoken, captured = (script for script in scripts if "espeak-ng" in script)
    for script in (spoken, captured):
        subprocess.run(["bash", "-e", "-c", script], check=True)
    begin = ["init", "words", "--from", "nothing"]
    done = CliRunner().invoke(app, begin, catch_exceptions=False)
    printed = " ".join(done.output.split())
    shown = re.search(r"\$ m3net init words --from nothing\n(.*?)```", page, re.DOTALL)[1]
    table = re.search(r"─\n(.*?)\n+600 clips", shown, re.DOTALL)[1]
    for row in table.splitlines():  # lengths depend on the synthesiser's version
        assert "…" in row or " ".join(row.split()[:4]) in printed
    assert " ".join(shown[shown.index("leaks:") :].split()) in printed
    clips = CapturedClips(Path("captured"))
    assert len(clips) == 120 and len(set(recordings(clips))) == 12
