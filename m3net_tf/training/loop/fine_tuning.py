# SPDX-License-Identifier: Apache-2.0
"""Starts a training from the weights of a finished run."""

from collections.abc import Callable
from typing import TypedDict

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.system.words import counted
from m3net_tf.training.recipe.sections import FineTuningSection
from m3net_tf.training.run import linked_run, require_same_held_out


class StartedFrom(TypedDict):
    """The weights that a training started from.

    Attributes:
        layers_new: names of the layers that keep their random weights.
    """

    run: str
    layers_taken: int
    parameters_taken: int
    layers_new: list[str]
    layers_frozen: list[str]


def start_from(
    model: keras.Model,
    settings: FineTuningSection,
    dataset: AudioDataset,
    build: Callable[[int], keras.Model],
    log: Log,
) -> StartedFrom | None:
    """Copy a run's weights into a network, by the layers' names and shapes, and freeze layers.

    Layers whose shape depends on the number of classes keep their random weights. They form the
    head, whose outputs mean other classes even if their number is equal. With ``settings.add`` the
    classes are the run's, and the head is copied, too.

    Returns:
        The copied weights, for ``metrics.json``; None without ``settings.run``.

    Raises:
        ConfigError: no layer fits, no layer matches a prefix in ``freeze``, all weights are frozen,
            the run may have been trained on clips that are held out here, or clips are added and
            the run has other classes.
        ModelError: the run is unfinished or damaged, or there is no network of that name.
    """
    if settings.run is None:
        return None
    run = linked_run(settings.run)
    require_same_held_out(run, dataset, "fine_tuning.run")
    trained = run.load_model()
    trained.trainable = True  # frozen layers would return their weights in another order
    if settings.add and run.metrics().dataset.labels != dataset.info.labels:
        raise ConfigError(
            f"fine_tuning.add: {run.folder} has other classes than {dataset.info.name} now: add to "
            "a run with the same classes"
        )
    wider = model if settings.add else build(len(dataset.info.labels) + 1)
    copied, new = _copy_weights(trained, model, wider)
    if not copied:
        raise ConfigError(
            f"fine_tuning.run {run.folder} has no layer that fits {model.name} by name and shape: "
            "name a run of the same network"
        )
    parameters = sum(layer.count_params() for layer in copied)
    frozen = _freeze(model, settings)
    log(
        f"{counted(len(copied), 'layer')} with {parameters} parameters from {run.folder}; "
        f"new: {', '.join(new) or 'none'}; frozen: {len(frozen)}"
    )
    return {
        "run": settings.run,
        "layers_taken": len(copied),
        "parameters_taken": parameters,
        "layers_new": new,
        "layers_frozen": frozen,
    }


def _copy_weights(
    trained: keras.Model, model: keras.Model, wider: keras.Model
) -> tuple[list[keras.layers.Layer], list[str]]:
    """Copy weights layer by layer; ``wider`` has one class more, which identifies the head."""
    source = {layer.name: layer for layer in trained.layers}
    wider_shapes = {layer.name: _shapes(layer) for layer in wider.layers}
    copied, new = [], []
    for layer in model.layers:
        if not layer.weights:
            continue
        shapes = _shapes(layer)
        is_head = wider_shapes.get(layer.name, shapes) != shapes
        if is_head or layer.name not in source or _shapes(source[layer.name]) != shapes:
            new.append(layer.name)
            continue
        layer.set_weights(source[layer.name].get_weights())
        copied.append(layer)
    return copied, new


def _freeze(model: keras.Model, settings: FineTuningSection) -> list[str]:
    """Freeze the layers that settings name.

    A fitted head needs the statistics of the body's normalisation: batches of a few sounds would
    replace them by others, for which its weights are wrong.
    """
    prefixes = settings.freeze
    layers = [layer for layer in model.layers if layer.weights]
    for prefix in prefixes:
        if not any(layer.name.startswith(prefix) for layer in layers):
            names = ", ".join(layer.name for layer in layers)
            raise ConfigError(
                f"fine_tuning.freeze has {prefix!r}, but no layer's name begins with it: layers "
                f"with weights are {names}"
            )
    frozen = [
        layer
        for layer in layers
        if layer.name.startswith(prefixes)
        or (settings.fit_head and isinstance(layer, keras.layers.BatchNormalization))
    ]
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_weights:
        raise ConfigError("fine_tuning.freeze freezes all layers: freeze fewer")
    return [layer.name for layer in frozen]


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
