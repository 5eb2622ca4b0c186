# SPDX-License-Identifier: Apache-2.0
"""The page: its first words, and runs to sections, sections to one HTML file that loads nothing."""

import contextlib
import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypedDict

from m3net_tf.audio.labels import is_silence
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.measure.real_time import figures_text, measured_pace, verdict_text
from m3net_tf.pages import DRAWING_AND_SOUND, environment, shared_file, source_hash
from m3net_tf.pages.report.content import Section, Trial
from m3net_tf.pages.report.gather import RunData, gather
from m3net_tf.pages.report.records import Folded, Summary
from m3net_tf.pages.report.words import interval, percent
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.errors import M3NetError
from m3net_tf.system.extras import require_modules
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.cross_validation import RESULT

_TEMPLATES = Path(__file__).parent / "templates"
#: Commands of m3net in the order in which one needs the other's result.
_ORDER = ("quantize", "export", "emulate", "device", "footprint")
_NETWORKS = {"m3net": "M3Net", "spectromasknet": "SpectroMaskNet", "diffres": "DiffRes"}
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


class ReportFacts(TypedDict):
    """What was written.

    Attributes:
        missing: for each section, the commands that make what it lacks.
    """

    path: str
    bytes: int
    missing: dict[str, list[str]]


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    data_dir: Path | None = None,
    log: Log = silent,
    *,
    measure: bool = False,
) -> ReportFacts:
    """Write a page on finished runs, side by side if there are several.

    Args:
        out: the file; default: :func:`default_path`.
        data_dir: folder of their data set, for the sections with sounds.
        measure: whether to run the commands that make what the page lacks first.

    Raises:
        ConfigError: no run, a run twice, or the packages of the page are not installed.
        M3NetError: a run is unfinished, or one of its files is damaged.
    """
    require_modules("a report", "report", "altair", "jinja2", "vl_convert")
    runs = gather(folders, data_dir, log)
    path = out or default_path(folders)
    into_run = out is None
    sections = []
    for make in _makers(runs):
        log(make.__name__.replace("_", " "))
        sections.append(make(runs))
    tried: set[str] = set()
    while measure and (commands := measuring_commands(sections, tried)):
        for command in commands:
            run_command(command, data_dir, log)
        tried.update(commands)
        sections = [make(runs) for make in _makers(runs)]  # which may name others, after an export
    log("page")
    html = render(runs, sections)
    with in_use(folders[0]) if into_run else contextlib.nullcontext():
        write_text(path, html)
    missing = {section.key: section.missing for section in sections if section.missing}
    return {"path": str(path), "bytes": len(html.encode()), "missing": missing}


def default_path(folders: Sequence[Path]) -> Path:
    """``report.html`` in the first run; the names of further runs are part of the file's name."""
    others = "".join(f"-{folder.resolve().name}" for folder in folders[1:])
    return folders[0] / f"report{others}.html"


def _makers(runs: Sequence[RunData]) -> Sequence[Callable[[Sequence[RunData]], Section]]:
    """A function for each section, in the order of the page; live detection is tried first."""
    from m3net_tf.pages.report import (
        boards,
        classes,
        clips,
        networks,
        origin,
        overview,
        reliability,
        trial,
    )

    live = any(run.live for run in runs)
    return (
        *((trial.try_it,) if live else ()),
        overview.overview,
        overview.learning_curves,
        classes.confusion,
        classes.per_class,
        clips.worst_clips,
        clips.sound_map,
        *(() if live else (trial.try_it,)),
        reliability.reliability,
        networks.int8_loss,
        networks.arena,
        boards.layer_costs,
        boards.footprint,
        origin.origin,
    )


def render(runs: Sequence[RunData], sections: Sequence[Section]) -> str:
    """The page as HTML.

    All text is escaped. The page's policy lets only its own scripts run, by their hashes, and
    refuses all requests. It allows WebAssembly only if there is a network to try.
    """
    from m3net_tf.pages.report.origin import leak_warnings

    blocks = (block for section in sections for part in section.parts for block in part.blocks)
    can_try = any(isinstance(block, Trial) for block in blocks)
    scripts = [_vega(), (_TEMPLATES / "page.js").read_text()]
    if can_try:
        scripts += [*map(shared_file, DRAWING_AND_SOUND), (_TEMPLATES / "trial.js").read_text()]
    return (
        environment(_TEMPLATES)
        .get_template("page.html.j2")
        .render(
            title=title_of(runs),
            verdicts=[(run.name if len(runs) > 1 else "", verdict(run)) for run in runs],
            runs=runs,
            sections=sections,
            cautions=leak_warnings(runs),
            style=shared_file("page.css"),
            scripts=scripts,
            allowed=[*map(source_hash, scripts), *(["wasm-unsafe-eval"] if can_try else [])],
        )
    )


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, of the version of Altair's charts."""
    import altair
    import vl_convert

    major, minor = altair.SCHEMA_VERSION.lstrip("v").split(".")[:2]
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", f"{major}.{minor}")
    return script.replace("</script", "<\\/script")


def title_of(runs: Sequence[RunData]) -> str:
    """Network, sounds and number of classes in words; several runs with their names."""
    titles = [_title(run) for run in runs]
    if len(runs) == 1:
        return titles[0]
    if len(set(titles)) == 1:
        return f"{' and '.join(run.name for run in runs)}: {titles[0]}"
    return " and ".join(f"{run.name} ({title})" for run, title in zip(runs, titles, strict=True))


def _title(run: RunData) -> str:
    name = run.run.recipe().model.name
    data = run.metrics.dataset.name
    sounds = [label for label in run.labels if not is_silence(label)]
    count = _NUMBERS[len(sounds)] if len(sounds) < len(_NUMBERS) else str(len(sounds))
    classes = f"{count} class{'es' * (len(sounds) != 1)}"
    silence = " and silence" if len(sounds) < len(run.labels) else ""
    on = "your sounds" if data == "folder" else data
    return f"{_NETWORKS.get(name, name)} on {on}, {classes}{silence}"


def verdict(run: RunData) -> str:
    """How often the network is right, on the computer and on a board, and whether in real time.

    What live detection misses comes first, where it was measured. A cross-validation tests all
    clips, so it comes before the test clips alone.
    """
    test = run.metrics.test
    validated = run.file(RESULT, Folded)
    if run.multi_label:
        precision = percent(test["mean_average_precision"])
        reached = f"mean average precision (mAP) {precision} on {test['clips']} test clips"
    else:
        figures, clips = test, f"{test['clips']} test clips"
        if validated is not None:
            figures = validated
            clips = f"all {counted(validated['clips'], 'clip')} by cross-validation"
        bounds = interval((figures["accuracy_95_low"], figures["accuracy_95_high"]))
        reached = f"right on {percent(figures['accuracy'])} of {clips} (95 %: {bounds})"
    board = run.file("summary.json", Summary) or Summary()
    name, key = run.figure
    emulated = board.get(key, {}).get("emulated")
    if emulated is None:
        reached += "; not yet run on a board"
    else:
        tested = "" if validated is None else f" of {board['clips']} test clips"
        words = f"{name} " * run.multi_label
        reached += f"; {words}{percent(emulated)}{tested} on the emulated {board['board']}"
    speed = _speed(run, board.get("board", DEFAULT_BOARD))
    return f"{_live_words(run)}{reached[0].upper()}{reached[1:]}. {speed}"


def _live_words(run: RunData) -> str:
    """What live detection misses, and how often it is wrong; '' where that was not measured."""
    live = run.live
    if live is None:
        return ""
    figures = live["all"]
    bounds = interval((figures["miss_rate_95"][0], figures["miss_rate_95"][1]))
    low, high = figures["false_accepts_per_hour_95"]
    return (
        f"Live detection misses {percent(figures['miss_rate'])} of "
        f"{counted(figures['true_events'], 'sound')} (95 %: {bounds}) and has "
        f"{figures['false_accepts_per_hour']:.2f} false accepts an hour in {live['hours']:.1f} h "
        f"(95 %: {low:.2f} to {high:.2f}). "
    )


def _speed(run: RunData, board: str) -> str:
    try:
        pace = measured_pace(run.run.folder, board)
    except M3NetError:  # the sections on the export say what is wrong with it
        pace = None
    if pace is None:
        return f"Its speed on {board} was not measured."
    words = verdict_text(pace)
    figures = figures_text(load_board(board), pace)
    return f"On {board}, as an emulator counts: {figures}. {words[0].upper()}{words[1:]}."


def measuring_commands(sections: Sequence[Section], tried: Collection[str] = ()) -> list[str]:
    """The commands that measure what sections lack, each once, in the order to run them."""
    missing = {command for section in sections for command in section.missing}
    words = {command: shlex.split(command) for command in sorted(missing.difference(tried))}
    chosen = [
        text for text, [program, name, *_] in words.items() if program == "m3net" and name in _ORDER
    ]
    return sorted(chosen, key=lambda text: _ORDER.index(words[text][1]))


def run_command(command: str, data_dir: Path | None, log: Log) -> None:
    """Run a command of m3net; its lines, and its error if it fails, go to ``log``."""
    log(f"$ {command}")
    environment = {**os.environ, **({"DATA_DIR": str(data_dir)} if data_dir else {})}
    with subprocess.Popen(
        [sys.executable, "-m", "m3net_tf", *shlex.split(command)[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log(line.rstrip("\n"))
