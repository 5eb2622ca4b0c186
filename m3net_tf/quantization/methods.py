# SPDX-License-Identifier: Apache-2.0
"""Quantisation methods, named after their steps: ``ptq+least-error+equalize+bias``."""

from __future__ import annotations

import dataclasses
import re

from m3net_tf.quantization.bias_correction import correct_biases
from m3net_tf.quantization.calibration import clip_at_least_error, clip_at_percentile
from m3net_tf.quantization.diffres import (
    FloatNetwork,
    float_warp_of,
    quantize_parts,
)
from m3net_tf.quantization.equalization import equalize
from m3net_tf.quantization.ptq import calibrate, quantize_calibrated, quantize_int16x8
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

INT16X8 = "int16x8"
_FORM = (
    "ptq or qat, then any of +prune<percent>, +least-error or +p<percentile>, +equalize and +bias, "
    "such as ptq+p99.99+equalize; or int16x8"
)
_LEAST_PRUNED, _MOST_PRUNED = 1, 99  # percent


@dataclasses.dataclass(frozen=True)
class Method:
    """Steps that quantise a network.

    Attributes:
        wide: 16-bit activations and 8-bit weights; excludes all other steps, which are not needed
            with such small steps.
        clip: how activations are clipped: a percentile, ``least-error``, or None for the full
            range of the calibration clips.
        equalize: equalise channels first (cross-layer equalisation).
        bias: correct biases last.
        qat: train with int8 rounding first.
        prune: percent of the weights set to 0, in a training before all other steps.
    """

    wide: bool = False
    clip: float | str | None = None
    equalize: bool = False
    bias: bool = False
    qat: bool = False
    prune: int | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether the network is fine-tuned before it is quantised; see :mod:`.fine_tuning`."""
        return self.qat or self.prune is not None

    @classmethod
    def parse(cls, text: str) -> Method:
        """Parse a method's name; the parts after the first may be in any order.

        Raises:
            ConfigError: the name is invalid; the message describes the format.
        """
        first, *parts = text.split("+")
        if first == INT16X8 and not parts:
            return cls(wide=True)
        if first not in ("ptq", "qat"):
            raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
        values: dict[str, object] = {"qat": first == "qat"}
        for part in parts:
            key, value = _part(part, text)
            if key in values:
                raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
            values[key] = value
        return from_plain(cls, values, "method")

    def __str__(self) -> str:
        if self.wide:
            return INT16X8
        clip = f"p{self.clip:g}" if isinstance(self.clip, float) else self.clip
        pruned = self.prune is not None and f"prune{self.prune}"
        chosen = (pruned, clip, self.equalize and "equalize", self.bias and "bias")
        return "+".join(["qat" if self.qat else "ptq", *(part for part in chosen if part)])


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings of fine-tuning for int8, for methods that need it.

    Attributes:
        epochs: epochs of each fine-tuning; None for the recipe's number.
        teacher: folder of the teacher's run, instead of the recipe's teacher; it may be the run
            itself.
        first_layer: the first layer, in the network's order, that ``qat`` changes; default: all.
    """

    epochs: int | None = None
    teacher: str | None = None
    first_layer: str | None = None


def _part(part: str, text: str) -> tuple[str, object]:
    """The field of a method that a part of its name sets, with its value."""
    if part in ("equalize", "bias"):
        return part, True
    if counted := re.fullmatch(r"prune(\d+)", part):
        percent = int(counted[1])
        if not _LEAST_PRUNED <= percent <= _MOST_PRUNED:
            raise ConfigError(
                f"{part!r} in method {text!r} is out of range: give prune{_LEAST_PRUNED} to "
                f"prune{_MOST_PRUNED}"
            )
        return "prune", percent
    if part == "least-error" or (part[:1] == "p" and part[:5] != "prune"):
        return "clip", _clip(part, text)
    raise ConfigError(f"method {text!r} is unknown: give {_FORM}")


def _clip(part: str, text: str) -> float | str:
    if part == "least-error":
        return part
    try:
        percentile = float(part[1:])
    except ValueError:
        percentile = 0.0
    if not 50 < percentile <= 100:
        raise ConfigError(f"{part!r} in method {text!r} is not a percentile: give p50.1 to p100")
    return percentile


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A quantised network.

    Attributes:
        floats: its float graphs with ranges; their tensors have the same names and channel scales
            as in ``network``.
        changed_layers: layers whose weights or biases the method changed.
    """

    network: Int8Network
    floats: FloatNetwork
    changed_layers: tuple[str, ...]


class Quantizer:
    """Quantises a network, of one or several parts, by several methods.

    Each part is calibrated on the output of the quantised part before it. Work that methods share
    is done once. The network maps (batch, bins, frames, channels) to (batch, classes); calibration
    features are int8, (clips, bins, frames, channels).
    """

    def __init__(self, model: keras.Model, calibration: Int8) -> None:
        self.model = model
        self.calibration = calibration
        self._quantized: dict[Method, Quantized] = {}
        self._calibrated: dict[tuple[str, str], bytes] = {}

    def quantize(self, method: Method) -> Quantized:
        """Quantise by a method.

        Raises:
            ModelError: the method does not support a layer, or the device not the warp.
        """
        if method not in self._quantized:
            graphs: list[bytes] = []
            changed: list[str] = []

            def quantize(part: keras.Model, features: Int8) -> bytes:
                graph = self._calibrate(part, features)
                if method.wide:
                    graphs.append(graph)
                    return quantize_int16x8(part, features)
                graph, layers = _prepared(graph, features, method, part.name)
                graphs.append(graph)
                changed.extend(layers)
                return quantize_calibrated(graph, part.name)

            network = quantize_parts(self.model, self.calibration, quantize)
            floats = FloatNetwork(tuple(graphs), float_warp_of(self.model))
            self._quantized[method] = Quantized(network, floats, tuple(dict.fromkeys(changed)))
        return self._quantized[method]

    def _calibrate(self, part: keras.Model, features: Int8) -> bytes:
        """A part's float graph, with the full ranges of its tensors."""
        key = part.name, sha256_of(features.tobytes())
        if key not in self._calibrated:
            self._calibrated[key] = calibrate(part, features)
        return self._calibrated[key]


def _prepared(
    graph: bytes, features: Int8, method: Method, name: str
) -> tuple[bytes, tuple[str, ...]]:
    """Apply a method's changes to a float graph; also returns the changed layers."""
    changed: list[str] = []
    if method.equalize:
        graph, layers = equalize(graph, features)
        changed += layers
    if method.clip == "least-error":
        graph = clip_at_least_error(graph, features)
    elif isinstance(method.clip, float):
        graph = clip_at_percentile(graph, features, method.clip)
    if method.bias:
        graph, layers = correct_biases(graph, features, name)
        changed += layers
    return graph, tuple(changed)
