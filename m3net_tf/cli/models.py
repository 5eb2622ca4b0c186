# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net model …``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer
from rich.table import Table

from m3net_tf.cli.app import model_app
from m3net_tf.cli.options import AsJson
from m3net_tf.cli.output import console, print_table, say, say_json

if TYPE_CHECKING:
    from m3net_tf.models import Preset


class PresetFacts(TypedDict):
    """A preset of a network: shape of its input, classes, sizes, and a sentence on it."""

    input_shape: list[int]
    classes: int
    parameters: int
    macs: int
    summary: str


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
    """Networks and their presets; model info has the details."""
    from m3net_tf.datasets.report import Table as Columns
    from m3net_tf.models import model_names, presets_of

    presets = [(name, key, of) for name in model_names() for key, of in presets_of(name).items()]
    if as_json:
        say_json([{"network": name, "preset": key, **_facts(of)} for name, key, of in presets])
        return
    rows = [
        (
            name,
            key,
            " x ".join(map(str, of.input_shape)),
            f"{of.parameters:,}",
            f"{of.macs / 1e6:,.1f}",
        )
        for name, key, of in presets
    ]
    print_table(Columns(("network", "preset", "input", "parameters", "MACs, M"), tuple(rows)))


def _facts(preset: Preset) -> PresetFacts:
    return {
        "input_shape": list(preset.input_shape),
        "classes": preset.classes,
        "parameters": preset.parameters,
        "macs": preset.macs,
        "summary": preset.summary,
    }


def _map_shape(model: Any, layer: Any) -> list[int]:
    """Shape of a layer's output without the batch; an input layer has a list of shapes."""
    is_input = isinstance(layer.output_shape, list)
    return list(model.input_shape if is_input else layer.output_shape)[1:]


@model_app.command("info")
def model_info(
    name: str,
    preset: Annotated[
        str | None, typer.Option(help="Preset; default: mcu, or else the first.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes instead of the preset's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Layers, parameters and multiply-accumulates of a network."""
    from m3net_tf.models import build_model, presets_of
    from m3net_tf.models.complexity import count_macs

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
