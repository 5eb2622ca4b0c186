# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from m3net_tf.training.scoring.metrics import (
    Evaluation,
    MultiLabelEvaluation,
    confusion_matrix,
    d_prime,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("hits", "trials"), [(0, 10), (10, 10), (1, 1), (0, 1), (5, 10), (297, 347), (1, 1000)]
)
def test_interval_same_as_scipy(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(confidence_level=0.95, method="wilson")
    # 1e-15: at 0 and at 1 a bound is a difference of equal numbers.
    np.testing.assert_allclose(
        wilson_interval(hits, trials), (expected.low, expected.high), rtol=1e-12, atol=1e-15
    )


def test_interval_of_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_confusion_matrix_counts_truth_down_and_predictions_across():
    matrix = confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 2], 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])


def test_summary():
    evaluation = Evaluation.of([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 2, 2], ["a", "b", "c", "d"])
    assert evaluation.clips == 6
    assert evaluation.accuracy == pytest.approx(4 / 6)
    summary = evaluation.to_dict()
    assert summary["recall"] == {
        "a": pytest.approx(1 / 2),
        "b": pytest.approx(1),
        "c": pytest.approx(2 / 3),
    }  # no clip of d: no recall of d
    assert summary["macro_recall"] == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    assert summary["macro_precision"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert summary["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 4 / 5) / 3)
    assert (summary["accuracy_95_low"], summary["accuracy_95_high"]) == wilson_interval(4, 6)


def test_summary_of_nothing():
    none = np.zeros(0, np.int32)
    summary = Evaluation.of(none, none, ["a", "b"]).to_dict()
    assert summary["clips"] == 0
    assert summary["accuracy"] == summary["macro_f1"] == 0.0


def test_separation_of_scores():
    assert d_prime(0.5) == 0
    assert d_prime(0.968) == pytest.approx(np.sqrt(2) * norm.ppf(0.968))
    assert d_prime(1.0) is None and d_prime(None) is None


def test_summary_of_several_labels():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    scores = np.array([[0.9, 0.1, 0.6], [0.4, 0.8, 0.1], [0.6, 0.7, 0.1], [0.1, 0.1, 0.1]])
    summary = MultiLabelEvaluation(truth, scores, ("a", "b", "c")).to_dict()
    assert summary["clips"] == 4
    assert summary["average_precision"] == {
        "a": pytest.approx((1 + 2 / 3) / 2),  # at ranks 1 and 3
        "b": pytest.approx(1),
    }  # no clip of c
    assert summary["mean_average_precision"] == pytest.approx((5 / 6 + 1) / 2)
    assert summary["mean_auc"] == pytest.approx((3 / 4 + 1) / 2)
    assert summary["d_prime"] == pytest.approx(d_prime(7 / 8))
    assert summary["macro_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert summary["macro_precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert summary["macro_f1"] == pytest.approx((1 / 2 + 1) / 2)


def test_several_labels_of_nothing():
    none = MultiLabelEvaluation(np.zeros((3, 2)), np.full((3, 2), 0.2), ("a", "b"))
    assert none.mean_average_precision == none.to_dict()["macro_f1"] == 0.0
    assert none.mean_auc is None
