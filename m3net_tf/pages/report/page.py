# SPDX-License-Identifier: Apache-2.0
"""The page: runs to sections, sections to one HTML file that loads nothing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from m3net_tf.pages import DRAWING_AND_SOUND, environment, shared_file, source_hash
from m3net_tf.pages.report.content import Section, Trial
from m3net_tf.pages.report.gather import RunData, gather
from m3net_tf.pages.report.heading import title_of, verdict
from m3net_tf.pages.report.measuring import measuring_commands, run_command
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.extras import require_modules
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    data_dir: Path | None = None,
    log: Log = silent,
    *,
    measure: bool = False,
) -> dict[str, Any]:
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
    path, into_run = out or default_path(folders), out is None
    sections = [_made(make, runs, log) for make in _makers()]
    tried: set[str] = set()
    while measure and (commands := [c for c in _commands(sections) if c not in tried]):
        for command in commands:
            run_command(command, data_dir, log)
        tried.update(commands)
        sections = [make(runs) for make in _makers()]  # which may name others, after an export
    log("page")
    html = render(runs, sections)
    with in_use(folders[0]) if into_run else contextlib.nullcontext():
        write_text(path, html)
    missing = {section.key: section.missing for section in sections if section.missing}
    return {"path": str(path), "bytes": len(html.encode()), "missing": missing}


def _commands(sections: Sequence[Section]) -> list[str]:
    return measuring_commands(command for section in sections for command in section.missing)


def default_path(folders: Sequence[Path]) -> Path:
    """``report.html`` in the first run; the names of further runs are part of the file's name."""
    others = "".join(f"-{folder.resolve().name}" for folder in folders[1:])
    return folders[0] / f"report{others}.html"


def _makers() -> Sequence[Callable[[Sequence[RunData]], Section]]:
    """A function for each section, in the order of the page."""
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

    return (
        overview.overview,
        overview.learning_curves,
        classes.confusion,
        classes.per_class,
        clips.worst_clips,
        clips.sound_map,
        trial.try_it,
        reliability.reliability,
        networks.int8_loss,
        networks.arena,
        boards.layer_costs,
        boards.footprint,
        origin.origin,
    )


def _made(
    make: Callable[[Sequence[RunData]], Section], runs: Sequence[RunData], log: Log
) -> Section:
    log(make.__name__.replace("_", " "))
    return make(runs)


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
            cautions=[caution for run in runs for caution in leak_warnings(run)],
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
