# SPDX-License-Identifier: Apache-2.0
"""DiffRes, or a baseline of its paper, before any network.

Liu et al., "Learning the Spectrogram Temporal Resolution for Audio Classification", AAAI 2024: a
first part that reduces the number of frames for a classifier. Where the paper gives no details,
the choices reproduce the published number of parameters (docs/design/decisions.md).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from m3net_tf.networks.layers.diffres import SCORES, WARP, DiffRes, diffres
from m3net_tf.networks.layers.diffres.frame_importance import conv_encoder
from m3net_tf.networks.layers.diffres.time_pooling import AdaptiveAveragePooling, FrameSampling
from m3net_tf.networks.layers.diffres.warp import (
    FrameScores,
    FrameWarp,
    activeness,
    frames_after,
    require_one_channel,
)
from m3net_tf.networks.models.stacking import Classifier, put_in_front
from m3net_tf.system.errors import ConfigError, require_known_keys
from m3net_tf.system.keras import keras, tf


def _avgpool(x: tf.Tensor, reduction: float, **_: Any) -> tf.Tensor:
    return AdaptiveAveragePooling(frames_after(x.shape[2], reduction), name="avgpool")(x)


def _change_hop(x: tf.Tensor, reduction: float, **_: Any) -> tf.Tensor:
    return FrameSampling(frames_after(x.shape[2], reduction), name="change_hop")(x)


def _conv_avgpool(x: tf.Tensor, reduction: float, *, reading: str = "paper", **_: Any) -> tf.Tensor:
    return _avgpool(conv_encoder(x, reading=reading), reduction)


METHODS: dict[str, Callable[..., tf.Tensor]] = {
    "diffres": diffres,
    "avgpool": _avgpool,
    "change_hop": _change_hop,
    "conv_avgpool": _conv_avgpool,
    "none": lambda x, *_, **__: x,
}


@dataclasses.dataclass(frozen=True)
class Design:
    """Design of DiffRes or a baseline with a classifier.

    Attributes:
        classifier: the network that follows: ``name``, ``preset`` and optionally ``arguments``.
        method: ``diffres``, ``avgpool``, ``change_hop``, ``conv_avgpool`` or ``none`` (the
            classifier alone).
        reduction: share of the frames that is removed, delta.
        guide_weight: weight of the guide loss in ``model.losses``. 0 = "w/o guide loss"
            (figure 8).
        guide_threshold: lambda of the guide loss.
        energy_floor: epsilon: frames whose mel powers have a lower root mean square are empty.
        fill_rows: False gives "w/o Algorithm 1" (figure 8).
        maximum: False gives "w/o max" (figure 8).
        encoding: False gives "w/o resolution encoding" (figure 8).
        reading: ``paper``, the text, or ``released``, the authors' code where it differs from the
            text (docs/design/decisions.md): scores that always fill the output, another guide loss,
            a scaled maximum, the order of the score network's layers, and ConvAvgPool's skip. It
            has no counterpart on a device.
        one_channel: reduce DiffRes's channels to one by a 1 x 1 convolution, for classifiers that
            accept only one.
        feature_range: the front end's ``feature_min``, ``feature_max`` and ``log`` if they differ
            from the preset ``mcu``.
    """

    classifier: Classifier
    method: Literal["diffres", "avgpool", "change_hop", "conv_avgpool", "none"] = "diffres"
    reduction: float = 0.5
    guide_weight: float = 1.0
    guide_threshold: float = 0.5
    energy_floor: float = 1e-4
    fill_rows: bool = True
    maximum: bool = True
    encoding: bool = True
    reading: Literal["paper", "released"] = "paper"
    one_channel: bool = False
    feature_range: dict[str, float | str] | None = None


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build DiffRes or a baseline, followed by a classifier (table 1), for maps of one channel.

    Raises:
        ConfigError: an unknown classifier or key, a share of frames out of range, or features with
            more than one channel.
    """
    require_known_keys(
        design.feature_range or {},
        ("feature_min", "feature_max", "log"),
        "in section 'model.arguments.feature_range'",
    )
    require_one_channel(input_shape[2])
    inputs = keras.Input(input_shape, name="features")  # (F, T, 1)
    x = METHODS[design.method](
        inputs,
        design.reduction,
        guide_weight=design.guide_weight,
        guide_threshold=design.guide_threshold,
        energy_floor=design.energy_floor,
        fill_rows=design.fill_rows,
        maximum=design.maximum,
        encoding=design.encoding,
        reading=design.reading,
        feature_range=design.feature_range,
    )
    if design.one_channel and x.shape[-1] > 1:
        x = keras.layers.Conv2D(1, 1, name="one_channel")(x)
    return put_in_front(inputs, x, design.classifier, classes, name="diffres")


def probe(model: keras.Model) -> keras.Model:
    """A network of DiffRes's internal values, for logs and figures 4, 6 and 7.

    Args:
        model: network with ``method="diffres"``.

    Returns:
        Network with the same input and a dict as output: ``scores`` (batch, T) after rescaling,
        ``features`` (batch, F, t, channels), the classifier's input, and per clip ``activeness``
        and ``guide_loss`` (both (batch,); the loss without its weight).

    Raises:
        ConfigError: the network has no DiffRes.
    """
    layer = _scores_layer(model)
    inputs, scores = model.input, layer.output
    empty = layer.empty(inputs)
    return keras.Model(
        inputs,
        {
            "scores": scores,
            "features": model.get_layer(WARP).output,
            "activeness": activeness(scores, empty, layer.reduction),
            "guide_loss": layer.guide_loss(scores, empty),
        },
    )


def learnt(model: keras.Model, features: tf.Tensor) -> dict[str, float]:
    """Mean activeness and guide loss of clips, for the training log; see :func:`probe`.

    Empty for a baseline without DiffRes.
    """
    if not has_diffres(model):
        return {}
    values = probe(model)(features, training=False)
    return {key: float(tf.reduce_mean(values[key])) for key in ("activeness", "guide_loss")}


def has_diffres(model: keras.Model) -> bool:
    """Whether a network has DiffRes, which a device runs as two networks and a warp."""
    return any(layer.name == SCORES or isinstance(layer, DiffRes) for layer in model.layers)


def importance_network(model: keras.Model) -> keras.Model:
    """The frame-importance network, which becomes a separate int8 network.

    Args:
        model: network with ``method="diffres"``, or one that begins with the layer
            :class:`.DiffRes`.

    Returns:
        Network from features (batch, F, T, 1) to scores (batch, T) before rescaling, with the
        given network's weights.

    Raises:
        ConfigError: the network has no DiffRes, or layers in front of it.
    """
    if layer := _first_layer(model):
        network, *_ = layer.parts()
        return keras.Model(network.input, network.output, name="importance")
    _scores_layer(model)
    return keras.Model(model.input, model.get_layer("importance_scores").output, name="importance")


def warp_layers(model: keras.Model) -> tuple[FrameScores, FrameWarp]:
    """The layers between importance network and classifier, which a device has in C.

    Raises:
        ConfigError: as :func:`importance_network`.
    """
    if layer := _first_layer(model):
        _, *layers = layer.parts()
        return layers[0], layers[1]
    return _scores_layer(model), model.get_layer(WARP)


def classifier_network(model: keras.Model) -> keras.Model:
    """The classifier, which becomes a separate int8 network after a warp in C.

    Args:
        model: as for :func:`importance_network`.

    Returns:
        Network from warped features (batch, F, t, channels) to (batch, classes) probabilities,
        with the given network's weights.

    Raises:
        ConfigError: as :func:`importance_network`.
    """
    layer = _first_layer(model)
    if layer is None:
        _scores_layer(model)
        layer = model.get_layer(WARP)
    return keras.Model(layer.output, model.output, name="classifier")


def _first_layer(model: keras.Model) -> DiffRes | None:
    """The layer with which a network begins; None for one with ``method="diffres"``."""
    layer = next((layer for layer in model.layers if isinstance(layer, DiffRes)), None)
    if layer is not None and layer.input is not model.input:
        raise ConfigError(f"model {model.name} has layers before DiffRes: make it the first layer")
    return layer


def _scores_layer(model: keras.Model) -> FrameScores:
    if not any(layer.name == SCORES for layer in model.layers):
        raise ConfigError(f"model {model.name} has no DiffRes: build it with method diffres")
    layer: FrameScores = model.get_layer(SCORES)
    return layer
