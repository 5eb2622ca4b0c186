# SPDX-License-Identifier: Apache-2.0
"""Verdicts on small tables: the four of them, copies of the reference, missing runs, draws."""

import pytest

from m3net_tf.lab.studies.families import cell_verdicts

NOISE = (-0.2, -0.1, 0.0, 0.1, 0.2, 0.0)


def cell(model, values, *, paper=None, missing=0, copy=None, drawn=False):
    runs = [
        {
            "seed": seed,
            "fold": None,
            **({"split": seed} if drawn else {}),
            "value": value,
            "recipe_sha256": f"{copy or model}{seed}",
            "run": "",
        }
        for seed, value in enumerate(values)
    ]
    return {
        "labels": {"Model": model},
        "metric": "accuracy",
        "paper": paper,
        "quoted": False,
        "facts": {"protocol": "grouped (folds 1, 2 of 10)"},
        "runs": runs,
        **({"missing": missing} if missing else {}),
    }


def verdicts(tmp_path, *cells):
    report = {"table": "some/table", "reference": {"Model": "whole"}, "cells": [*cells]}
    return cell_verdicts(report, tmp_path / "some" / "table.small")


def around(mean, spread=1.0):
    return [mean + spread * each for each in NOISE]


def whole(**options):
    return cell("whole", [80.0] * 6, paper=90, **options)


@pytest.mark.parametrize(
    ("values", "paper", "verdict"),
    [
        (around(75), 85, "confirmed"),
        (around(75), 95, "contradicted"),
        (around(75), 90, "contradicted"),  # the paper says that they are equal
        (around(80.2), 85, "equivalent"),
        (around(80.2), 90, "equivalent"),
        (around(78, 20), 85, "cannot be judged"),
        (around(80, 20), 85, "cannot be judged"),
        (around(75), None, ""),
    ],
)
def test_the_verdict_of_a_difference(tmp_path, values, paper, verdict):
    reference, judged = verdicts(tmp_path, whole(), cell("less", values, paper=paper))
    assert reference is None and judged["verdict"] == verdict
    assert (judged["family"], judged["size"]) == ("some/table", 1)


def test_copies_and_single_runs_leave_the_family_and_missing_runs_do_not(tmp_path):
    cells = [
        whole(),
        cell("less", around(79.7), paper=85),
        cell("copy", [80.0] * 6, copy="whole"),
        cell("later", [], paper=85, missing=6),
        cell("once", [75.0], paper=85),
    ]
    _, less, *others = verdicts(tmp_path, *cells)
    assert others == [None] * 3 and less["size"] == 2
    alone = verdicts(tmp_path, *cells[:2])[1]
    assert less["p"] == pytest.approx(2 * alone["p"])


def test_overlapping_draws_widen_the_interval_and_p(tmp_path):
    both = [
        verdicts(tmp_path, whole(drawn=drawn), cell("less", around(79.7), paper=85, drawn=drawn))[1]
        for drawn in (False, True)
    ]
    one, several = both
    assert one["wide_low"] is None and one["p"] < several["p"]
    narrow, wide = several["high"] - several["low"], several["wide_high"] - several["wide_low"]
    assert wide / narrow == pytest.approx(3**0.5)  # six draws of 60 : 20 per cent: 1 + 6 / 3
    assert (one["low"], one["high"]) == (several["low"], several["high"])
