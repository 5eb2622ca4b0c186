# SPDX-License-Identifier: Apache-2.0
"""Networks by name and preset.

A new network is one new module in this folder: a file, or a folder if the network has its own
layers. The module has a frozen dataclass ``Design`` of its arguments, whose annotations give their
ranges and choices, and a function ``build(input_shape, classes, design)``. It takes the shape
(bins, frames, channels) of a map and returns an uncompiled Keras model, (batch, bins, frames,
channels) to (batch, classes) probabilities, which are the softmax of logits. An optional function
``learnt(model, features)`` returns learnt quantities by name for the training log.

Its presets are in a module of the same name in :mod:`m3net_tf.networks.presets`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import numbers
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from m3net_tf.networks import presets
from m3net_tf.networks.presets import Preset
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, one_line

if TYPE_CHECKING:  # names are available without TensorFlow, which the networks' modules import
    from m3net_tf.system.keras import keras, tf

HEADS = ("softmax", "sigmoid")


def model_names() -> list[str]:
    """Names of all networks, sorted: the modules of :mod:`m3net_tf.networks.presets`."""
    return sorted(module.name for module in pkgutil.iter_modules(presets.__path__))


def _module(name: str) -> ModuleType:
    _require_model(name)
    return importlib.import_module(f"m3net_tf.networks.models.{name}")


def _require_model(name: str) -> None:
    names = model_names()
    if name not in names:
        raise ConfigError(f"unknown model {name!r}: choose one of {', '.join(names)}")


def presets_of(name: str) -> dict[str, Preset]:
    """Presets of one network by name, without TensorFlow.

    Raises:
        ConfigError: there is no such network.
    """
    _require_model(name)
    return dict(importlib.import_module(f"{presets.__name__}.{name}").PRESETS)


def require_preset(name: str, preset: str) -> None:
    """Check, without TensorFlow, that a network and preset exist.

    Raises:
        ConfigError: one does not exist; the message lists the existing ones.
    """
    _preset(name, preset)


def register_layers() -> None:
    """Import all networks, which registers their layers at Keras."""
    for name in model_names():
        _module(name)


def design_defaults(name: str) -> dict[str, object]:
    """Arguments of a network with their defaults (``dataclasses.MISSING``: required).

    Raises:
        ConfigError: there is no such network.
    """
    return {field.name: field.default for field in dataclasses.fields(_module(name).Design)}


def network_design(name: str, preset: str, overrides: Mapping[str, object] | None = None) -> Any:
    """The ``Design`` of a network.

    Raises:
        ConfigError: an unknown network, preset or argument, or a wrong value.
    """
    arguments = {**_preset(name, preset).arguments, **(overrides or {})}
    return from_plain(_module(name).Design, arguments, "model.arguments")


def design_sha256(name: str, preset: str, overrides: Mapping[str, object] | None = None) -> str:
    """Hash of a network's arguments, with presets expanded.

    It distinguishes runs of a preset from runs of its older version, which have the same recipe.

    Raises:
        ConfigError: there is no such network or preset.
    """
    design = _expanded({"name": name, "preset": preset, "arguments": overrides or {}})
    return sha256_of(json.dumps(design, sort_keys=True).encode())


def _expanded(value: Any) -> Any:
    """A preset's value as plain values, with nested networks' presets replaced by arguments."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _expanded(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        if {"name", "preset"} <= set(value):
            chosen = _preset(value["name"], value["preset"]).arguments
            arguments = {**chosen, **(value.get("arguments") or {})}
            value = {"name": value["name"], "arguments": arguments}
        return {str(key): _expanded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_expanded(item) for item in value]
    return value


def _preset(name: str, preset: str) -> Preset:
    of_network = presets_of(name)
    if preset not in of_network:
        raise ConfigError(
            f"unknown preset {preset!r} of model {name}: choose one of {', '.join(of_network)}"
        )
    return of_network[preset]


def build_model(
    name: str,
    preset: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    overrides: Mapping[str, object] | None = None,
    feature_range: Mapping[str, float | str] | None = None,
    head: str = "softmax",
) -> keras.Model:
    """Build a network.

    Args:
        name: network, one of :func:`model_names`.
        input_shape: (bins, frames, channels); default: the preset's.
        classes: number of classes; default: the preset's.
        overrides: arguments of the network that differ from the preset's (ablations).
        feature_range: ``feature_min``, ``feature_max`` and ``log`` of the front end, for networks
            that convert features to powers (DiffRes).
        head: ``softmax``, or ``sigmoid`` for clips with several labels, with an independent
            probability per class. A network whose ``Design`` has ``multi_label`` changes its head
            itself; in other networks the final softmax is replaced.

    Returns:
        A Keras model from (batch, bins, frames, channels) to (batch, classes) probabilities.

    Raises:
        ConfigError: an unknown network, preset or argument, a shape that does not fit, or an object
            of Keras 3.
    """
    from m3net_tf.system.keras import require_keras_2
    from m3net_tf.system.keras_internals import refuse_layers_of_keras_3

    require_keras_2(f"model {name}", preset, input_shape, classes, overrides, feature_range, head)
    refuse_layers_of_keras_3()
    if head not in HEADS:
        raise ConfigError(f"head is {head!r}: choose one of {', '.join(HEADS)}")
    module = _module(name)
    chosen = _preset(name, preset)
    accepted = design_defaults(name)
    shape = tuple(input_shape or chosen.input_shape)
    sizes = [size for place, size in enumerate(shape) if place != 1 or size is not None]
    fits = (isinstance(size, numbers.Integral) and size > 0 for size in sizes)
    if len(shape) != 3 or not all(fits):
        raise ConfigError(
            f"input_shape is {shape}: give the numbers (bins, frames, channels), such as "
            f"{chosen.input_shape}"
        )
    arguments = dict(overrides or {})
    if feature_range and "feature_range" in accepted:
        arguments = {"feature_range": feature_range, **arguments}
    if head == "sigmoid" and "multi_label" in accepted:
        arguments["multi_label"] = True
    design = network_design(name, preset, arguments)
    try:
        model = module.build(shape, classes or chosen.classes, design)
    except (TypeError, ValueError) as error:  # Keras raises these if a layer does not fit
        text = one_line(error)
        raise ConfigError(
            f"model {name} {preset} cannot be built for features of shape {shape} ({text}): change "
            "its arguments or the front end"
        ) from None
    return _with_head(model, head)


def _with_head(model: keras.Model, head: str) -> keras.Model:
    """The network with the requested last layer, in single precision regardless of the policy."""
    from m3net_tf.system.keras import keras

    if head == "sigmoid" and len(model.outputs) > 1:
        raise ConfigError(
            f"model {model.name} has early exits, which need one label per clip and loss "
            "cross_entropy: set early_exits to false"
        )
    outputs = []
    for output in model.outputs:
        layer = output.node.layer
        if isinstance(layer, keras.layers.Softmax) and head == "sigmoid":
            kind = keras.layers.Activation("sigmoid", dtype="float32", name=layer.name)
            output = kind(layer.input)
        elif isinstance(layer, keras.layers.Softmax) and layer.compute_dtype != "float32":
            output = keras.layers.Softmax(dtype="float32", name=layer.name)(layer.input)
        elif layer.compute_dtype != "float32":
            output = keras.layers.Activation("linear", dtype="float32", name="answers")(output)
        outputs.append(output)
    if all(new is old for new, old in zip(outputs, model.outputs, strict=True)):
        return model
    return keras.Model(model.input, outputs if len(outputs) > 1 else outputs[0], name=model.name)


def learnt_figures(name: str, model: keras.Model, features: tf.Tensor) -> dict[str, float]:
    """Learnt quantities of a network: the result of its module's ``learnt``, if it has one.

    Args:
        name: network, one of :func:`model_names`.
        model: the network from :func:`build_model`, trained or not.
        features: features of some clips, float32, shape (clips, bins, frames, channels).
    """
    report = getattr(_module(name), "learnt", None)
    return report(model, features) if report else {}
