# SPDX-License-Identifier: Apache-2.0
"""The commands ``m3net model …``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from m3net_tf.cli.common import (
    AsJson,
    console,
    model_app,
    say,
)


@model_app.command("list")
def model_list() -> None:
    """Networks and their presets."""
    from m3net_tf.models import model_names, presets_of

    table = Table("network", "preset", "input", "parameters", "MACs", "")
    for name in model_names():
        for preset_name, preset in presets_of(name).items():
            table.add_row(
                name,
                preset_name,
                " x ".join(map(str, preset.input_shape)),
                f"{preset.parameters:,}",
                f"{preset.macs:,}",
                preset.summary,
            )
    console.print(table)


@model_app.command("info")
def model_info(
    name: str,
    preset: Annotated[str | None, typer.Option(help="Default: mcu, or the first there is.")] = None,
    classes: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Layers, parameters and multiply-accumulates of a network."""
    from m3net_tf.models import build_model, presets_of
    from m3net_tf.models.complexity import count_macs

    presets = presets_of(name)
    preset = preset or ("mcu" if "mcu" in presets else next(iter(presets)))
    model = build_model(name, preset, classes=classes)
    facts: dict[str, Any] = {
        "name": name,
        "preset": preset,
        "input_shape": list(model.input_shape[1:]),
        "classes": model.output_shape[-1],
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "layers": [
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "output_shape": [list(model.input_shape), list(layer.output_shape)][
                    not isinstance(layer.output_shape, list)
                ][1:],
                "parameters": layer.count_params(),
            }
            for layer in model.layers
        ],
    }
    if as_json:
        say(json.dumps(facts, indent=2))
        return
    table = Table("layer", "type", "output", "parameters", title=f"{name} {preset}")
    for layer in facts["layers"]:
        shape = " x ".join(map(str, layer["output_shape"]))
        table.add_row(layer["name"], layer["type"], shape, f"{layer['parameters']:,}")
    console.print(table)
    say(f"{facts['parameters']:,} parameters, {facts['macs']:,} MACs")
