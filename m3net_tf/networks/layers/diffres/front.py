# SPDX-License-Identifier: Apache-2.0
"""DiffRes in front of a classifier: as a part of a functional network, and as one layer.

Liu et al., "Learning the Spectrogram Temporal Resolution for Audio Classification", AAAI 2024,
algorithm 3. Where the paper gives no details, the choices reproduce the published number of
parameters (docs/design/decisions.md).
"""

from collections.abc import Mapping
from typing import Any

from m3net_tf.networks.layers.configured import MapLayer
from m3net_tf.networks.layers.diffres.frame_importance import frame_importance
from m3net_tf.networks.layers.diffres.warp import (
    FrameScores,
    FrameWarp,
    frames_after,
    require_one_channel,
)
from m3net_tf.system.keras import keras, require_keras_2, tf

SCORES = "diffres_scores"
WARP = "diffres_warp"


def rescale_and_warp(
    frames: int,
    reduction: float,
    *,
    guide_weight: float = 1.0,
    guide_threshold: float = 0.5,
    energy_floor: float = 1e-4,
    fill_rows: bool = True,
    maximum: bool = True,
    encoding: bool = True,
    reading: str = "paper",
    feature_range: Mapping[str, float | str] | None = None,
) -> tuple[FrameScores, FrameWarp]:
    """The layers that follow the scores; the options are arguments of the two layers.

    Args:
        frames: number T of frames.
        reduction: share of the frames that is removed, delta.
        reading: ``paper`` or ``released``.
        feature_range: ``feature_min``, ``feature_max`` and ``log`` of the front end.
    """
    span = dict(feature_range or {})
    rescale = FrameScores(
        reduction, guide_weight, guide_threshold, energy_floor, reading, **span, name=SCORES
    )
    warp = FrameWarp(
        frames_after(frames, reduction),
        fill_rows,
        maximum,
        encoding,
        1.0 / (1.0 - reduction) if reading == "released" else 1.0,
        **span,
        name=WARP,
    )
    return rescale, warp


def diffres(x: tf.Tensor, reduction: float, *, reading: str = "paper", **options: Any) -> tf.Tensor:
    """Score frames, rescale, warp (algorithm 3).

    Args:
        x: feature map of shape (batch, F, T, 1).
        reduction: share of the frames that is removed, delta.
        options: as in :func:`rescale_and_warp`.

    Returns:
        Map of shape (batch, F, floor((1 - reduction) T), 3): mean, maximum, encoding.
    """
    rescale, warp = rescale_and_warp(x.shape[2], reduction, reading=reading, **options)
    scores = frame_importance(x, reading=reading)  # (T,)
    return warp([x, rescale([x, scores])])  # (F, t, 3)


@keras.utils.register_keras_serializable("m3net_tf")
class DiffRes(MapLayer):
    """DiffRes as one layer, for a classifier of your own.

    The score network's weights and the guide loss are in the layer's ``weights`` and ``losses``.
    TFLite's converter has no form of the warp: :func:`m3net_tf.export.from_keras.save_tflite`
    writes a network that begins with this layer for a device.

    Args:
        reduction: share of the frames that is removed, delta.
        reading: ``paper``, or ``released`` for the authors' code where it differs.
        trainable: whether the score network is trained.
        dtype: type or policy of the score network.
        options: as in :func:`m3net_tf.networks.layers.diffres.front.rescale_and_warp`.

    Shapes:
        (batch, F, T, 1) to (batch, F, floor((1 - reduction) T), 3): mean, maximum, encoding.

    Raises:
        TypeError: an unknown option.
        ConfigError: a value is out of range, the input is not a map of known size with one channel,
            or something is an object of Keras 3.
    """

    channels = "1"

    def __init__(
        self,
        reduction: float,
        *,
        reading: str = "paper",
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        require_keras_2("DiffRes", reduction, options)
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self._arguments = {"reduction": reduction, "reading": reading, **options}
        rescale_and_warp(1, **self._arguments)  # refuses wrong arguments here, not in build

    def build(self, input_shape: tf.TensorShape) -> None:
        """Build the score network and the warp for a map of this shape."""
        self.require_map(input_shape)
        require_one_channel(input_shape[3])
        reading = self._arguments["reading"]
        self._rescale, self._warp = rescale_and_warp(input_shape[2], **self._arguments)
        inputs = keras.Input(input_shape[1:])
        self._importance = keras.Model(inputs, frame_importance(inputs, reading=reading))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        scores = self._importance(inputs, training=training)
        return self._warp([inputs, self._rescale([inputs, scores])])

    def parts(self) -> tuple[keras.Model, FrameScores, FrameWarp]:
        """What a device runs one after the other: score network, rescaling, warp."""
        return self._importance, self._rescale, self._warp

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), **self._arguments}
