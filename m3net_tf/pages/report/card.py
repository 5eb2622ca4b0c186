# SPDX-License-Identifier: Apache-2.0
"""Packs what users of a trained network need from a run into a folder, with its model card."""

import dataclasses
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.audio.datasets import dataset_info, protocol_statement
from m3net_tf.export import Bundle
from m3net_tf.networks.pretrained import CARD, CARD_TEXT, RUN_FILES
from m3net_tf.pages import environment
from m3net_tf.pages.report.records import Folded
from m3net_tf.pages.report.run_files import class_figures, read_confusion
from m3net_tf.pages.report.words import interval, number, percent, with_interval
from m3net_tf.runtime.metadata import network_of
from m3net_tf.system.artifacts import read_json, sha256_of, write_bytes, write_json, write_text
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.extras import require_modules
from m3net_tf.system.markdown import markdown_text
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.cross_validation import RESULT
from m3net_tf.training.run import Run
from m3net_tf.training.run.metrics import RunMetrics

ABOUT = "about.yaml"
_ARCHIVE = "model.keras"
#: Files that the folder has of the run, by their place there.
FILES = {
    "model.tflite": "export/model.tflite",
    **{name: name for name in RUN_FILES},
}
FORMAT = 1
#: Files of measurements, with the command that writes them.
_MEASURED = {"summary.json": "emulate", "footprint.json": "footprint"}

Card = dict[str, Any]
"""Content of ``card.json``: accuracies are shares of clips, with 95 % intervals as ``*_95``."""


class _Folded(Folded):
    """What is read of a cross-validation."""

    groups: int
    fold_accuracy: list[float]


@dataclasses.dataclass(frozen=True)
class About:
    """What only the author of a network can say: the keys of ``about.yaml``.

    Attributes:
        intended_use: sentences on its use.
        limits: sentences on what it cannot do, and on what is not known.
        licence: sentences on the licences of network and sounds.
    """

    summary: str
    intended_use: tuple[str, ...]
    limits: tuple[str, ...]
    licence: tuple[str, ...]


def pack(run: Run, folder: Path) -> Card:
    """Write a network's folder with its card, from a run that was exported and measured.

    Args:
        run: a run after ``m3net export``, ``m3net emulate`` and ``m3net footprint``; or one of
            ``m3net lab body``, whose costs may come later (:func:`renew_costs`).
        folder: folder that has ``about.yaml`` (:class:`About`); its name becomes the network's.

    Raises:
        ModelError: the run is unfinished, has no export, or was measured before that.
        ConfigError: ``about.yaml`` is missing or lacks a key, clips have several labels, or Jinja2
            is not installed.
        DataError: a step is missing.
    """
    about = _about(folder / ABOUT)
    contents = _contents(run)
    card = _card(run, folder.resolve().name, about, contents)
    _write_card(folder, card)
    for name, data in contents.items():
        write_bytes(folder / name, data)
    return card


def renew_costs(run: Run, folder: Path) -> Card:
    """Write a packed network's card again with the costs of its present C; all else stays.

    Args:
        run: the export of the packed network, after ``m3net footprint``.
        folder: folder that :func:`pack` wrote.

    Raises:
        ModelError: the export is of another network than the folder.
        DataError: a step is missing.
    """
    card: Card = read_json(folder / CARD)
    packed = network_of((folder / "model.tflite").read_bytes())
    costs = _measured(run, "footprint.json", sha256_of(packed))
    card |= {"engine": costs["engine"], "boards": _boards(costs)}
    _write_card(folder, card)
    return card


def _write_card(folder: Path, card: Card) -> None:
    text = card_markdown(card)
    write_json(folder / CARD, card)
    write_text(folder / CARD_TEXT, text)


def card_markdown(card: Card) -> str:
    """The card for reading, in Markdown.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    require_modules("a model card", "report", "jinja2")
    markdown = environment(Path(__file__).parent / "templates")
    markdown.filters |= {
        "md": markdown_text,
        "number": number,
        "percent": percent,
        "interval": interval,
        "with_interval": with_interval,
    }
    return markdown.get_template("card.md.j2").render(card)


def _contents(run: Run) -> dict[str, bytes]:
    """Content of each of :data:`FILES`; the Keras network's parts are compressed."""
    contents = {name: (run.folder / source).read_bytes() for name, source in FILES.items()}
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(contents[_ARCHIVE])) as trained,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed,
    ):
        for name in trained.namelist():
            entry = zipfile.ZipInfo(name)  # with ZIP's earliest date, as there is no other
            packed.writestr(entry, trained.read(name), zipfile.ZIP_DEFLATED)
    return {**contents, _ARCHIVE: target.getvalue()}


def _about(path: Path) -> About:
    try:
        return from_plain(About, read_yaml(path), "about")
    except ConfigError as error:
        keys = ", ".join(field.name for field in dataclasses.fields(About))
        raise ConfigError(f"{path} needs the keys {keys}: {error}") from None


def _card(run: Run, name: str, about: About, contents: Mapping[str, bytes]) -> Card:
    metrics = run.metrics()
    if "mean_average_precision" in metrics.test:
        raise ConfigError(
            f"{run.folder}: a card states the accuracy of clips with one label, but these have "
            "several: m3net report shows their mAP"
        )
    bundle = Bundle.load(run.folder / "export")
    sha256 = bundle.manifest.model.sha256
    labelled = "agreement" not in metrics.test
    values = metrics.values
    recipe = run.recipe()
    costs: Mapping[str, Any] = {"engine": bundle.manifest.engine, "boards": []}
    if labelled or (run.folder / "footprint.json").exists():
        costs = _measured(run, "footprint.json", sha256)
    card: Card = {
        "format": FORMAT,
        "name": name,
        "network": {
            "name": recipe.model.name,
            "preset": recipe.model.preset,
            "input_shape": bundle.manifest.model.input_shape,
        },
        "parameters": metrics.parameters,
        "macs": metrics.macs,
        "engine": costs["engine"],
        "about": dataclasses.asdict(about),
        "data": _data(metrics.dataset.facts),
        "training": {
            "seed": recipe.training.seed,
            "epochs": values["epochs"],
            "best_epoch": values["best_epoch"],
            "seconds": round(values["training_s"], 1),
        },
        **(_accuracy(run, metrics, sha256) if labelled else _agreement(run, metrics, sha256)),
        "boards": _boards(costs),
        "files": {name: sha256_of(data) for name, data in contents.items()},
        "versions": values["versions"],
        "git_commit": values["git_commit"],
    }
    if (run.folder / RESULT).exists():
        folded = read_json(run.folder / RESULT, _Folded)
        card["cross_validation"] = {
            **{key: folded[key] for key in ("clips", "groups", "accuracy")},
            "folds": len(folded["fold_accuracy"]),
            "accuracy_95": (folded["accuracy_95_low"], folded["accuracy_95_high"]),
            "statement": folded["statement"],
        }
    return card


def _accuracy(run: Run, metrics: RunMetrics, sha256: str) -> Card:
    """How well labelled test clips are recognised, in all and by class."""
    summary = _measured(run, "summary.json", sha256)
    test = metrics.test
    return {
        "accuracy": {
            "clips": summary["clips"],
            "float": test["accuracy"],
            "float_95": (test["accuracy_95_low"], test["accuracy_95_high"]),
            "int8": summary["accuracy"]["int8_desktop"],
            "int8_95": summary["int8_accuracy_95"],
        },
        "classes": class_figures(*read_confusion(run)),
    }


def _agreement(run: Run, metrics: RunMetrics, sha256: str) -> Card:
    """How well a body of ``m3net lab body`` agrees with its teacher; it has no labelled clips."""
    values = metrics.values
    if values["int8"]["model_sha256"] != sha256:
        raise ModelError(
            f"{run.metrics_path} is of another network than {run.folder / 'export'}: run m3net "
            "lab body again, with another --out"
        )
    return {
        "agreement": {
            "teacher": values["teacher"],
            "patches": metrics.test["patches"],
            "held_out": metrics.dataset.facts["sources"]["test"],
            "sources": {
                split: len(names) for split, names in metrics.dataset.facts["sources"].items()
            },
            **{
                name: {
                    "same": of["agreement"],
                    "same_95": (of["agreement_95_low"], of["agreement_95_high"]),
                    "of_five": of["agreement_of_five"],
                    "score_difference": of["score_difference"],
                }
                for name, of in (("float", metrics.test), ("int8", values["int8"]))
            },
        },
        "classes": [{"label": label} for label in metrics.dataset.labels],
    }


def _measured(run: Run, name: str, sha256: str) -> dict[str, Any]:
    """The content of a file of :data:`_MEASURED`, which must be of the network with this hash."""
    values: dict[str, Any] = read_json(run.folder / name)
    if values.get("model_sha256") != sha256:
        raise ModelError(
            f"{run.folder / name} is of another network: run m3net {_MEASURED[name]} "
            f"{run.folder} again"
        )
    return values


def _boards(costs: Mapping[str, Any]) -> list[dict[str, object]]:
    """Costs by board: instructions of a run, memory of network and firmware, share of the clock."""
    facts = ("board", "measured_on", "cpu_share", "fits")
    figures = ("instructions", "arena_bytes", "flash_bytes", "ram_bytes")
    return [
        {**{key: row[key] for key in facts}, **{key: row["cost"][key] for key in figures}}
        for row in costs["boards"]
        if row["cost"]
    ]


def _data(facts: Mapping[str, Any]) -> dict[str, object]:
    described = facts if "licence" in facts else vars(dataset_info(facts["name"]))
    return {
        **{key: described[key] for key in ("name", "licence", "citation", "url")},
        "protocol": facts["protocol"],
        "statement": protocol_statement(facts),
        "notes": list(facts.get("notes", ())),
        "subset": facts.get("subset"),
        "subset_sha256": facts.get("subset_sha256"),
    }
