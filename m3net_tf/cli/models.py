# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net model …``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer
from rich.table import Table

from m3net_tf.cli.app import model_app
from m3net_tf.cli.options import DEFAULT_BOARD, AsJson, Board, RunFolder
from m3net_tf.cli.output import (
    console,
    print_lines,
    print_table,
    say,
    say_exactly,
    say_json,
)
from m3net_tf.networks.pretrained import CARD, CARD_TEXT, FOLDER, pretrained_names
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.extras import is_installed

if TYPE_CHECKING:
    from m3net_tf.networks.models import Preset


class PresetFacts(TypedDict):
    """A preset of a network: shape of its input, classes, sizes, and a sentence on it."""

    input_shape: list[int]
    classes: int
    parameters: int
    macs: int
    summary: str


class TrainedFacts(PresetFacts):
    """A trained network of the package: its name, data set, and accuracy in int8.

    A body for sounds has learnt from a teacher without labels, and has no accuracy of its own.
    """

    trained: str
    network: str
    preset: str
    dataset: str
    accuracy: float | None
    licence: str


class LayerFacts(TypedDict):
    """A layer: its name, type, shape of its output without the batch, and parameters."""

    name: str
    type: str
    output_shape: list[int]
    parameters: int


class NetworkFacts(PresetFacts):
    """A network with its layers."""

    name: str
    preset: str
    layers: list[LayerFacts]


@model_app.command("list")
def model_list(as_json: AsJson = False) -> None:
    """List networks with their presets, and trained networks; model info has the details.

    Without TensorFlow only the trained networks are listed, which m3net classify runs.
    """
    from m3net_tf.audio.datasets.tables import Table as Columns

    presets = _presets() if is_installed("tensorflow") else []
    if as_json:
        rows = [{"network": name, "preset": key, **_facts(of)} for name, key, of in presets]
        say_json([*rows, *map(_trained, pretrained_names())])
        return
    lines = tuple(
        (
            name,
            key,
            " x ".join(map(str, of.input_shape)),
            f"{of.parameters:,}",
            f"{of.macs / 1e6:,.1f}",
        )
        for name, key, of in presets
    )
    if lines:
        print_table(Columns(("network", "preset", "input", "parameters", "MACs, M"), lines))
        say("")
    trained = tuple(
        (
            facts["trained"],
            facts["network"]
            if facts["accuracy"] is None
            else f"{facts['network']} {facts['preset']}",
            facts["dataset"],
            str(facts["classes"]),
            "-" if facts["accuracy"] is None else f"{100 * facts['accuracy']:.1f} %",
            "see card" if facts["accuracy"] is None else facts["licence"],
        )
        for facts in map(_trained, pretrained_names())
    )
    head = ("trained", "network", "data set", "classes", "int8", "licence")
    print_table(Columns(head, trained))


def _presets() -> list[tuple[str, str, Preset]]:
    """Each preset with its network's name and its own."""
    from m3net_tf.networks.models import model_names, presets_of

    return [(name, key, of) for name in model_names() for key, of in presets_of(name).items()]


def _facts(preset: Preset) -> PresetFacts:
    return {
        "input_shape": list(preset.input_shape),
        "classes": preset.classes,
        "parameters": preset.parameters,
        "macs": preset.macs,
        "summary": preset.summary,
    }


def _trained(name: str) -> TrainedFacts:
    card = read_json(FOLDER / name / CARD)
    return {
        "trained": name,
        "network": card["network"]["name"],
        "preset": card["network"]["preset"],
        "input_shape": card["network"]["input_shape"],
        "classes": len(card["classes"]),
        "parameters": card["parameters"],
        "macs": card["macs"],
        "summary": card["about"]["summary"],
        "dataset": card["data"]["name"],
        "accuracy": card["accuracy"]["int8"] if "accuracy" in card else None,
        "licence": card["data"]["licence"],
    }


def _map_shape(model: Any, layer: Any) -> list[int]:
    """Shape of a layer's output without the batch; an input layer has a list of shapes."""
    is_input = isinstance(layer.output_shape, list)
    return list(model.input_shape if is_input else layer.output_shape)[1:]


def _complete_networks(typed: str) -> list[str]:
    """The networks whose names start with what was typed before the Tab key."""
    from m3net_tf.networks.models import model_names

    return [name for name in (*pretrained_names(), *model_names()) if name.startswith(typed)]


@model_app.command("info")
def model_info(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=_complete_networks, help="Network, or trained network, of model list."
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(help="Preset; default: mcu, or else the first.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes instead of the preset's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the layers and costs of a network, or the model card of a trained one."""
    if name in pretrained_names():
        if preset or classes:
            raise typer.BadParameter(f"{name} is trained: omit --preset and --classes")
        if as_json:
            say_json(read_json(FOLDER / name / CARD))
        else:
            say_exactly((FOLDER / name / CARD_TEXT).read_text(encoding="utf-8").rstrip())
        return
    from m3net_tf.networks.models import build_model, presets_of
    from m3net_tf.networks.models.complexity import count_macs

    presets = presets_of(name)
    preset = preset or ("mcu" if "mcu" in presets else next(iter(presets)))
    model = build_model(name, preset, classes=classes)
    facts: NetworkFacts = {
        "name": name,
        "preset": preset,
        "summary": presets[preset].summary,
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "layers": [
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "output_shape": _map_shape(model, layer),
                "parameters": layer.count_params(),
            }
            for layer in model.layers
        ],
    }
    if as_json:
        say_json(facts)
        return
    table = Table("layer", "type", "output", "parameters", title=f"{name} {preset}")
    for layer in facts["layers"]:
        shape = " x ".join(map(str, layer["output_shape"]))
        table.add_row(layer["name"], layer["type"], shape, f"{layer['parameters']:,}")
    console.print(table)
    say(f"{facts['parameters']:,} parameters, {facts['macs']:,} MACs")
    say(facts["summary"])


@model_app.command("image")
def model_image(
    run: RunFolder,
    board: Board = DEFAULT_BOARD,
    out: Annotated[
        Path | None, typer.Option(help="The file; default: RUN/BOARD.m3net-model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the model of an updatable export as a file, for m3net device update or your transport.

    The export is of m3net export --updatable.
    """
    from m3net_tf.boards.builds.boards import load_board
    from m3net_tf.export import Bundle
    from m3net_tf.export.model_image import image_facts
    from m3net_tf.export.model_image import model_image as image_of
    from m3net_tf.system.artifacts import write_bytes

    image = image_of(Bundle.load(run / "export"), load_board(board).weights)
    path = out or run / f"{board}.m3net-model"
    write_bytes(path, image)
    layout, structure, sha256 = image_facts(image)
    facts = {"file": str(path), "bytes": len(image), "sha256": sha256}
    facts |= {"weights": layout, "structure": structure}
    print_lines(
        facts,
        as_json,
        lambda _: [
            f"{path}: {len(image)} bytes, for firmware of structure {structure[:12]} on cores with "
            f"weights in the order {layout}"
        ],
    )


@model_app.command("pack")
def model_pack(
    run: RunFolder,
    folder: Annotated[
        Path, typer.Argument(help="Folder with about.yaml; its name becomes the network's.")
    ],
    costs: Annotated[
        bool, typer.Option("--costs", help="Renew only the costs in the folder's card.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy an exported, emulated and fitted run into a folder, and write its model card."""
    from m3net_tf.pages.report.card import pack, renew_costs
    from m3net_tf.training import Run

    card = (renew_costs if costs else pack)(Run(run), folder)
    if as_json:
        say_json(card)
        return
    if "accuracy" in card:
        accuracy = card["accuracy"]
        figure = f"int8 accuracy {100 * accuracy['int8']:.2f} % on {accuracy['clips']} test clips"
    else:
        agreement = card["agreement"]
        figure = (
            f"in int8 {100 * agreement['int8']['same']:.2f} % of {agreement['patches']} patches "
            "have the teacher's class"
        )
    say(
        f"{folder}: {card['network']['name']} {card['network']['preset']}, {figure}, "
        f"{card['data']['statement']}; {folder / CARD_TEXT}"
    )
