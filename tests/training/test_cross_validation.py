# SPDX-License-Identifier: Apache-2.0
"""Cross-validation over folds of whole groups, and clips that count once with all their windows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses
from typer.testing import CliRunner

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.audio.frontend import features_int8
from m3net_tf.cli import app
from m3net_tf.runtime.classifier import mean_of_windows
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Recipe, Run
from m3net_tf.training.clips.checks import check_training
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.cross_validation import clustered_interval, fold_recipe
from m3net_tf.training.recipe import recipe_with_added
from m3net_tf.training.scoring.evaluation import evaluate, predict, score
from m3net_tf.training.scoring.metrics import wilson_interval
from m3net_tf.training.scoring.windows import whole_scores

LABELS = ("_silence_", "bark", "sneeze")


def mean_of(scores: list[list[float]], labels: Sequence[str] = LABELS) -> np.ndarray:
    """Mean of windows of one second that overlap by half."""
    return mean_of_windows(np.array(scores), labels, 0.5 * np.arange(len(scores)), 1.0)


def test_a_short_sound_is_not_outvoted_by_its_pauses():
    sneeze = [0.01, 0.1, 0.89]
    pause = [0.8, 0.1, 0.1]
    for pauses in (1, 4, 9):
        scores = mean_of([sneeze, *[pause] * pauses])
        assert scores.argmax() == 2 and scores.sum() == pytest.approx(1)
    assert mean_of([pause, pause]) == pytest.approx(pause)
    # One false alarm in a minute of silence does not decide either.
    assert mean_of([[0.4, 0.0, 0.6], *[pause] * 58]).argmax() == 0
    assert mean_of([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).tolist() == [1.0, 0.0, 0.0]
    assert mean_of([[0.2, 0.8], [0.4, 0.6]], ("a", "b")) == pytest.approx([0.3, 0.7])


def test_the_last_window_counts_by_what_it_adds():
    """Of a sound of 2.05 windows, the last tenth of a window weighs a tenth."""
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    mean = mean_of_windows(scores, ("a", "b"), [0.0, 0.5, 1.0, 1.05], 1.0)
    assert mean == pytest.approx([3 / 3.1, 0.1 / 3.1])


def windowed() -> FeatureSet:
    """Two windows of a sneeze, the second without sound, and a short bark."""
    clips = [
        Clip("s@0", "sneeze", "test", "s", whole="s"),
        Clip("b", "bark", "test", "b"),
        Clip("s@1", "sneeze", "test", "s", whole="s"),
    ]
    return FeatureSet(tuple(clips), np.array([2, 1, 2], np.int32), np.zeros((1, 3, 4, 5), np.int8))


def test_windows_count_as_one_clip(monkeypatch):
    clips = windowed()
    scores = np.array([[0.0, 0.1, 0.9], [0.1, 0.5, 0.4], [0.8, 0.1, 0.1]], np.float32)
    wholes, first = whole_scores(scores, clips.clips, LABELS)
    assert first.tolist() == [0, 1] and wholes.argmax(1).tolist() == [2, 1]
    assert score(scores, clips, LABELS)[0] == 1.0
    monkeypatch.setattr("m3net_tf.training.scoring.evaluation.predict_originals", lambda *_: scores)
    figures = evaluate(None, clips, LABELS)[1]
    assert figures["clips"] == 2 and figures["accuracy"] == 1.0
    unchanged, rows = whole_scores(scores[:2], clips.clips[:2], LABELS)
    assert (
        unchanged is not None and np.array_equal(unchanged, scores[:2]) and rows.tolist() == [0, 1]
    )


def test_the_interval_is_wider_where_groups_are_right_or_wrong_together():
    right = np.array([True] * 30 + [False] * 10)
    alone = clustered_interval(right, [str(i) for i in range(40)])
    assert alone == pytest.approx(wilson_interval(30, 40), abs=0.005)
    low, high = clustered_interval(right, [str(i // 10) for i in range(40)])
    assert low < alone[0] - 0.1 and high > alone[1] + 0.05
    assert clustered_interval(np.ones(20, bool), ["a"] * 20) == wilson_interval(20, 20)
    shares = np.full(40, 0.75)  # of several trials
    assert clustered_interval(shares, ["a"] * 40) == wilson_interval(30, 40)


def recipe_of(protocol: str, name: str = "folder") -> Recipe:
    return Recipe.from_dict(
        {
            "dataset": {
                "name": name,
                "options": {"silence_percentage": 20} if name == "folder" else {},
            },
            "model": {"name": "m3net", "preset": "mcu"},
            "augmentation": {"copies": 2},
            "training": {"epochs": 20, "batch_size": 4, "cross_validation": protocol},
        }
    )


def test_the_key_leaves_hashes_and_added_clips_alone(tmp_path: Path):
    plain = recipe_of("")
    validated = recipe_of("grouped-5fold")
    assert "cross_validation" not in plain.hashed_values()["training"]
    assert plain.hashed_values() != validated.hashed_values()
    fold = fold_recipe(validated, 3)
    assert (fold.dataset.protocol, fold.dataset.fold) == ("grouped-5fold", 3)
    assert fold.training == dataclasses.replace(validated.training, cross_validation="")
    assert recipe_with_added(validated, tmp_path, []).training.cross_validation == ""


def test_a_protocol_without_folds_is_refused():
    dataset = load_dataset("synth", clips_per_class=6)
    with refuses(ConfigError, "training.cross_validation", "'grouped'"):
        check_training(recipe_of("grouped", "synth"), dataset)


@pytest.mark.slow
def test_all_clips_are_tested_and_a_zero_sound_is_silence(tmp_path: Path, private_cache):
    rng = np.random.default_rng(0)
    for number in range(10):
        for label, wave in (("hiss", rng.standard_normal(16_000) / 8), ("tone", None)):
            path = tmp_path / "sounds" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            tone = 0.3 * np.sin(np.arange(16_000) * (0.2 + 0.01 * number))
            soundfile.write(path, tone if wave is None else wave, 16_000)
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe_of("grouped-5fold").to_dict()))
    words = ["train", str(tmp_path / "recipe.yaml"), "--run", str(tmp_path / "run")]
    words += ["--data-dir", str(tmp_path / "sounds")]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "fold 5 of 5" in said and "on all 20 clips, grouped-5fold, speakers unknown" in said
    result = json.loads((tmp_path / "run" / "cross_validation.json").read_text())
    assert result["clips"] == 20 and len(result["fold_accuracy"]) == 5
    assert result["accuracy_95_low"] < result["accuracy"] and result["accuracy"] > 0.8
    again = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "already trained" in again and again.splitlines()[-1] == said.splitlines()[-1]
    run = Run(tmp_path / "run")
    zeros = features_int8(run.recipe().frontend, np.zeros(16_000))[None, ..., None]
    labels = run.dataset(None).info.labels
    assert labels[int(predict(run.load_model(), zeros).argmax())] == "_silence_"
