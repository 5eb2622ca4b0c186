# SPDX-License-Identifier: Apache-2.0
"""A head that is fitted on embeddings: what it classifies, and its place in a training."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
from refusals import refuses

from m3net_tf.system.errors import ConfigError
from m3net_tf.training import train
from m3net_tf.training.loop.head import fit_head, fit_sigmoids
from m3net_tf.training.recipe.sections import FineTuningSection
from m3net_tf.training.run import Run


def test_a_head_separates_classes_at_any_scale_and_offset():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 5, 5])
    centres = 3 * np.eye(3, 8)[labels]
    embeddings = centres + 0.3 * rng.standard_normal((50, 8))
    weights, bias = fit_head(embeddings, labels, 3)
    assert ((embeddings @ weights + bias).argmax(axis=1) == labels).all()
    scale = 100.0
    others, other_bias = fit_head(embeddings * scale + 7, labels, 3)
    np.testing.assert_allclose(others * scale, weights, rtol=1e-2, atol=1e-3)
    logits = (embeddings * scale + 7) @ others + other_bias
    np.testing.assert_allclose(logits, embeddings @ weights + bias, rtol=0.02, atol=0.05)


def test_classes_count_equally_however_many_clips_they_have():
    values = np.r_[np.zeros(90), np.ones(10)][:, None] + np.tile([-0.6, 0.6], 50)[:, None]
    labels = np.r_[np.zeros(90, int), np.ones(10, int)]
    weights, bias = fit_head(values, labels, 2)
    middle = -(bias[1] - bias[0]) / (weights[0, 1] - weights[0, 0])
    assert abs(middle - 0.5) < 0.1


def test_windows_and_copies_of_a_clip_count_as_one_clip():
    """Equal rows of a clip change nothing, also not the scale, which predicts whole clips."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 6)
    embeddings = np.eye(2, 5)[labels] + rng.standard_normal((12, 5))
    rows = np.repeat(np.arange(12), np.arange(12) % 4 + 1)
    once = fit_head(embeddings, labels, 2)
    often = fit_head(embeddings[rows], labels[rows], 2, rows)
    for new, old in zip(often, once, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-6)
    truth = np.eye(2, dtype=int)[labels]
    once = fit_sigmoids(embeddings, truth)
    often = fit_sigmoids(embeddings[rows], truth[rows], rows)
    for new, old in zip(often, once, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-6)


def test_one_clip_of_each_class_gives_scores_that_differ():
    """No clip can be predicted without itself, so that the others do not tell how sure to be."""
    rng = np.random.default_rng(0)
    labels = np.arange(10)
    embeddings = np.eye(10)[labels] + 0.1 * rng.standard_normal((10, 10))
    for weights, bias in (
        fit_head(embeddings, labels, 10),
        fit_sigmoids(embeddings, np.eye(10), None),
    ):
        logits = embeddings @ weights + bias
        np.fill_diagonal(others := logits.copy(), -np.inf)
        assert (np.diag(logits) - others.max(axis=1)).min() > 1


def test_a_head_for_several_labels_separates_each_class_from_all_others():
    """Two directions that are independent; a third of the clips have both."""
    rng = np.random.default_rng(0)
    truth = np.array([[1, 0], [0, 1], [1, 1]])[rng.integers(0, 3, 60)]
    truth[:5] = 0
    embeddings = 3.0 * truth @ np.eye(2, 8) + 0.3 * rng.standard_normal((60, 8))
    weights, bias = fit_sigmoids(embeddings, truth)
    logits = embeddings @ weights + bias
    assert ((logits > 0) == truth).all() and np.abs(logits).max() < 20
    rare = np.column_stack([truth, np.arange(60) < 5])  # a class of its own for the empty clips
    others, other_bias = fit_sigmoids(embeddings, rare)
    np.testing.assert_allclose(others[:, :2] / others[0, 0], weights / weights[0, 0], atol=1e-9)
    assert ((embeddings @ others + other_bias > 0) == rare)[:, :2].all()


def test_the_first_epoch_fits_the_head_and_leaves_the_body(tiny_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    tuned = dataclasses.replace(
        recipe,
        fine_tuning=FineTuningSection(run=str(tiny_run), fit_head=True),
        training=dataclasses.replace(recipe.training, epochs=1),
    )
    metrics = train(tuned, tmp_path / "head")
    frozen = metrics.values["fine_tuning"]["layers_frozen"]
    assert frozen and all(name.endswith("bn") for name in frozen)
    before = {layer.name: layer for layer in Run(tiny_run).load_model().layers}
    after = {layer.name: layer for layer in Run(tmp_path / "head").load_model().layers}
    for name, layer in after.items():
        pairs = zip(layer.get_weights(), before[name].get_weights(), strict=True)
        assert all(np.array_equal(new, old) for new, old in pairs) == (name != "dense")
    (row,) = csv.DictReader((tmp_path / "head" / "history.csv").read_text().splitlines())
    assert float(row["loss"]) < np.log(10)  # of ten classes without knowledge


def test_a_head_to_fit_needs_a_body_and_one_label_a_clip():
    with refuses(ConfigError, "fine_tuning.fit_head", "fine_tuning.run"):
        FineTuningSection(fit_head=True)
