# SPDX-License-Identifier: Apache-2.0
"""A model card as Markdown: ``card.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.pages.report.words import interval, number, percent, with_interval
from m3net_tf.system.markdown import markdown_table, markdown_text


def card_markdown(card: Mapping[str, Any]) -> str:
    """The card for reading, in Markdown."""
    name, about = card["name"], card["about"]
    lines = [
        f"# {name}",
        "",
        "`m3net model pack` wrote this card from the run and `about.yaml`.",
        "",
        markdown_text(about["summary"]),
        "",
        "```sh",
        f"m3net classify --model {name} clip.wav",
        "```",
        "",
        f"In a recipe, `fine_tuning: {{from: {name}}}` starts a training from its weights.",
        "",
        *_bullets("Intended use", about["intended_use"]),
        *_bullets("Limits", about["limits"]),
        *_bullets("Licence", about["licence"]),
        *_data_lines(card["data"]),
        *_accuracy_lines(card),
        *_cost_lines(card),
        *_origin_lines(card),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _bullets(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {markdown_text(text)}" for text in sentences), ""]


def _data_lines(data: Mapping[str, Any]) -> list[str]:
    rows = [
        ("data set", data["name"]),
        ("licence of the sounds", data["licence"]),
        ("citation", data["citation"]),
        ("address", data["url"]),
        ("protocol", data["protocol"]),
        ("clips held out", data["statement"]),
    ]
    if data["subset"]:
        sha256 = data["subset_sha256"]
        rows.append(("subset", f"{data['subset']}, SHA-256 of its list's lines {sha256}"))
    rows += [("note", note) for note in data["notes"]]
    return ["## Data", "", *markdown_table(("fact", "value"), rows)]


def _accuracy_lines(card: Mapping[str, Any]) -> list[str]:
    accuracy = card["accuracy"]
    stages = (
        ("float", accuracy["float"], accuracy["float_95"]),
        ("int8, as shipped", accuracy["int8"], accuracy["int8_95"]),
    )
    rows = [(stage, percent(share), f"{interval(bounds)} %") for stage, share, bounds in stages]
    return [
        "## Accuracy",
        "",
        f"On {number(accuracy['clips'])} test clips.",
        "",
        *markdown_table(("network", "accuracy", "95 % interval"), rows),
        *_folded_lines(card),
        "Each class, float network; intervals of 95 % in brackets:",
        "",
        *markdown_table(
            ("class", "test clips", "recall", "precision"),
            [
                (
                    row["label"],
                    row["clips"],
                    with_interval(row["recall"], row["recall_95"]) or "-",
                    with_interval(row["precision"], row["precision_95"]) or "-",
                )
                for row in card["classes"]
            ],
        ),
    ]


def _folded_lines(card: Mapping[str, Any]) -> list[str]:
    folded = card.get("cross_validation")
    if folded is None:
        return []
    accuracy = f"{percent(folded['accuracy'])} ({interval(folded['accuracy_95'])} %)"
    clips, groups = number(folded["clips"]), number(folded["groups"])
    return [
        f"Cross-validation, float: {accuracy} of {clips} clips in {groups} groups. Each of "
        f"{folded['folds']} folds was tested by a network of the same training without it. The "
        "interval allows for the likeness of clips of one group.",
        "",
    ]


def _cost_lines(card: Mapping[str, Any]) -> list[str]:
    network = card["network"]
    rows = [
        (
            row["board"],
            number(row["instructions"]),
            number(row["arena_bytes"]),
            number(row["flash_bytes"]),
            number(row["ram_bytes"]),
            percent(row["cpu_share"]) if row["fits"] else "does not fit",
            row["measured_on"],
        )
        for row in card["boards"]
    ]
    head = ("board", "instructions per inference", "arena, bytes", "flash, bytes", "RAM, bytes")
    return [
        "## Costs",
        "",
        f"{network['name']} {network['preset']} has {number(card['parameters'])} parameters and "
        f"takes {number(card['macs'])} multiply-accumulates per inference. On boards, with the "
        f"engine `{card['engine']}` (`m3net footprint`): instructions of the emulated core, flash "
        "and RAM of the whole firmware, and the share of the board's clock that live detection "
        "takes.",
        "",
        *markdown_table((*head, "share of the clock", "measured on"), rows),
    ]


def _origin_lines(card: Mapping[str, Any]) -> list[str]:
    training = card["training"]
    rows = [
        ("seed", training["seed"]),
        ("epochs", f"{training['epochs']}, weights of epoch {training['best_epoch']}"),
        ("training", f"{training['seconds']:,.0f} s"),
        ("commit", card["git_commit"] or "unknown"),
        *card["versions"].items(),
        *((f"SHA-256 of {name}", sha256) for name, sha256 in sorted(card["files"].items())),
    ]
    return [
        "## Origin",
        "",
        "`m3net train recipe.yaml --data-dir FOLDER` repeats the training.",
        "",
        *markdown_table(("fact", "value"), rows),
    ]
