# SPDX-License-Identifier: Apache-2.0
"""Ways to quantise a network, named by what is done: ``ptq+least-error+equalize+bias``."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from m3net_tf.artifacts import sha256_of
from m3net_tf.errors import ConfigError
from m3net_tf.keras import keras
from m3net_tf.quantization.bias_correction import correct_biases
from m3net_tf.quantization.calibration import clip_at_least_error, clip_at_percentile
from m3net_tf.quantization.diffres import (
    FloatNetwork,
    Int8Network,
    float_warp_of,
    quantize_parts,
)
from m3net_tf.quantization.equalization import equalize
from m3net_tf.quantization.ptq import calibrate, quantize_calibrated, quantize_int16x8
from m3net_tf.runtime.interpreter import Int8

INT16X8 = "int16x8"
_FORM = (
    "ptq or qat, then any of +prune<percent>, +cluster<centroids>, +least-error or +p<percentile>, "
    "+equalize and +bias, such as ptq+p99.99+equalize; or int16x8"
)
_COUNTS = {"prune": (1, 99), "cluster": (3, 128)}


@dataclasses.dataclass(frozen=True)
class Method:
    """Steps that turn a network into int8.

    Attributes:
        wide: 16-bit activations, 8-bit weights; goes with nothing else, for its steps are fine
            enough without.
        clip: how the ranges of activations leave rare values out: a percentile, ``least-error``,
            or None for all values of the calibration clips.
        equalize: scale channels alike first (cross-layer equalisation).
        bias: correct biases last.
        qat: train with int8's rounding first.
        prune: percent of the weights that become 0, in a training before all else.
        cluster: values that a layer's weights may have, in the last training.
    """

    wide: bool = False
    clip: float | str | None = None
    equalize: bool = False
    bias: bool = False
    qat: bool = False
    prune: int | None = None
    cluster: int | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether the network is trained on before it is quantised; see :mod:`.fine_tuning`."""
        return self.qat or self.prune is not None or self.cluster is not None

    @classmethod
    def parse(cls, text: str) -> Method:
        """Read a method's name; its parts may stand in any order behind the first.

        Raises:
            ConfigError: it is none; the message says how names are formed.
        """
        first, *parts = text.split("+")
        if first == INT16X8 and not parts:
            return cls(wide=True)
        if first not in ("ptq", "qat"):
            raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
        values: dict[str, Any] = {"qat": first == "qat"}
        for part in parts:
            key, value = _part(part, text)
            if key in values:
                raise ConfigError(f"method {text!r} is unknown: give {_FORM}")
            values[key] = value
        return cls(**values)

    def __str__(self) -> str:
        if self.wide:
            return INT16X8
        clip = f"p{self.clip:g}" if isinstance(self.clip, float) else self.clip
        counts = (
            f"{name}{getattr(self, name)}" for name in _COUNTS if getattr(self, name) is not None
        )
        chosen = (*counts, clip, self.equalize and "equalize", self.bias and "bias")
        return "+".join(["qat" if self.qat else "ptq", *(part for part in chosen if part)])


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Training for int8, for methods that need it.

    Attributes:
        epochs: of each fine-tuning; None for the recipe's number.
        teacher: folder of the teacher's run, instead of the recipe's teacher; the run itself may
            be it.
        first_layer: the first layer, in the network's order, that ``qat`` changes; all by default.
    """

    epochs: int | None = None
    teacher: str | None = None
    first_layer: str | None = None


def _part(part: str, text: str) -> tuple[str, Any]:
    """Field of a method that a part of its name sets, and its value."""
    if part in ("equalize", "bias"):
        return part, True
    if counted := re.fullmatch(r"(prune|cluster)(\d+)", part):
        name, count = counted[1], int(counted[2])
        low, high = _COUNTS[name]
        if not low <= count <= high:
            raise ConfigError(
                f"{part!r} in method {text!r} is out of range: give {name}{low} to {name}{high}"
            )
        return name, count
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
        raise ConfigError(f"{part!r} in method {text!r} is no percentile: give p50.1 to p100")
    return percentile


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A quantised network.

    Attributes:
        network: for the device.
        floats: the float graphs that it was made of, with ranges; their tensors have the same
            names, and channels scaled as in ``network``.
        changed_layers: layers whose weights or biases the method changed.
    """

    network: Int8Network
    floats: FloatNetwork
    changed_layers: tuple[str, ...]


class Quantizer:
    """Quantises one network, of one part or several, by several methods.

    Each part is calibrated on what the quantised part before it gives. What methods share is done
    once.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
    """

    def __init__(self, model: keras.Model, calibration: Int8) -> None:
        self.model = model
        self.calibration = calibration
        self._made: dict[Method, Quantized] = {}
        self._calibrated: dict[tuple[str, str], bytes] = {}

    def quantize(self, method: Method) -> Quantized:
        """Quantise by a method.

        Raises:
            ModelError: a layer has no form in it, or its warp has a form that the device lacks.
        """
        if method not in self._made:
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
            self._made[method] = Quantized(network, floats, tuple(dict.fromkeys(changed)))
        return self._made[method]

    def _calibrate(self, part: keras.Model, features: Int8) -> bytes:
        """A part's float graph, with the full ranges of its tensors."""
        key = part.name, sha256_of(features.tobytes())
        if key not in self._calibrated:
            self._calibrated[key] = calibrate(part, features)
        return self._calibrated[key]


def _prepared(
    graph: bytes, features: Int8, method: Method, name: str
) -> tuple[bytes, tuple[str, ...]]:
    """A float graph as a method wants it to be quantised, and the layers that it has changed."""
    changed: list[str] = []
    if method.equalize:
        equalized = equalize(graph, features)
        graph = equalized.tflite
        changed += equalized.layers
    if method.clip == "least-error":
        graph = clip_at_least_error(graph, features)
    elif isinstance(method.clip, float):
        graph = clip_at_percentile(graph, features, method.clip)
    if method.bias:
        corrected = correct_biases(graph, features, name)
        graph = corrected.tflite
        changed += corrected.layers
    return graph, tuple(changed)
