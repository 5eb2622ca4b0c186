# SPDX-License-Identifier: Apache-2.0
"""A finished run as the start of a new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras
from m3net_tf.progress import Log
from m3net_tf.training.run import Run, require_same_held_out
from m3net_tf.training.sections import FineTuningSection


def start_from(
    model: keras.Model,
    settings: FineTuningSection,
    dataset: AudioDataset,
    build: Callable[[int], keras.Model],
    log: Log,
) -> dict[str, Any]:
    """Give a network the weights of a run, layer by layer by name and shape, and freeze some.

    Layers whose shape depends on the number of classes keep their random start: the head, whose
    outputs mean other classes even where there are as many.

    Args:
        model: network to be trained; changed in place.
        settings: the run, and the layers to freeze.
        dataset: data set that it is to be trained on.
        build: builds the network for a number of classes.
        log: takes lines of progress.

    Returns:
        The layers and parameters taken, for ``metrics.json``; empty without ``settings.run``.

    Raises:
        ConfigError: nothing fits, a beginning in ``freeze`` is no layer's, nothing is left to be
            trained, or the run may have learnt from clips that are held out here.
        ModelError: the run is unfinished or damaged.
    """
    if settings.run is None:
        return {}
    run = Run(Path(settings.run))
    require_same_held_out(run, dataset, "fine_tuning.run")
    trained = run.load_model()
    trained.trainable = True  # layers that were frozen give their weights in another order
    taken, new = _copy_weights(trained, model, build(len(dataset.info.labels) + 1))
    if not taken:
        raise ConfigError(
            f"fine_tuning.run {run.folder} has no layer that fits {model.name} by name and shape: "
            "name a run of the same network"
        )
    parameters = sum(layer.count_params() for layer in taken)
    frozen = _freeze(model, settings.freeze)
    log(
        f"{len(taken)} layers with {parameters} parameters from {run.folder}; "
        f"new are {', '.join(new) or 'none'}; frozen are {len(frozen)}"
    )
    return {
        "run": settings.run,
        "layers_taken": len(taken),
        "parameters_taken": parameters,
        "layers_new": new,
        "layers_frozen": frozen,
    }


def _copy_weights(
    trained: keras.Model, model: keras.Model, wider: keras.Model
) -> tuple[list[keras.layers.Layer], list[str]]:
    """Copy weights layer by layer; ``wider`` has one class more, which shows the head.

    Returns:
        The layers that got weights, and the names of those that keep their random start.
    """
    source = {layer.name: layer for layer in trained.layers}
    wider_shapes = {layer.name: _shapes(layer) for layer in wider.layers}
    taken, new = [], []
    for layer in model.layers:
        if not layer.weights:
            continue
        shapes = _shapes(layer)
        is_head = wider_shapes.get(layer.name, shapes) != shapes
        if is_head or layer.name not in source or _shapes(source[layer.name]) != shapes:
            new.append(layer.name)
            continue
        layer.set_weights(source[layer.name].get_weights())
        taken.append(layer)
    return taken, new


def _freeze(model: keras.Model, beginnings: tuple[str, ...]) -> list[str]:
    layers = [layer for layer in model.layers if layer.weights]
    for beginning in beginnings:
        if not any(layer.name.startswith(beginning) for layer in layers):
            names = ", ".join(layer.name for layer in layers)
            raise ConfigError(
                f"fine_tuning.freeze names {beginning!r}, with which no layer begins: layers with "
                f"weights are {names}"
            )
    frozen = [layer for layer in layers if layer.name.startswith(beginnings)]
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_weights:
        raise ConfigError("fine_tuning.freeze leaves nothing to be trained: freeze less")
    return [layer.name for layer in frozen]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
