# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a table's comparisons, by the families and margins of ``experiments/families.yaml``.

The file has the rule. The p-values and intervals of Nadeau and Bengio's correction are here; plain
ones are in :mod:`m3net_tf.lab.studies.statistics`.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from m3net_tf.lab.studies.statistics import compare, holm, paired_values, unit_means
from m3net_tf.lab.studies.table_record import CellValues, TableReport, read_table
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.yaml_files import read_yaml

FILE = "families.yaml"
VERDICTS = ("confirmed", "contradicted", "equivalent", "cannot be judged")
_SIGNS = {"above": 1, "below": -1}


class Verdict(TypedDict):
    """A comparison as its family judges it.

    Attributes:
        size: comparisons of the family.
        pairs: folds, draws or runs that the difference is a mean of.
        difference: its mean in points.
        low: lower end of its 95 % interval by Student's t; None for a single pair.
        high: its upper end.
        wide_low: lower end for overlapping draws; None where none overlap.
        wide_high: its upper end.
        p: two-sided p of the difference, after Holm's correction.
        p_equivalent: p of the two one-sided tests against the margin, after Holm's correction.
        verdict: ``confirmed``, ``contradicted``, ``equivalent`` or ``cannot be judged``; empty
            where a table makes no claim.
    """

    family: str
    size: int
    pairs: int
    difference: float
    low: float | None
    high: float | None
    wide_low: float | None
    wide_high: float | None
    p: float
    p_equivalent: float
    verdict: str


@dataclasses.dataclass(frozen=True)
class _Shares:
    """Training and test clips of a split, in percent."""

    train: float
    test: float


@dataclasses.dataclass(frozen=True)
class Family:
    """Comparisons that answer one question together.

    Attributes:
        cells: products of labels by axis.
        against: labels of the other cell of each comparison; empty for the table's reference.
        claim: where the cells lie, as the paper says.
    """

    question: str
    table: str
    cells: tuple[dict[str, tuple[str, ...]], ...]
    claim: Literal["above", "below"]
    against: dict[str, str] = dataclasses.field(default_factory=dict)

    def has(self, cell: CellValues) -> bool:
        """Whether a cell belongs to the family."""
        return any(
            all(cell["labels"][axis] in labels for axis, labels in product.items())
            for product in self.cells
        )


@dataclasses.dataclass(frozen=True)
class Rule:
    """The content of the file.

    Attributes:
        level: below this p a test decides.
        margin: points within which two accuracies are equivalent.
        drawn: protocol -> shares of its parts.
    """

    level: float
    margin: float
    drawn: dict[str, _Shares]
    families: dict[str, Family]


@dataclasses.dataclass(frozen=True)
class _Test:
    """A comparison before the correction over its family; without pairs, all is None or 1.

    Attributes:
        claim: the claimed sign of the difference, 0 for equality; None without a claim.
    """

    claim: int | None
    pairs: int = 0
    difference: float = 0.0
    plain: tuple[float | None, float | None] = (None, None)
    wide: tuple[float | None, float | None] = (None, None)
    p: float = 1.0
    p_equivalent: float = 1.0


@functools.cache
def rule() -> Rule:
    """The rule of the source checkout.

    Raises:
        ConfigError: there is no source checkout, or the file is wrong.
    """
    return from_plain(Rule, read_yaml(require_sources("experiments") / FILE), FILE)


def family_verdicts(report: TableReport, name: str) -> list[Verdict | None]:
    """The verdict of a declared family on each cell of its table; None for all other cells."""
    family = rule().families[name]
    tests: dict[int, _Test] = {}
    for number, cell in enumerate(report["cells"]):
        other = _other(report, cell, family.against)
        if family.has(cell) and _compared(cell, other):
            tests[number] = _test(cell, other, _SIGNS[family.claim])
    verdicts = dict(zip(tests, _judged(name, [*tests.values()]), strict=True))
    return [verdicts.get(number) for number in range(len(report["cells"]))]


def cell_verdicts(report: TableReport, stem: Path) -> list[Verdict | None]:
    """The verdict on each cell of a table against its reference; None without a comparison.

    Args:
        stem: the table's path without its ending. Beside it are the tables that share runs with it.
    """
    found = dict(_declared(report, stem))
    verdicts = [found.get(_runs_of(report, cell)) for cell in report["cells"]]
    own = [
        number
        for number, cell in enumerate(report["cells"])
        if verdicts[number] is None and _compared(cell, _other(report, cell, {}))
    ]
    tests = [_own_test(report, report["cells"][number]) for number in own]
    for number, verdict in zip(own, _judged(report["table"], tests), strict=True):
        verdicts[number] = verdict
    return verdicts


_Runs = tuple[frozenset[str], frozenset[str], str]


def _declared(report: TableReport, stem: Path) -> Iterator[tuple[_Runs, Verdict]]:
    """The verdicts of all declared families of this scale and overlay, by the compared runs."""
    suffix = stem.name.partition(".")[2]
    tables: dict[str, TableReport] = {report["table"]: report}
    for name, family in rule().families.items():
        path = stem.parent.parent / f"{family.table}.{suffix}.json"
        if family.table not in tables and path.exists():
            tables[family.table] = read_table(path)
        if family.against or family.table not in tables:
            continue
        table = tables[family.table]
        for cell, verdict in zip(table["cells"], family_verdicts(table, name), strict=True):
            if verdict:
                yield _runs_of(table, cell), verdict


def _runs_of(report: TableReport, cell: CellValues) -> _Runs:
    """The recipes of a cell and of its reference, and its metric."""
    other = _other(report, cell, {})
    return _recipes(cell), _recipes(other) if other else frozenset(), cell["metric"]


def _recipes(cell: CellValues) -> frozenset[str]:
    return frozenset(run["recipe_sha256"] for run in cell["runs"])


def _other(report: TableReport, cell: CellValues, against: Mapping[str, str]) -> CellValues | None:
    """The cell that a cell is compared with; None if there is none or it is the cell itself.

    Args:
        against: labels of it; empty for the table's reference.
    """
    labels = {**cell["labels"], **(against or report["reference"])}
    if labels == cell["labels"]:
        return None
    return next((other for other in report["cells"] if other["labels"] == labels), None)


def _compared(cell: CellValues, other: CellValues | None) -> bool:
    """Whether a cell is a comparison: not a copy, a quotation, an average or a cost.

    It has two pairs of runs, or has several that are not trained yet.
    """
    if other is None or "." in cell["metric"] or cell["quoted"]:
        return False
    if cell["runs"] and _recipes(cell) == _recipes(other):
        return False
    pairs, *_ = paired_values(cell, other)
    waiting = max(each.get("missing", 0) for each in (cell, other))
    return len(pairs) + waiting > 1


def _own_test(report: TableReport, cell: CellValues) -> _Test:
    """The test of a comparison that no declared family has: its claim is the paper's difference."""
    other = _other(report, cell, {})
    claim = None
    if other and cell["paper"] is not None and other["paper"] is not None:
        claim = int(np.sign(cell["paper"] - other["paper"]))
    return _test(cell, other, claim)


def _test(cell: CellValues, other: CellValues | None, claim: int | None) -> _Test:
    """Test a cell against another one."""
    own, others, data = paired_values(cell, other) if other else ([], [], [])
    comparison = compare(own, others, data)
    if comparison is None:
        return _Test(claim)
    differences = unit_means(np.subtract(own, others).tolist(), data)
    mean, count = comparison["difference"], len(differences)
    test = _Test(claim, count, mean, (comparison["low"], comparison["high"]))
    deviation = float(np.std(np.round(differences, 9), ddof=1)) if count > 1 else 0.0
    if not deviation:
        return test
    from scipy import stats  # takes a second to import

    ratio = _overlap(cell, {draw for _, draw in data})
    error = deviation * math.sqrt(1 / count + ratio)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    margin = rule().margin
    return dataclasses.replace(
        test,
        wide=(mean - half, mean + half) if ratio else (None, None),
        p=2 * float(stats.t.sf(abs(mean) / error, count - 1)),
        p_equivalent=float(stats.t.sf((margin - abs(mean)) / error, count - 1)),
    )


def _overlap(cell: CellValues, draws: set[int | None]) -> float:
    """Test clips divided by training clips, where a cell has several draws of its split."""
    if len(draws) < 2:
        return 0.0
    shares = rule().drawn.get(cell.get("facts", {})["protocol"].partition(" ")[0])
    return shares.test / shares.train if shares else 0.0


def _judged(family: str, tests: Sequence[_Test]) -> Iterator[Verdict | None]:
    """The verdicts on the comparisons of a family; None for one without pairs."""
    corrected = zip(
        tests,
        holm([test.p for test in tests]),
        holm([test.p_equivalent for test in tests]),
        strict=True,
    )
    for test, p, p_equivalent in corrected:
        yield (
            {
                "family": family,
                "size": len(tests),
                "pairs": test.pairs,
                "difference": test.difference,
                "low": test.plain[0],
                "high": test.plain[1],
                "wide_low": test.wide[0],
                "wide_high": test.wide[1],
                "p": p,
                "p_equivalent": p_equivalent,
                "verdict": _verdict(test, p, p_equivalent),
            }
            if test.pairs
            else None
        )


def _verdict(test: _Test, p: float, p_equivalent: float) -> str:
    if test.claim is None:
        return ""
    if p_equivalent < rule().level:
        return "equivalent"
    if p >= rule().level:
        return "cannot be judged"
    return "confirmed" if test.difference * test.claim > 0 else "contradicted"
