# SPDX-License-Identifier: Apache-2.0
"""DiffRes, or a rival of it, in front of any network.

Liu et al., "Learning the Spectrogram Temporal Resolution for Audio Classification", AAAI 2024: a
front part that hands a classifier fewer frames than it gets. Where the paper is silent the choice
that gives the published number of parameters was taken (docs/decisions.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from m3net_tf.errors import ConfigError, require_known_keys
from m3net_tf.keras import keras, tf
from m3net_tf.models.diffres.frame_importance import conv_encoder, frame_importance
from m3net_tf.models.diffres.time_pooling import AdaptiveAveragePooling, FrameSampling
from m3net_tf.models.diffres.warp import (
    FrameScores,
    FrameWarp,
    activeness,
    frames_after,
    guide_loss,
)
from m3net_tf.models.registry import Preset
from m3net_tf.models.stacking import put_in_front

SCORES = "diffres_scores"
WARP = "diffres_warp"


def diffres(
    x: tf.Tensor,
    reduction: float,
    *,
    guide_weight: float = 1.0,
    guide_threshold: float = 0.5,
    energy_floor: float = 1e-4,
    fill_rows: bool = True,
    maximum: bool = True,
    encoding: bool = True,
    feature_range: Mapping[str, Any] | None = None,
) -> tf.Tensor:
    """Score frames, rescale, warp (algorithm 3).

    Args:
        x: feature map of shape (batch, F, T, 1).
        reduction: share of the frames that goes, delta.
        guide_weight: weight of the guide loss among the network's losses; 0 = none.
        guide_threshold: the guide loss's lambda.
        energy_floor: frames of less energy are empty.
        fill_rows: apply Algorithm 1.
        maximum: add the maximum as a channel.
        encoding: add the resolution encoding as a channel.
        feature_range: ``feature_min``, ``feature_max`` and ``log`` of the front end.

    Returns:
        Map of shape (batch, F, floor((1 - reduction) T), 3): mean, maximum, encoding.
    """
    span = dict(feature_range or {})
    scores = frame_importance(x)  # (T,)
    scores = FrameScores(
        reduction, guide_weight, guide_threshold, energy_floor, **span, name=SCORES
    )([x, scores])
    warp = FrameWarp(
        frames_after(x.shape[2], reduction),
        fill_rows,
        maximum,
        encoding,
        **span,
        name=WARP,
    )
    return warp([x, scores])  # (F, t, 3)


def _avgpool(x: tf.Tensor, reduction: float, **_: Any) -> tf.Tensor:
    return AdaptiveAveragePooling(frames_after(x.shape[2], reduction), name="avgpool")(x)


def _change_hop(x: tf.Tensor, reduction: float, **_: Any) -> tf.Tensor:
    return FrameSampling(frames_after(x.shape[2], reduction), name="change_hop")(x)


def _conv_avgpool(x: tf.Tensor, reduction: float, **_: Any) -> tf.Tensor:
    return _avgpool(conv_encoder(x), reduction)


METHODS: dict[str, Callable[..., tf.Tensor]] = {
    "diffres": diffres,
    "avgpool": _avgpool,
    "change_hop": _change_hop,
    "conv_avgpool": _conv_avgpool,
    "none": lambda x, *_, **__: x,
}


@dataclasses.dataclass(frozen=True)
class Design:
    """What is built: DiffRes or a rival of it, and the classifier behind it.

    Attributes:
        classifier: network behind it: ``name``, ``preset`` and, if wanted, ``arguments``.
        method: ``diffres``, ``avgpool``, ``change_hop``, ``conv_avgpool`` or ``none`` (the
            classifier alone).
        reduction: share of the frames that goes, delta.
        guide_weight: weight of the guide loss; it is one of ``model.losses``. 0 = "w/o guide
            loss" (figure 8).
        guide_threshold: the guide loss's lambda.
        energy_floor: epsilon: frames whose mel powers have a lower root mean square are empty.
        fill_rows: False gives "w/o Algorithm 1" (figure 8).
        maximum: False gives "w/o max" (figure 8).
        encoding: False gives "w/o resolution encoding" (figure 8).
        one_channel: mix DiffRes's channels into one by a 1 x 1 convolution, for classifiers that
            take no more.
        feature_range: the front end's ``feature_min``, ``feature_max`` and ``log``, if they are
            not those of the microcontroller's.
    """

    classifier: Mapping[str, Any]
    method: str = "diffres"
    reduction: float = 0.5
    guide_weight: float = 1.0
    guide_threshold: float = 0.5
    energy_floor: float = 1e-4
    fill_rows: bool = True
    maximum: bool = True
    encoding: bool = True
    one_channel: bool = False
    feature_range: Mapping[str, Any] | None = None


def build(input_shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build a classifier behind DiffRes or one of its rivals (table 1).

    Args:
        input_shape: (bins, frames, 1).
        classes: number of classes.
        design: what to build.

    Returns:
        Keras model, (batch, bins, frames, 1) to (batch, classes) probabilities.

    Raises:
        ConfigError: an unknown method, classifier or key, a share of frames out of range, or
            features of more than one channel.
    """
    if design.method not in METHODS:
        raise ConfigError(f"model.method is {design.method!r}: choose one of {', '.join(METHODS)}")
    require_known_keys(
        design.feature_range or {},
        ("feature_min", "feature_max", "log"),
        "in section 'model.feature_range'",
    )
    if input_shape[2] != 1:
        raise ConfigError(f"DiffRes takes a map with 1 channel, not {input_shape[2]}")
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
        feature_range=design.feature_range,
    )
    if design.one_channel and x.shape[-1] > 1:
        x = keras.layers.Conv2D(1, 1, name="one_channel")(x)
    return put_in_front(inputs, x, design.classifier, classes, name="diffres")


def probe(model: keras.Model) -> keras.Model:
    """What DiffRes does inside a network, for logs and figures 4, 6 and 7.

    Args:
        model: network with ``method="diffres"``.

    Returns:
        Network of the same input with a dict as output: ``scores`` (batch, T) after rescaling,
        ``features`` (batch, F, t, channels) that the classifier gets, and, a value for each clip,
        ``activeness`` and ``guide_loss`` (both (batch,); the loss without its weight).

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
            "guide_loss": guide_loss(scores, empty, layer.reduction, layer.guide_threshold),
        },
    )


def learnt(model: keras.Model, features: tf.Tensor) -> dict[str, float]:
    """For a training's log: activeness and guide loss, means over the clips; see :func:`probe`.

    Nothing for a rival of DiffRes.
    """
    if not has_diffres(model):
        return {}
    values = probe(model)(features, training=False)
    return {key: float(tf.reduce_mean(values[key])) for key in ("activeness", "guide_loss")}


def has_diffres(model: keras.Model) -> bool:
    """Whether a network has DiffRes, which on a device becomes two networks and a warp."""
    return any(layer.name == SCORES for layer in model.layers)


def importance_network(model: keras.Model) -> keras.Model:
    """The frame-importance network alone, which becomes an int8 network of its own.

    Args:
        model: network with ``method="diffres"``.

    Returns:
        Network from features (batch, F, T, 1) to scores (batch, T) before rescaling, with the
        given network's weights.

    Raises:
        ConfigError: the network has no DiffRes.
    """
    _scores_layer(model)
    return keras.Model(model.input, model.get_layer("importance_scores").output, name="importance")


def classifier_network(model: keras.Model) -> keras.Model:
    """The classifier alone, which behind a warp in C becomes an int8 network of its own.

    Args:
        model: network with ``method="diffres"``.

    Returns:
        Network from warped features (batch, F, t, channels) to (batch, classes) probabilities,
        with the given network's weights.

    Raises:
        ConfigError: the network has no DiffRes.
    """
    _scores_layer(model)
    warped = model.get_layer(WARP).output
    return keras.Model(warped, model.output, name="classifier")


def _scores_layer(model: keras.Model) -> FrameScores:
    if not has_diffres(model):
        raise ConfigError(f"model {model.name} has no DiffRes: build it with method diffres")
    return model.get_layer(SCORES)


PRESETS = {
    "paper": Preset(
        input_shape=(128, 98, 1),
        classes=35,
        parameters=8_245_948,
        macs=111_915_770,
        summary="DiffRes at 50 frames a second, EfficientNet-B2 behind it (Speech Commands)",
        arguments={
            "classifier": {"name": "efficientnet_attention", "preset": "paper"},
            "feature_range": {"feature_min": -23.0, "feature_max": 6.0},  # front end "diffres"
        },
    ),
    "mcu": Preset(
        input_shape=(40, 49, 1),
        classes=12,
        parameters=43_139,
        macs=1_468_504,
        summary="DiffRes at half the frames, M3Net mcu behind it",
        arguments={"classifier": {"name": "m3net", "preset": "mcu"}},
    ),
    "s": Preset(
        input_shape=(40, 49, 1),
        classes=12,
        parameters=60_195,
        macs=1_524_568,
        summary="64 kB of arena, 200 kB of weights: half the frames of 20 ms, M3Net s behind it",
        arguments={"classifier": {"name": "m3net", "preset": "s"}},
    ),
    "m": Preset(
        input_shape=(40, 98, 1),
        classes=12,
        parameters=141_797,
        macs=10_591_216,
        summary="192 kB of arena, 500 kB of weights: half the frames of 10 ms, M3Net m behind it",
        arguments={"classifier": {"name": "m3net", "preset": "m"}},
    ),
    "l": Preset(
        input_shape=(40, 197, 1),
        classes=12,
        parameters=417_221,
        macs=106_043_928,
        summary="512 kB of arena, 1.5 MB of weights: half the frames of 5 ms, M3Net l behind it",
        arguments={"classifier": {"name": "m3net", "preset": "l"}},
    ),
}
