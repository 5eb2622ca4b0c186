# SPDX-License-Identifier: Apache-2.0
"""Section on where the figures come from: protocol, environment, command to repeat."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.audio.datasets import dataset_info, protocol_statement
from m3net_tf.pages.report.content import (
    Block,
    Note,
    Part,
    Section,
    Source,
    Table,
    side_by_side,
)
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.words import number, percent
from m3net_tf.system.artifacts import provenance
from m3net_tf.system.processor import arithmetic, in_words
from m3net_tf.system.words import counted

_HASH = 16  # shown characters


def origin(runs: Sequence[RunData]) -> Section:
    """Protocol and leaks, environment, and the command that repeats the run."""
    made = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    page = Note(f"This page: commit {made['git_commit'][:_HASH] or 'unknown'}, {versions}.")
    return Section(
        "origin",
        "Origin of the figures",
        "How the clips were held out, what the run was made with, and how to repeat it.",
        [*side_by_side(runs, _origin_of), Part("", [page])],
    )


def _training(values: Mapping[str, Any]) -> str:
    devices = values.get("devices", 1)
    return f"{values.get('training_s', 0):,.0f} s on {counted(devices, 'device')}"


def leak_warnings(runs: Sequence[RunData]) -> list[str]:
    """Sentences that put the runs' test figures in doubt."""
    statements = {run.name: _statement(run) for run in runs}
    doubts = ("LEAKS", "CHANGED", "too high")
    return [
        f"{name}: {statement}."
        for name, statement in statements.items()
        if any(doubt in statement for doubt in doubts)
    ]


def _statement(run: RunData) -> str:
    if run.clips:
        return run.run.protocol_statement(run.clips.dataset)
    return protocol_statement(run.metrics.dataset.facts)


def _origin_of(run: RunData) -> list[Block]:
    data, values = run.metrics.dataset, run.metrics.values
    rows = [("data set", data.name), ("protocol", _statement(run))]
    if run.clips:
        dataset = run.clips.dataset
        rows += [
            (f"{split} clips", number(len(dataset.split(split))))
            for split in ("train", "validation", "test")
        ]
        known = dataset.info.groups_known
        group = dataset.info.group
        rows.append(
            (
                f"test clips that share a {group} with training",
                percent(dataset.leak()) if known else "unknown",
            )
        )
        rows.append(("licence of the sounds", dataset.info.licence))
    rows += [("note", str(note)) for note in data.facts.get("notes", ())]
    rows += [
        (f"clip list, {split}, start of SHA-256", sha256[:_HASH])
        for split, sha256 in data.clip_list_sha256.items()
    ]
    rows += [
        ("training", _training(values)),
        *(("computer", words) for words in map(in_words, values.get("computers", ()))),
        ("arithmetic", arithmetic(values.get("computers", ()))),
        ("commit", str(values.get("git_commit") or "unknown")[:_HASH]),
        *((name, version) for name, version in values.get("versions", {}).items()),
    ]
    recipe = run.run.recipe()
    name = shlex.quote(f"{run.run.folder.resolve().name}-again")
    command = f"m3net train {shlex.quote(str(run.run.recipe_path))} --run runs/{name}"
    if dataset_info(recipe.dataset.name).needs_folder:
        command += " --data-dir FOLDER"
    return [
        Table(("fact", "value"), rows),
        Source(command),
        Source(run.run.recipe_path.read_text(), "recipe.yaml"),
    ]
