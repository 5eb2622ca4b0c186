# SPDX-License-Identifier: Apache-2.0
"""Clips that are added to a finished run's clips, and the run that is trained with them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.captured import CapturedClips
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import silent
from m3net_tf.training import Run, save_recipe, train
from m3net_tf.training.clips.added import (
    copy_added,
    find_added,
    held_out_added,
    list_sha256,
    read_added,
    require_unchanged,
    with_added,
)
from m3net_tf.training.clips.source import load_section
from m3net_tf.training.recipe import recipe_with_added
from m3net_tf.training.recipe.sections import FineTuningSection

pytestmark = pytest.mark.usefixtures("private_cache")

LABELS = ("clap", "snap", "_silence_", "_unknown_")


def capture(folder: Path, minutes: range, *labels: str, **changes: str) -> CapturedClips:
    """Two clips of each label, ten seconds apart, in each of some minutes."""
    clips = CapturedClips(folder)
    rng = np.random.default_rng([len(labels), *minutes])
    for minute in minutes:
        for second in (0, 10):
            for label in labels:
                sound = rng.uniform(-0.3, 0.3, 1600).astype(np.float32)
                time_utc = f"2030-01-01T{minute // 30:02d}:{2 * minute % 60:02d}:{second:02d}"
                facts = {"source": "/dev/ttyACM0", "reason": "near_miss", "time_utc": time_utc}
                clips.add(sound, 16_000, label, {**facts, **changes})
    return clips


def relabel(path: Path, label: str) -> Path:
    """Move a clip into another class folder."""
    (path.parents[1] / label).mkdir(exist_ok=True)
    return path.rename(path.parents[1] / label / path.name)


def write_tone(path: Path, hertz: float, rate_hz: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(rate_hz // 5) * 2 * np.pi * hertz / rate_hz), rate_hz)


def settings(run: Path, *folders: Path) -> FineTuningSection:
    return FineTuningSection(str(run), add=tuple(map(str, folders)))


def test_whole_recordings_are_held_out_and_stay_so(tmp_path: Path):
    folder = tmp_path / "captured"
    run = tmp_path / "run"
    capture(folder, range(4), "clap", "snap")
    clips = find_added([str(folder)], run, LABELS, "", silent)
    dataset = load_dataset("synth", clips_per_class=6)
    info = dataclasses.replace(dataset.info, labels=(*dataset.info.labels, *LABELS))
    dataset = dataclasses.replace(dataset, info=info)
    copy_added(clips, dataset, run, tmp_path, silent)
    clips = read_added(run)
    splits = {(clip.group, clip.split) for clip in clips}
    assert len(clips) == 16 and len(splits) == 4  # each minute is one recording, in one split
    assert sum(split == "test" for _, split in splits) == 1
    extended = with_added(dataset, run)
    held_out = held_out_added(dataset, run)
    assert len(extended.clips) == len(dataset.clips) + 12 and len(held_out.split("test")) == 4
    assert extended.clip_list_hash()["test"] == dataset.clip_list_hash()["test"]
    assert extended.info.protocol.endswith(" (with 12 added training clips)")

    # A second round: new clips of the same and of other minutes, a new label, a deleted clip.
    held = next(Path(clip.source) for clip in clips if clip.split == "test")
    captured = CapturedClips(folder)
    relabel(held, "silence")
    captured.remove(next(Path(clip.source) for clip in clips if clip.split == "train"))
    capture(folder, range(8), "_unknown_")
    found = find_added([str(folder)], run, LABELS, "", silent)
    with pytest.raises(ConfigError, match="started with other added clips: choose another name"):
        require_unchanged(found, run)
    second = tmp_path / "second"
    copy_added(found, dataset, second, run, silent)  # the deleted clip is in the former run
    later = read_added(second)
    require_unchanged(found, second)
    side = {clip.sha256: clip.split for clip in clips}
    assert all(clip.split == side.get(clip.sha256, clip.split) for clip in later)
    groups = [{c.group for c in later if c.split == split} for split in ("train", "test")]
    assert not groups[0] & groups[1] and len(groups[1]) == 2
    assert len(later) == len(clips) + 16
    assert next(c.label for c in later if c.sha256 in side and "silence" in c.label) == "_silence_"
    assert sorted(p.name for p in (second / "added").glob("*.wav")) == sorted(
        clip.path for clip in later
    )


@pytest.mark.parametrize(
    ("label", "labels", "to"),
    [
        ("false_alarm", LABELS, "_unknown_"),
        ("other", LABELS, "_unknown_"),
        ("background", LABELS, "_silence_"),
        ("_background_noise_", ("clap", "unknown"), "unknown"),
        ("false_alarm", ("clap", "background"), "background"),
    ],
)
def test_sounds_that_are_no_event_go_to_the_class_for_them(tmp_path, label, labels, to):
    capture(tmp_path, range(1), label)
    assert {c.label for c in find_added([str(tmp_path)], tmp_path, labels, "", silent)} == {to}


def test_clips_that_cannot_be_added_are_named(tmp_path: Path):
    folder = tmp_path / "captured"
    run = tmp_path / "run"
    with refuses(DataError, "captured"):
        find_added([str(folder)], run, LABELS, "", silent)
    (folder / "clap").mkdir(parents=True)
    with refuses(DataError, "captured"):
        find_added([str(folder)], run, LABELS, "", silent)
    clips = capture(folder, range(1), "dog")
    with refuses(ConfigError, "'dog'", "clap", "sn"):
        find_added([str(folder)], run, LABELS, "", silent)
    with refuses(ConfigError, "'false_alarm'"):
        added = capture(tmp_path / "2", range(1), "false_alarm").folder
        find_added([str(added)], run, ("a",), "", silent)
    path, _ = (relabel(clip.path, "clap") for clip in clips)
    (folder / "snap").mkdir()
    shutil.copy(path, folder / "snap" / "copy.wav")
    with pytest.raises(DataError, match="is the same sound as .* with another label: delete one"):
        find_added([str(folder)], run, LABELS, "", silent)


def test_clips_by_which_the_run_is_measured_are_not_trained_on(tmp_path: Path):
    root = tmp_path / "sounds"
    for index in range(8):
        write_tone(root / "clap" / f"{index}.wav", 300 + index)
        write_tone(root / "snap" / f"{index}.wav", 900 + index)
    dataset = load_dataset("folder", root, clip_s=0.1)
    (tmp_path / "more" / "clap").mkdir(parents=True)
    shutil.copy(dataset.split("test")[0].path, tmp_path / "more" / "clap" / "x.wav")
    found = find_added([str(tmp_path / "more")], tmp_path, dataset.info.labels, "", silent)
    with refuses(DataError, "x.wav", ".wav"):
        copy_added(found, dataset, tmp_path / "run", tmp_path, silent)
    (tmp_path / "run").mkdir(exist_ok=True)
    lines: list[str] = []
    write_tone(tmp_path / "more" / "clap" / "x.wav", 350, rate_hz=8000)
    found = find_added([str(tmp_path / "more")], tmp_path, dataset.info.labels, "", silent)
    copy_added(found, dataset, tmp_path / "run", tmp_path, lines.append)
    assert lines == [
        "the window of 0.1 s is shorter than 1 of 1 added clip, so only a part of them is used"
    ]
    (clip,) = with_added(dataset, tmp_path / "run").clips[len(dataset.clips) :]
    assert soundfile.info(clip.path).samplerate == dataset.info.sample_rate_hz
    assert held_out_added(dataset, tmp_path / "run") is None
    write_tone(tmp_path / "more" / "clap" / "by_0" / "y.wav", 360)
    write_tone(tmp_path / "more" / "snap" / "by_0" / "z.wav", 960)
    found = find_added([str(tmp_path / "more")], tmp_path, dataset.info.labels, "(by_.)", silent)
    assert [clip.group for clip in found][::2] == ["by_0", "by_0"]
    by_0 = dataclasses.replace(dataset.split("test")[0], clip_id="old", group="by_0")
    with_speaker = dataclasses.replace(dataset, clips=(*dataset.clips, by_0))
    copy_added(found, with_speaker, tmp_path / "held", tmp_path, silent)
    assert [clip.split for clip in read_added(tmp_path / "held")] == ["test", "train", "test"]
    found = find_added([str(tmp_path / "more")], tmp_path, dataset.info.labels, "", silent)
    assert [clip.group for clip in found][::2] == ["added: by_0", "added: by_0"]
    shutil.copy(tmp_path / "more" / "clap" / "x.wav", tmp_path / "more" / "clap" / "again.wav")
    found = find_added([str(tmp_path / "more")], tmp_path, dataset.info.labels, "", lines.append)
    assert len(found) == 3 and lines[-1] == "1 added clips repeat the sound of others: left out"
    several = dataclasses.replace(dataset, info=dataclasses.replace(dataset.info, multi_label=True))
    with pytest.raises(ConfigError, match="have several labels, added ones have one"):
        copy_added(found, several, tmp_path / "run", tmp_path, silent)


def test_added_clips_are_used_as_the_clips_of_the_run(tmp_path: Path):
    """In windows if these are; a clip of digital zero is left out and said."""
    root = tmp_path / "sounds"
    run = tmp_path / "run"
    for index in range(8):
        write_tone(root / "clap" / f"{index}.wav", 300 + index)
        write_tone(root / "snap" / f"{index}.wav", 900 + index)
    dataset = load_dataset("folder", root, clip_s=0.1, long_clips="windows")
    for index in range(4):
        write_tone(tmp_path / "more" / "clap" / f"{index}.wav", 340 + index)
    soundfile.write(tmp_path / "more" / "clap" / "zero.wav", np.zeros(3200), 16_000)
    lines: list[str] = []
    found = find_added([str(tmp_path / "more")], run, dataset.info.labels, "", lines.append)
    assert len(found) == 4
    assert len(lines) == 1 and "1 clip of digital zero" in lines[0] and "zero.wav" in lines[0]
    copy_added(found, dataset, run, tmp_path, lines.append, windows=True)
    assert len(lines) == 1  # nothing is cut
    added = with_added(dataset, run, windows=True).clips[len(dataset.clips) :]
    held_out = held_out_added(dataset, run, windows=True).clips
    assert {clip.start_s for clip in (*added, *held_out)} == {0.0, 0.05, 0.1}
    assert len(added) + len(held_out) == 4 * 3


def test_the_recipe_continues_the_run(tiny_recipe, tmp_path: Path):
    first = tiny_recipe(training={"epochs": 7, "schedule": "step", "early_stopping": 3})
    second = recipe_with_added(first, tmp_path / "run", [Path("captured")])
    assert second.fine_tuning == settings(tmp_path / "run", Path("captured"))
    assert second.training.epochs == 3 and second.training.keep == "last"
    assert second.training.learning_rate == first.training.learning_rate / 4
    third = recipe_with_added(second, tmp_path / "second", [Path("captured")])
    assert third.training == second.training and third.dataset == first.dataset
    assert first.hashed_values()["fine_tuning"] == {"run": None, "freeze": []}


def test_the_former_and_the_new_network_are_measured_on_old_and_new_clips(
    tiny_recipe, tiny_run, tmp_path: Path
):
    from m3net_tf.training.clips.features import compute_features
    from m3net_tf.training.loop.results import before_and_after

    captured = tmp_path / "captured"
    run = tmp_path / "run"
    dataset = load_section(tiny_recipe().dataset, None)
    capture(captured, range(4), *dataset.info.labels[:2])
    section = settings(tiny_run, captured)
    clips = find_added(section.add, tiny_run, dataset.info.labels, "", silent)
    copy_added(clips, dataset, run, tiny_run, silent)
    recipe = dataclasses.replace(tiny_recipe(), fine_tuning=section)
    config = recipe.frontend
    former = Run(tiny_run)

    def measure(model):
        return before_and_after(
            recipe,
            Run(run),
            dataset,
            model,
            lambda clips, name: compute_features(clips, name, config),
        )

    figures = measure(former.load_model())
    assert figures["test_before"] == former.metrics().test
    assert figures["held_out_before"] == figures["held_out_after"]
    assert (figures["train"], figures["held_out"], figures["recordings"]) == (12, 4, 4)
    assert_report_shows(figures, run, tiny_run)
    assert figures["reasons"] == {"near_miss": 16} and figures["sha256"] == list_sha256(
        read_added(run)
    )


def test_a_damaged_list_of_added_clips_is_named_with_its_remedy(tmp_path):
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "clips.csv").write_text("source,label\n")
    with refuses(DataError, "clips.csv", "'split'"):
        read_added(tmp_path)
    text = "source,label,split,group,sha256,reason\na.wav,clap,train,a,../../../../etc/passwd,\n"
    (tmp_path / "added" / "clips.csv").write_text(text)
    with refuses(DataError, "clips.csv", "is not a SHA-256", "restore it"):
        read_added(tmp_path)


def test_a_finished_run_is_trained_again_only_with_its_own_clips(tiny_recipe, tiny_run, tmp_path):
    captured = tmp_path / "captured"
    run = shutil.copytree(tiny_run, tmp_path / "run")
    dataset = load_section(tiny_recipe().dataset, None)
    clips = capture(captured, range(2), *dataset.info.labels[:2])
    recipe = recipe_with_added(tiny_recipe(), tiny_run, [captured])
    found = find_added(recipe.fine_tuning.add, tiny_run, dataset.info.labels, "", silent)
    copy_added(found, dataset, run, tiny_run, silent)
    save_recipe(recipe, run / "recipe.yaml")
    lines: list[str] = []
    train(recipe, run, log=lines.append)
    assert lines == [f"{run} is already trained"]
    assert len(Run(run).dataset(None).split("train")) == len(dataset.split("train")) + 4
    clips.remove(next(iter(clips)).path)  # its copy in the run stays
    relabel(next(iter(clips)).path, dataset.info.labels[2])
    with pytest.raises(ConfigError, match="started with other added clips: choose another name"):
        train(recipe, run)


def test_few_clips_count_often_and_none_is_held_out(tiny_recipe, tmp_path):
    captured = tmp_path / "captured"
    run = tmp_path / "run"
    dataset = load_section(tiny_recipe().dataset, None)
    capture(captured, range(4), dataset.info.labels[0])
    found = find_added([str(captured)], run, dataset.info.labels, "", silent)
    copy_added(found, dataset, run, tmp_path, silent, hold_out=False)
    assert held_out_added(dataset, run) is None
    once = with_added(dataset, run)
    often = with_added(dataset, run, times=3)
    assert len(once.clips) == len(dataset.clips) + 8
    assert len(often.clips) == len(dataset.clips) + 24  # with names of their own
    assert {clip.path for clip in often.clips} == {clip.path for clip in once.clips}
    assert often.info.protocol == once.info.protocol


def assert_report_shows(figures: dict, folder: Path, former: Path) -> None:
    """The report's table has the accuracies before and after, and their differences."""
    from m3net_tf.pages.report import added
    from m3net_tf.pages.report.gather import RunData

    before = Run(former)
    metrics = before.metrics()
    held_out = figures["held_out_before"]
    better = {**held_out, "accuracy": held_out["accuracy"] + 0.25}
    values = {**metrics.values, "added": {**figures, "held_out_after": better}}
    after = dataclasses.replace(metrics, values=values)
    runs = [
        RunData(before, "first", metrics, None, ""),
        RunData(Run(folder), "second", after, None, ""),
    ]
    table, counts, by_class, bias = added.before_and_after(runs)
    assert table.columns[2:] == ("before: first", "after: second", "difference")
    assert [(row[1], row[-1]) for row in table.rows] == [
        (str(metrics.test["clips"]), "0 points"),
        ("4", "+25.00 points"),
    ]
    assert "12 new clips train, 4 are held out, from 4 recordings (near miss 16)" in counts.text
    assert [row[1] for row in by_class.rows] == ["2", "2"] and "erred" in bias.text
    alone = {**figures, "held_out": 0, "reasons": {}, "run": "gone"}
    after = dataclasses.replace(after, values={**metrics.values, "added": alone})
    blocks = added.before_and_after([RunData(Run(folder), "second", after, None, "")])
    assert blocks[0].columns[2] == "before: gone"
    assert blocks[-1].text.startswith("No new clip is held out")


def test_the_command_continues_the_run_and_says_what_changed(tiny_run, monkeypatch):
    from typer.testing import CliRunner

    from m3net_tf import training
    from m3net_tf.cli import app

    metrics = Run(tiny_run).metrics()
    calls = []
    accuracy = {"accuracy": 0.5, "accuracy_95_low": 0.25, "accuracy_95_high": 0.75}
    added = {"run": "former", "train": 3, "held_out": 1, "test_before": accuracy}
    both = {"held_out_before": accuracy, "held_out_after": {**accuracy, "accuracy": 1.0}}

    def trained(figures: dict) -> str:
        def train(*arguments):
            calls.append(arguments)
            return dataclasses.replace(metrics, values={"added": figures})

        monkeypatch.setattr(training, "train", train)
        words = ["train", "--from", str(tiny_run), "--add", "captured", "--epochs", "7"]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        return " ".join(done.output.split())

    said = trained({**added, **both})
    assert "before, with former: test accuracy 50.00 % (95 %: 25.0 to 75.0)" in said
    assert "held-out ones: before accuracy 50.00 %" in said and "now accuracy 100.00 %" in said
    recipe, folder, data_dir, *_ = calls[0]
    assert recipe.fine_tuning == settings(tiny_run, Path("captured"))
    assert recipe.training.epochs == 7 and recipe.dataset == Run(tiny_run).recipe().dataset
    assert folder == tiny_run.with_name("tiny_added") and data_dir is None
    assert "none is held out" in trained({**added, "held_out": 0})
    for wrong in ([], ["a.yaml", "--from", "a"], ["--from", "a"], ["a.yaml", "--add", "x"]):
        assert CliRunner().invoke(app, ["train", *wrong]).exit_code == 2
    words = ["train", "--from", "a", "--add", "x", "--dataset", "synth"]
    assert "omit --dataset" in CliRunner().invoke(app, words).output


@pytest.mark.slow
def test_a_run_is_trained_again_with_added_clips(tiny_recipe, tiny_run, tmp_path):
    from typer.testing import CliRunner

    from m3net_tf.cli import app

    captured = tmp_path / "captured"
    run = tmp_path / "run"
    labels = tiny_recipe().dataset, Run(tiny_run).metrics().dataset.labels
    clips = capture(captured, range(3), labels[1][0])
    words = ["train", "--from", str(tiny_run), "--add", str(captured), "--run", str(run)]
    printed = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "added clips: 4 in training, 2 held out" in printed.replace("\n", " ")
    metrics = Run(run).metrics()
    assert metrics.values["added"]["test_before"] == Run(tiny_run).metrics().test
    assert metrics.values["fine_tuning"]["layers_new"] == []
    assert metrics.values["added"]["folders"] == [str(captured)]
    former = Run(tiny_run).metrics().dataset.clip_list_sha256
    assert metrics.dataset.clip_list_sha256["test"] == former["test"]
    assert metrics.dataset.clip_list_sha256["train"] != former["train"]
    assert (
        len(Run(run).dataset(None).split("train"))
        == len(load_dataset("synth", clips_per_class=6).split("train")) + 4
    )
    assert "is already trained" in CliRunner().invoke(app, words).output
    relabel(next(iter(clips)).path, labels[1][1])
    with pytest.raises(ConfigError, match="started with other added clips"):
        CliRunner().invoke(app, words, catch_exceptions=False)
