# SPDX-License-Identifier: Apache-2.0
"""A table's JSON as CSV, Markdown and LaTeX, beside the paper's values."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from m3net_tf.lab.studies.families import FILE, Verdict, cell_verdicts, rule
from m3net_tf.lab.studies.report_files import Page
from m3net_tf.lab.studies.statistics import EXACT_PAIRS, FEWEST_PAIRS, data_of
from m3net_tf.lab.studies.table_record import CellValues, RunValues, TableReport
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.processor import Computer, arithmetic, in_words
from m3net_tf.system.words import counted
from m3net_tf.system.yaml_files import read_yaml

_ABOUT = {
    "tiny": "Built-in sounds, few clips, one epoch: it only shows that everything runs.",
    "small": "Small real subsets, short trainings: compare within the table, not with the paper.",
    "paper": "Data, protocol and training as in the paper, as far as it describes them.",
}
_UNTRAINED = "Nothing is trained. Compare networks, not machines."
_NOT_COMPARABLE = " Values of another split or of other data say nothing about ours."
_LEAKS = "† This split leaks: training and test clips share recordings or speakers."
_QUOTED = " Rivals are quoted from the paper, each with the split of its own paper."
_CSV = [
    *("metric", "paper", "paper_differs", "seed", "fold", "split", "value", "validation"),
    *("dataset", "protocol", "leaking", "parameters", "macs", "best_epoch", "threads"),
    *("arithmetic", "training_s", "git_commit", "recipe_sha256", "subset_sha256", "run", "error"),
]
_FROM_FAMILIES = ("overlapping draws", "p, Holm", "p, equivalent", "verdict", "family")
_TRAINED_ON = "trained_on.yaml"
_WHOLE_NUMBERS = ("seed", "fold", "split", "parameters", "macs", "best_epoch", "threads")


def cells_in_words(report: TableReport) -> str:
    """What the cells of a table are, in one line."""
    metrics = sorted({_title(cell["metric"]) for cell in report["cells"] if cell["runs"]})
    if not metrics:
        return f"in brackets the paper's value. {_UNTRAINED}"
    about = _ABOUT[report["scale"]]
    return f"{' or '.join(metrics)}, the mean of our runs; in brackets the paper's value. {about}"


def table_rows(report: TableReport) -> pd.DataFrame:
    """One line per run, and one per cell without runs."""
    rows, labels = [], []
    for cell in report["cells"]:
        own = [_csv_run(cell, run) for run in cell["runs"]] or [_csv_untrained(cell)]
        paper = {"paper": cell["paper"], "paper_differs": _paper_differs(cell)}
        rows += [{"metric": cell["metric"], **paper, **row} for row in own]
        labels += [cell["labels"]] * len(own)
    frame = labelled(rows, labels, list(report["axes"]), _CSV)
    frame = frame.astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64"))
    if frame["split"].isna().all():
        frame = frame.drop(columns="split")
    return frame


def labelled(
    rows: Sequence[Mapping[str, object]],
    labels: Sequence[Mapping[str, str]],
    axes: list[str],
    columns: list[str] | None = None,
) -> pd.DataFrame:
    """A frame of rows whose index has the labels of their cells.

    Args:
        labels: the labels of each row, by axis.
    """
    values = [[own[axis] for own in labels] for axis in axes]
    index = pd.MultiIndex.from_arrays(values, names=axes) if axes else None
    return pd.DataFrame(rows, index, columns)


def _csv_run(cell: CellValues, run: RunValues) -> dict[str, object]:
    metrics = run.get("metrics", {})
    data = metrics.get("dataset", {})
    validation = metrics.get("validation", {}).get(cell["metric"])
    return {
        **metrics,
        **run,
        "validation": None if validation is None else 100 * validation,
        "dataset": data.get("name"),
        "protocol": data.get("protocol"),
        "leaking": data.get("leaking"),
        "subset_sha256": data.get("subset_sha256"),
        "arithmetic": arithmetic(metrics.get("computers", ())) if metrics else None,
    }


def _csv_untrained(cell: CellValues) -> dict[str, object]:
    """A measured, averaged or quoted cell."""
    facts = cell.get("facts", {})
    return {
        "value": cell["ours"]["mean"] if cell["ours"] else None,
        "parameters": facts.get("parameters"),
        "macs": facts.get("macs"),
        "error": cell.get("error")
        or ("quoted" if cell["quoted"] else "not trained" if "missing" in cell else ""),
    }


def table_page(report: TableReport, grid: Path, stem: Path) -> Page:
    """The table with the paper's values, its statistical tests, its failures and how it was made.

    Args:
        stem: the file's path without its ending; links are relative to it.
    """
    cells = report["cells"]
    trained = any(cell["runs"] for cell in cells)
    several = any(len(set(map(data_of, cell["runs"]))) > 1 for cell in cells)
    drawn = any("split" in run for cell in cells for run in cell["runs"])
    verdicts = cell_verdicts(report, stem)
    about = _ABOUT[report["scale"]] if trained else _UNTRAINED
    page: list[str | pd.DataFrame] = [
        f"# {report['paper_table']}: {report['title']}",
        "",
        f"{report['paper']}. Scale `{report['scale']}`. {about}",
        "",
        ("Mean ± standard deviation over the runs; in" if trained else "In")
        + " brackets the paper's value."
        + (_NOT_COMPARABLE if any(map(_paper_differs, cells)) else "")
        + (_QUOTED if any(cell["quoted"] for cell in cells) else ""),
        "",
        _as_printed(report),
        "## Cells",
        "",
        _details(report, verdicts),
        *([_LEAKS, ""] if any(map(_leaks, cells)) else []),
    ]
    if report["reference"]:
        labels = ", ".join(f"{axis}: {label}" for axis, label in report["reference"].items())
        tests = [cell["against_reference"] for cell in cells]
        pairs = "seed, fold and draw of the split" if drawn else "seed and fold"
        many = any(test["pairs"] > EXACT_PAIRS for test in tests if test)
        page += [
            f"Compared with {labels}, paired by {pairs}: mean difference with its 95 % "
            "interval by Student's t, and p by Wilcoxon's signed-rank test (two-sided, exact"
            f"{f' up to {EXACT_PAIRS} pairs' if many else ''}). "
            f"With fewer than {FEWEST_PAIRS} pairs p cannot fall below 0.05; the smallest possible "
            "value is then given in brackets.",
            "",
            *_judgement(verdicts, stem),
        ]
    if trained:
        over = (
            "over the folds or draws of a split, of which it takes the means, over the runs where "
            "there is only one"
            if several
            else "over the runs"
        )
        page += [
            f"95 %: confidence interval, by Student's t {over}, or by Wilson over the clips "
            "of a single run.",
            "",
        ]
    page += [*_failures(cells), "## How", "", *_provenance(report, grid, stem)]
    return page


def _judgement(verdicts: Sequence[Verdict | None], stem: Path) -> list[str]:
    """What the columns say that come from the families of comparisons."""
    found = [verdict for verdict in verdicts if verdict]
    sizes = {verdict["family"]: verdict["size"] for verdict in found}
    if not sizes:
        return []
    families = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    file = recipes_link(require_sources("experiments") / FILE, stem)
    wide = (
        " Overlapping draws: the interval by Nadeau and Bengio's correction, which p, Holm and the "
        "verdict take; it holds for other draws of the same clips."
        if any(verdict["wide_low"] is not None for verdict in found)
        else ""
    )
    equivalent = (
        " p, equivalent: by two one-sided t tests against a margin of "
        f"{counted(round(rule().margin), 'point')}, corrected in the same way."
        if any(verdict["verdict"] for verdict in found)
        else ""
    )
    return [
        "p, Holm: by Student's t test of the same pairs, after Holm's correction over the family "
        f"of the comparison; below {rule().level:g} a difference counts.{equivalent}{wide} "
        f"Families and their comparisons: {families}; {file} has the rule.",
        "",
    ]


def table_latex(report: TableReport, axes: Sequence[str]) -> str:
    """The table with the paper's values, in LaTeX; needs the package booktabs.

    Args:
        report: content of the table's JSON, whose keys are sorted.

    Raises:
        ConfigError: the written table has other axes.
    """
    if set(axes) != set(report["axes"]):
        raise ConfigError(
            f"{report['table']} was written with the axes {', '.join(report['axes'])}, and has "
            f"{', '.join(axes)} now: write it again with m3net table {report['table']}"
        )
    ordered: TableReport = {**report, "axes": {axis: report["axes"][axis] for axis in axes}}
    caption = f"{report['paper_table']}: {report['title']}"
    frame = _as_printed(ordered).reset_index(allow_duplicates=True)
    return frame.to_latex(index=False, escape=True, caption=caption)


def _as_printed(report: TableReport) -> pd.DataFrame:
    """Rows and columns as the paper prints them: the last of several axes goes across."""
    cells, axes = report["cells"], report["axes"]
    title = _title(cells[0]["metric"])
    labels = [cell["labels"] for cell in cells]
    frame = labelled([{title: _shown(cell)} for cell in cells], labels, list(axes))
    if len(axes) == 1:
        return frame
    across = list(axes)[-1]
    wide = frame[title].unstack(across, fill_value="", sort=False)
    return wide.reindex(columns=axes[across], fill_value="")


def _shown(cell: CellValues) -> str:
    paper = _paper(cell)
    beside = f" ({paper})" if paper else ""
    if cell["quoted"]:
        return beside.strip()
    if cell["ours"] is None:
        return f"{_ours(cell)}{beside}"
    failed = sum(run["value"] is None for run in cell["runs"])
    failures = f", {failed} of {len(cell['runs'])} runs failed" if failed else ""
    if missing := cell.get("missing"):
        failures += f", {missing} of {len(cell['runs']) + missing} runs not trained"
    leaks = " †" if _is_scored(cell["metric"]) and _leaks(cell) else ""
    return f"{_ours(cell)}{failures}{leaks}{beside}"


def _ours(cell: CellValues) -> str:
    """Mean and standard deviation."""
    if cell["ours"] is None:
        return "failed" if cell["runs"] or "error" in cell else "not trained"
    figures = (cell["ours"]["mean"], cell["ours"]["std"])
    return " ± ".join(_number(value, cell["metric"]) for value in figures if value is not None)


def _leaks(cell: CellValues) -> bool:
    return bool(cell.get("facts", {}).get("leaking"))


def _paper_differs(cell: CellValues) -> str:
    """Why the paper's value says nothing about ours; '' if it does or there is none."""
    if cell["paper"] is None:
        return ""
    if cell["other_data"]:
        return "other data"
    return "other split" if cell["other_split"] else ""


def _paper(cell: CellValues) -> str:
    """The paper's value; marked where it cannot be compared with ours."""
    value, deviation = cell["paper"], cell["paper_std"]
    if value is None:
        return ""
    other = f"{difference}: " if (difference := _paper_differs(cell)) else ""
    spread = "" if deviation is None else f" ± {deviation:g}"
    whole = value == round(value) and value >= 1000
    return other + (f"{value:,.0f}" if whole else f"{value:g}") + spread


def _number(value: float, metric: str) -> str:
    if _is_scored(metric):
        return f"{value:.2f}"
    return f"{round(value):,}" if metric.endswith(("parameters", "macs")) else f"{value:.4g}"


def _is_scored(metric: str) -> bool:
    """Whether a metric says how well the test clips are recognised, in percent."""
    return "." not in metric


def _title(metric: str) -> str:
    name = metric.split(".")[-1].replace("_", " ")
    return f"{name} (%)" if _is_scored(metric) else name


def _details(report: TableReport, verdicts: Sequence[Verdict | None]) -> pd.DataFrame:
    """A row per cell that is neither quoted nor untrained, with its statistical test."""
    shown = [
        (cell, verdict)
        for cell, verdict in zip(report["cells"], verdicts, strict=True)
        if not cell["quoted"] and (cell["runs"] or "missing" not in cell)
    ]
    rows = [_detail(report, *row) for row in shown]
    frame = labelled(rows, [cell["labels"] for cell, _ in shown], list(report["axes"]))
    if {verdict["family"] for verdict in verdicts if verdict} <= {report["table"]}:
        frame = frame.drop(columns="family", errors="ignore")
    empty = [column for column in _FROM_FAMILIES if column in frame and not frame[column].any()]
    return frame.drop(columns=empty)


def _detail(report: TableReport, cell: CellValues, verdict: Verdict | None) -> dict[str, str]:
    metric = cell["metric"]
    ours = cell["ours"]
    facts = cell.get("facts", {})
    ends = (ours["low"], ours["high"]) if ours else ()
    counted = ours["runs"] if ours else f"0 of {len(cell['runs'])}"
    row = {
        "metric": _title(metric),
        "paper": _paper(cell),
        "ours": _ours(cell),
        "95 %": " to ".join(_number(end, metric) for end in ends if end is not None),
        "runs": "" if ours and not cell["runs"] else str(counted),
    }
    if report["reference"]:
        row |= _test(report, cell) | _judged(verdict)
    protocol = " ".join(str(facts[key]) for key in ("name", "protocol") if key in facts)
    row["data and protocol"] = protocol + (" †" if _leaks(cell) else "")
    for title, key in (("parameters", "parameters"), ("MACs", "macs")):
        row[title] = f"{facts[key]:,}" if key in facts else ""
    return row


def _test(report: TableReport, cell: CellValues) -> dict[str, str]:
    labels = {**cell["labels"], **report["reference"]}
    if labels == cell["labels"] or all(other["labels"] != labels for other in report["cells"]):
        return {"difference": "reference", "p": ""}
    test = cell["against_reference"]
    if test is None:
        return {"difference": "", "p": ""}
    least = f" (≥ {test['smallest_p']:.3g})" if test["pairs"] < FEWEST_PAIRS else ""
    return {
        "difference": f"{test['difference']:+.2f}{_interval(test['low'], test['high'])}",
        "p": f"{test['p']:.3g}{least}",
    }


def _judged(verdict: Verdict | None) -> dict[str, str]:
    """What the family of a comparison adds to its test."""
    if verdict is None:
        return dict.fromkeys(_FROM_FAMILIES, "")
    wide = _interval(verdict["wide_low"], verdict["wide_high"]).strip(" ()")
    tested = verdict["low"] is not None
    return {
        "overlapping draws": wide,
        "p, Holm": f"{verdict['p']:.2g}" if tested else "",
        "p, equivalent": f"{verdict['p_equivalent']:.2g}" if tested and verdict["verdict"] else "",
        "verdict": verdict["verdict"],
        "family": verdict["family"],
    }


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"


def _failures(cells: Sequence[CellValues]) -> list[str]:
    failures = []
    for cell in cells:
        where = " / ".join(cell["labels"].values())
        if "error" in cell and not cell["runs"]:
            failures.append(f"- {where}: {cell['error']}")
        for run in cell["runs"]:
            if "error" in run:
                fold = "" if run["fold"] is None else f"-fold{run['fold']}"
                name = f"seed{run['seed']}{fold}"
                failures.append(f"- {where}, {name}: {run['error']}")
    return ["## Failed", "", *failures, ""] if failures else []


def recipes_link(grid: Path, stem: Path) -> str:
    """Markdown link from a report to the grid of its recipes."""
    target = Path(os.path.relpath(grid.resolve(), stem.parent.resolve())).as_posix()
    return f"[{grid.parent.name}/{grid.name}]({target})"


def _computers(report: TableReport, stem: Path) -> list[str]:
    """The computers that have trained the runs; older runs have no record of them."""
    trained = {
        run["recipe_sha256"]: run["metrics"].get("computers", [])
        for cell in report["cells"]
        for run in cell["runs"]
        if "metrics" in run
    }
    counts = Counter(", then ".join(map(_computer, computers)) for computers in trained.values())
    unknown = counts.pop("", 0)
    path = stem.parent.parent / _TRAINED_ON
    noted = read_yaml(path).get(f"{stem.parent.name}/{stem.name}") if path.exists() else None
    words = noted or "a computer of which they have no record"
    return [
        *(f"- runs trained on {words}: {count}" for words, count in sorted(counts.items())),
        *([f"- runs trained on {words}: {unknown}"] if unknown else []),
    ]


def _computer(computer: Computer) -> str:
    """A computer of a run, with what decides how its sums are rounded."""
    onednn = "off" if computer.get("settings", {}).get("TF_ENABLE_ONEDNN_OPTS") == "0" else "on"
    accelerated = [] if computer["accelerators"] else ["no accelerator"]
    return ", ".join([in_words(computer), f"oneDNN {onednn}", *accelerated])


def _provenance(report: TableReport, grid: Path, stem: Path) -> list[str]:
    machine, kept = report["machine"], report["kept"]
    runs = [run.get("metrics", {}) for cell in report["cells"] for run in cell["runs"]]
    threads = sorted({metrics["threads"] for metrics in runs if "threads" in metrics})
    versions = ", ".join(f"{name} {value}" for name, value in sorted(report["versions"].items()))
    return [
        f"- command: `{report['command']}`",
        f"- {report['runs']} runs, {report['training_s']:.0f} s of training; this call took "
        f"{report['wall_s']:.0f} s (finished runs are used again)",
        *([f"- {kept} of the runs: results kept from an earlier call"] if kept else []),
        *([f"- threads of an operation: {', '.join(map(str, threads))}"] if threads else []),
        *_computers(report, stem),
        f"- written on {report['date']}, on {machine['processor']} with {machine['cores']} cores",
        f"- recipes come from the grid {recipes_link(grid, stem)}",
        f"- recipes: SHA-256 {report['recipes_sha256']}",
        *(f"- subset `{name}`: SHA-256 {sha256}" for name, sha256 in report["subsets"].items()),
        f"- commit: {report['git_commit'] or 'unknown'}",
        f"- versions: {versions}",
    ]
