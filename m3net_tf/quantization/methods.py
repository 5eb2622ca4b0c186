# SPDX-License-Identifier: Apache-2.0
"""Ways to quantise a network, named by what is done: ``ptq+least-error+equalize+bias``."""

from __future__ import annotations

import dataclasses
import functools

from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras
from m3net_tf.quantization.bias_correction import correct_biases
from m3net_tf.quantization.calibration import clip_at_least_error, clip_at_percentile
from m3net_tf.quantization.equalization import equalize
from m3net_tf.quantization.ptq import calibrate, quantize_calibrated, quantize_int16x8
from m3net_tf.quantization.runtime import Int8

INT16X8 = "int16x8"
_FORM = (
    "ptq, then any of +least-error or +p<percentile>, +equalize and +bias, such as "
    "ptq+p99.99+equalize; or int16x8"
)


@dataclasses.dataclass(frozen=True)
class Method:
    """What is done to a network on its way to int8.

    Attributes:
        wide: 16-bit activations, 8-bit weights; goes with nothing else, for its steps are fine
            enough without.
        clip: how the ranges of activations leave rare values out: a percentile, ``least-error``,
            or None for all values of the calibration clips.
        equalize: scale channels alike first (cross-layer equalisation).
        bias: correct biases last.
    """

    wide: bool = False
    clip: float | str | None = None
    equalize: bool = False
    bias: bool = False

    @classmethod
    def parse(cls, text: str) -> Method:
        """Read a method's name; its parts may stand in any order behind the first.

        Raises:
            ConfigError: it is none; the message says how names are formed.
        """
        first, *parts = text.split("+")
        if first == INT16X8 and not parts:
            return cls(wide=True)
        values: dict[str, bool | float | str] = {}
        for part in parts:
            key = "clip" if part[:1] == "p" or part == "least-error" else part
            if first != "ptq" or key in values or key not in ("clip", "equalize", "bias"):
                raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
            values[key] = True if key != "clip" else _clip(part, text)
        if first != "ptq":
            raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.wide:
            return INT16X8
        clip = f"p{self.clip:g}" if isinstance(self.clip, float) else self.clip
        chosen = (clip, self.equalize and "equalize", self.bias and "bias")
        return "+".join(["ptq", *(part for part in chosen if part)])


def _clip(part: str, text: str) -> float | str:
    if part == "least-error":
        return part
    try:
        percentile = float(part[1:])
    except ValueError:
        percentile = 0.0
    if not 50 < percentile <= 100:
        raise ConfigError(f"{part!r} in method {text!r} is no percentile: give p50.1 to p100")
    return percentile


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A quantised network.

    Attributes:
        tflite: the network for the device.
        calibrated: the float graph that it was made of, with ranges; its tensors have the same
            names, and channels scaled as in ``tflite``.
        changed_layers: layers whose weights or biases the method changed.
    """

    tflite: bytes
    calibrated: bytes
    changed_layers: tuple[str, ...]


class Quantizer:
    """Quantises one network by several methods; what they share is done once.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
    """

    def __init__(self, model: keras.Model, calibration: Int8) -> None:
        self.model = model
        self.calibration = calibration
        self._made: dict[Method, Quantized] = {}

    @functools.cached_property
    def calibrated(self) -> bytes:
        """The float graph, with the full ranges of its tensors."""
        return calibrate(self.model, self.calibration)

    def quantize(self, method: Method) -> Quantized:
        """Quantise by a method.

        Raises:
            ModelError: a layer has no form in it.
        """
        if method not in self._made:
            self._made[method] = self._wide() if method.wide else self._int8(method)
        return self._made[method]

    def _wide(self) -> Quantized:
        return Quantized(quantize_int16x8(self.model, self.calibration), self.calibrated, ())

    def _int8(self, method: Method) -> Quantized:
        graph, name = self.calibrated, self.model.name
        changed: list[str] = []
        if method.equalize:
            equalized = equalize(graph, self.calibration)
            graph = equalized.tflite
            changed += equalized.layers
        if method.clip == "least-error":
            graph = clip_at_least_error(graph, self.calibration)
        elif isinstance(method.clip, float):
            graph = clip_at_percentile(graph, self.calibration, method.clip)
        if method.bias:
            corrected = correct_biases(graph, self.calibration, name)
            graph = corrected.tflite
            changed += corrected.layers
        return Quantized(quantize_calibrated(graph, name), graph, tuple(dict.fromkeys(changed)))
