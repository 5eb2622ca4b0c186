# SPDX-License-Identifier: Apache-2.0
"""Clips of several labels each, from their table to the mean average precision."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from m3net_tf.training import Recipe, Run, train
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.scoring.evaluation import predict
from m3net_tf.training.scoring.metrics import (
    MultiLabelEvaluation,
    average_precision,
    best_thresholds,
)

pytestmark = pytest.mark.usefixtures("private_cache")

LABELS = ("Bell", "Clock", "Rain")


def sound(label: str, rng: np.random.Generator) -> np.ndarray:
    """Half a second of a tone, of clicks or of noise."""
    time_s = np.arange(4000) / 8000
    if label == "Bell":
        return 0.1 * np.sin(2 * np.pi * rng.uniform(500, 1500) * time_s)
    if label == "Clock":
        return 0.8 * (np.arange(4000) % 500 == rng.integers(500))
    return 0.1 * rng.standard_normal(4000)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """FSD50K's layout in small: three classes, of which a clip has one or two."""
    root = tmp_path_factory.mktemp("fsd50k")
    rng = np.random.default_rng(0)
    dev = [("fname", "labels", "mids", "split")]
    evaluation = [("fname", "labels", "mids")]
    for number in range(96):
        labels = rng.permutation(LABELS)[: rng.integers(1, 3)].tolist()
        wave = 0.001 * rng.standard_normal(4000) + sum(sound(label, rng) for label in labels)
        tested = number % 6 > 3
        folder = root / f"FSD50K.{'eval' if tested else 'dev'}_audio"
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{number}.wav", wave, 8000, subtype="PCM_16")
        if tested:
            evaluation.append((number, ",".join(labels), ""))
        else:
            dev.append((number, ",".join(labels), "", "val" if number % 5 == 0 else "train"))
    tables = root / "FSD50K.ground_truth"
    tables.mkdir()
    vocabulary = [(number, name, f"/m/{number}") for number, name in enumerate(LABELS)]
    for name, rows in (("dev", dev), ("eval", evaluation), ("vocabulary", vocabulary)):
        with (tables / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def recipe(tiny_recipe) -> Recipe:
    return tiny_recipe(
        dataset={"name": "fsd50k", "options": {"clip_s": 0.5, "sample_rate_hz": 8000}},
        model={"name": "ds_cnn", "arguments": {}},
        frontend={"sample_rate_hz": 8000, "mel_max_hz": 4000.0, "hop_samples": 256},
        augmentation={"copies": 0, "mixup_probability": 0.3},
        training={
            "epochs": 12,
            "batch_size": 8,
            "label_smoothing": 0.0,
            "learning_rate": 1e-2,
            "weight_average": 0.0,
        },
    )


@pytest.fixture(scope="module")
def run(private_cache, recipe, sounds, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "sounds"
    lines: list[str] = []
    train(recipe, folder, sounds, lines.append)
    assert any("validation mAP" in line for line in lines)
    return Run(folder)


def test_sounds_are_separated(run):
    metrics = run.metrics().values
    assert metrics["test"]["clips"] == 32
    assert metrics["test"]["mean_average_precision"] > 0.9  # by chance about 0.5
    assert set(metrics["test"]["average_precision"]) == set(LABELS)
    assert "accuracy" not in metrics["test"]
    assert not (run.folder / "confusion_matrix.csv").exists()


def test_the_kept_network_is_the_best_epochs_by_map(run, sounds):
    rows = list(csv.DictReader((run.folder / "history.csv").read_text().splitlines()))
    best = max(rows, key=lambda row: (float(row["validation_map"]), -float(row["validation_loss"])))
    metrics = run.metrics().values
    assert int(best["epoch"]) == metrics["best_epoch"]
    features = compute_features(run.dataset(sounds), "validation", run.recipe().frontend)
    assert features.matrix is not None and features.matrix.sum() > len(features.clips)
    probabilities = predict(run.load_model(), features.clean)
    assert not np.allclose(probabilities.sum(1), 1, atol=0.01)  # no softmax
    score = average_precision(features.matrix, probabilities).mean()
    assert metrics["validation"]["mean_average_precision"] == pytest.approx(score)
    assert float(best["validation_map"]) == pytest.approx(score, abs=1e-5)
    likely = np.where(features.matrix, probabilities, 1 - probabilities)
    assert float(best["validation_loss"]) == pytest.approx(-np.log(likely).mean(), rel=1e-3)


def test_a_threshold_has_the_best_f1():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (50, 4))
    scores = np.round(np.clip(0.3 * truth + rng.uniform(0, 0.7, (50, 4)), 0, 1), 2)

    def f1(label: int, threshold: float) -> float:
        answers = scores[:, label] >= threshold
        found = (answers & (truth[:, label] == 1)).sum()
        return 2 * found / (answers.sum() + truth[:, label].sum())

    for label, threshold in enumerate(best_thresholds(truth, scores)):
        tried = [f1(label, each) for each in np.linspace(0, 1, 1001)]
        assert f1(label, threshold) == max(tried)
        assert not np.isclose(scores[:, label], threshold).any()  # halfway between two
        lowest = min(score for score in scores[:, label] if score >= threshold)
        higher = [score for score in scores[:, label] if score > lowest]
        assert max(f1(label, score) for score in higher) < max(tried)


def test_a_threshold_can_be_reached_by_int8_scores():
    truth = np.array([[1, 1, 0, 1], [1, 0, 0, 0]])
    scores = np.array([[0.9999, 0.0, 0.5, 0.8], [0.9998, 0.0, 0.1, 0.2]])
    assert best_thresholds(truth, scores).tolist() == [0.4999, 1 / 256, 0.5, 0.5]
    sure = np.array([[1.0], [0.9999]])
    assert best_thresholds(np.array([[1], [0]]), sure).tolist() == [255 / 256]
    figures = MultiLabelEvaluation(truth, scores, ("a", "b", "none", "d")).by_class({"d": 0.9})
    assert figures["none"]["recall"] is None and figures["none"]["precision"] == 0
    assert figures["d"] == {
        **{"clips": 1, "average_precision": 1.0, "threshold": 0.9},
        **{"precision": None, "recall": 0.0},
    }


@pytest.mark.slow
def test_a_teacher_of_several_labels(run, recipe, sounds, tmp_path):
    values = recipe.to_dict()
    values["distillation"] = {"run": str(run.folder), "weight": 1.0}  # no label is used
    values["training"]["seed"] = 1
    metrics = train(Recipe.from_dict(values), tmp_path / "run", sounds).values
    assert metrics["test"]["mean_average_precision"] > 0.8
