# SPDX-License-Identifier: Apache-2.0
"""Families, p-values and verdicts of every committed page, found again from the JSON alone.

Nothing of the package's statistics is used: this reads the runs' values, the declared families and
the pages by itself.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "experiments" / "results"
RULE = yaml.safe_load((ROOT / "experiments" / "families.yaml").read_text())
FAMILIES = {
    name: family for name, family in RULE["families"].items() if family["table"] == "m3net/mirrors"
}
XLA = "m3net/{}.paper.xla"
OF_TABLES = {  # a row of table 3, 4 or 5 of the paper -> the model of m3net/mirrors with its runs
    "none": "identity, w/o ECA",
    "+ ECA": "identity",
}


def holm(p_values):
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(order), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(order) - rank)))
        corrected[index] = largest
    return corrected


def runs(cell):
    return {(r["seed"], r["fold"], r.get("split")): r["value"] for r in cell["runs"]}


def both_tests(cell, other):
    """Difference, plain interval, wide interval and both p-values before Holm's correction."""
    own, others = runs(cell), runs(other)
    units = {}
    for key in own.keys() & others.keys():
        units.setdefault(key[1:], {})[key] = own[key] - others[key]
    if len(units) > 1:
        values = [np.mean([*each.values()]) for each in units.values()]
    else:
        values = [value for each in units.values() for value in each.values()]
    count, mean = len(values), float(np.mean(values))
    drawn = RULE["drawn"].get(cell["facts"]["protocol"].split(" ")[0])
    draws = {split for _, split in units}
    ratio = drawn["test"] / drawn["train"] if drawn and len(draws) > 1 else 0
    deviation = np.std(values, ddof=1)
    half = stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count)
    error = deviation * np.sqrt(1 / count + ratio)
    distribution = stats.t(count - 1)
    return {
        "difference": mean,
        "pairs": count,
        "plain": (mean - half, mean + half),
        "wide": (
            mean - half * np.sqrt(1 + count * ratio),
            mean + half * np.sqrt(1 + count * ratio),
        ),
        "p": 2 * distribution.cdf(-abs(mean) / error),
        "p, equivalent": max(
            distribution.sf((mean + RULE["margin"]) / error),
            distribution.cdf((mean - RULE["margin"]) / error),
        ),
    }


def declared():
    """(family, model, split) -> its tests after the correction, and its verdict."""
    report = json.loads((RESULTS / (XLA.format("mirrors") + ".json")).read_text())
    cells = {(c["labels"]["Model"], c["labels"]["Split"]): c for c in report["cells"]}
    found = {}
    for name, family in FAMILIES.items():
        against = family.get("against", report["reference"])
        places = [
            (model, split)
            for product in family["cells"]
            for model in product["Model"]
            for split in product["Split"]
        ]
        rows = []
        for model, split in places:
            other = (against.get("Model", model), against.get("Split", split))
            rows.append(both_tests(cells[model, split], cells[other]))
        for key in ("p", "p, equivalent"):
            for row, p in zip(rows, holm([row[key] for row in rows]), strict=True):
                row[key] = p
        sign = {"below": -1, "above": 1}[family["claim"]]
        for (model, split), row in zip(places, rows, strict=True):
            if row["p, equivalent"] < RULE["level"]:
                row["verdict"] = "equivalent"
            elif row["p"] < RULE["level"]:
                claimed = row["difference"] * sign > 0
                row["verdict"] = "confirmed" if claimed else "contradicted"
            else:
                row["verdict"] = "cannot be judged"
            row["size"] = len(rows)
            found[name, model, split] = row
    return found


DECLARED = declared()


def markdown_table(text, heading):
    below = text.partition(heading)[2] if heading else text
    lines = [line for line in below.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)]


@pytest.mark.parametrize("table", ["mirrors", "table3", "table4", "table5"])
def test_every_page_has_the_same_family_p_and_verdict(table):
    text = (RESULTS / (XLA.format(table) + ".md")).read_text()
    compared = [row for row in markdown_table(text, "## Cells") if row["p"]]
    for row in compared:
        model = OF_TABLES.get(row["Model"], row["Model"])
        split = row.get("Split", "US8K, random")
        expected = DECLARED[row["family"], model, split]
        assert row["verdict"] == expected["verdict"]
        assert row["p, Holm"] == f"{expected['p']:.2g}"
        assert row["p, equivalent"] == f"{expected['p, equivalent']:.2g}"
        low, high = expected["plain"]
        assert row["difference"] == f"{expected['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
        low, high = expected["wide"]
        assert row["overlapping draws"] in ("", f"{low:+.2f} to {high:+.2f}")
        assert bool(row["overlapping draws"]) == (expected["wide"] != expected["plain"])
    named = {(row["family"], OF_TABLES.get(row["Model"], row["Model"])) for row in compared}
    if table == "mirrors":
        judged = {key for key in DECLARED if "against" not in FAMILIES[key[0]]}
        assert len(compared) == len(judged)
    else:
        assert ("mirrors", "identity") in named or table != "table5"


def test_the_claims_have_the_same_verdicts():
    text = (ROOT / "docs/evidence/reproduction.md").read_text()
    rows = markdown_table(text, "<!-- table: claims -->")
    verdicts = {"confirmed", "contradicted", "equivalent", "cannot be judged"}
    assert {row["verdict"] for row in rows} <= verdicts
    checked = 0
    for row in rows:
        labels, _, page = row["compared"].partition("](")
        if page.endswith("mirrors.paper.xla.md)"):
            model, _, split = labels.removeprefix("[").partition(", ")
            family, size, pairs = row["family, size, pairs"].rsplit(", ", 2)
            expected = DECLARED[family, model, split]
            low, high = expected["wide"]
            points = f"{expected['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
            assert row["points, 95 %"].replace("\N{MINUS SIGN}", "-") == points
            assert row["verdict"] == expected["verdict"]
            assert (size, pairs) == (str(expected["size"]), str(expected["pairs"]))
            checked += 1
    assert checked > len(FAMILIES)


@pytest.mark.parametrize(
    ("data", "splits"),
    [
        ("US8K", {2: "US8K, random", 4: "US8K, by recording"}),
        ("SCV2", {2: "SCV2, random", 4: "SCV2, by speaker"}),
    ],
)
def test_the_page_of_the_mirrors_has_the_same_intervals_and_what_counts(data, splits):
    text = (ROOT / "docs/evidence/mirror_attention.md").read_text()
    part = text.partition(f"<!-- table: m3net/mirrors.paper.xla controls {data} -->")[2]
    lines = [line for line in part.partition("<!-- end")[0].splitlines() if line.startswith("|")]
    checked = 0
    for line in lines[3:]:  # after the head and M3Net itself
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for column, split in splits.items():
            printed = cells[column + 1].replace("\N{MINUS SIGN}", "-")
            (row,) = (
                row
                for (family, *place), row in DECLARED.items()
                if place == [cells[0], split] and family != "leak"
            )
            ends = [f"{low:+.2f} to {high:+.2f}" for low, high in (row["plain"], row["wide"])]
            expected = f"{row['difference']:+.2f} ({'; '.join(dict.fromkeys(ends))})"
            assert printed == (f"**{expected}**" if row["p"] < RULE["level"] else expected)
            checked += 1
    assert checked == 2 * (len(lines) - 3)


def test_the_leak_has_the_same_intervals_and_verdicts():
    text = (ROOT / "docs/evidence/mirror_attention.md").read_text()
    rows = markdown_table(text.partition("between leak -->")[2].partition("<!--")[0], "")
    assert len(rows) == 12
    for row in rows:
        expected = DECLARED["leak", row["network"], "US8K, random"]
        (low, high), (wide_low, wide_high) = expected["plain"], expected["wide"]
        assert row["difference"] == f"{expected['difference']:.1f} ({low:.1f} to {high:.1f})"
        assert row["overlapping draws"] == f"{wide_low:.1f} to {wide_high:.1f}"
        assert (row["p, Holm"], row["verdict"]) == (f"{expected['p']:.2g}", expected["verdict"])
