# SPDX-License-Identifier: Apache-2.0
"""Finds the cheapest method that preserves a network's accuracy, first without training."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from m3net_tf.quantization.comparison import divergence, points, probabilities, rank_layers
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.ptq import evenly_spaced
from m3net_tf.quantization.record import Attempt
from m3net_tf.runtime.interpreter import Int8, run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.training.clips.features import FeatureSet

if TYPE_CHECKING:  # tfmot takes seconds to import
    from m3net_tf.quantization.fine_tuning import FineTuned

#: In the order of their cost on the device: none, except for the last, which about doubles the
#: network's arena and time.
REPAIR_METHODS = (
    "ptq",
    "ptq+p99.99",
    "ptq+least-error",
    "ptq+equalize+bias",
    "ptq+least-error+equalize+bias",
    "int16x8",
)
WITHIN_BOUND = "within the bound"
_MOST_EXPENSIVE = 3  # number of layers; a repair by training begins at the first of them
_RANKED_CLIPS = 200
_PARITY_CLIPS = 4


class Repair:
    """Tries methods until the accuracy of int8 is within a bound of the float network's.

    ``expected`` are the float network's probabilities on validation, shape (clips, classes), and
    ``bound_points`` the percentage points of accuracy that int8 may lose.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        validation: FeatureSet,
        expected: npt.NDArray[Any],
        bound_points: float,
        log: Log,
    ) -> None:
        self.quantizer = quantizer
        self.validation = validation
        self.expected = expected
        self.bound_points = bound_points
        self.log = log
        self.attempts: list[Attempt] = []

    @property
    def holds(self) -> bool:
        """Whether the last attempt is within the bound."""
        return bool(self.attempts) and self.attempts[-1]["outcome"] == WITHIN_BOUND

    def without_training(self) -> Method:
        """The first of :data:`REPAIR_METHODS` within the bound, or else the one that loses least.

        Raises:
            ModelError: the network has no int8 form.
        """
        for name in REPAIR_METHODS:
            method = Method.parse(name)
            self.attempts.append(self._attempt(self.quantizer, method))
            if self.holds:
                return method
        possible = self._possible()
        if not possible:
            raise ModelError(f"{self.quantizer.model.name}: {self.attempts[0]['outcome']}")
        return Method.parse(min(possible, key=operator.itemgetter(0))[1])

    def by_training(
        self, best_method: Method, train: Callable[[Method, str | None], FineTuned]
    ) -> tuple[Method, FineTuned | None]:
        """Train with int8 rounding, first from the most expensive layers on, then all layers.

        Args:
            best_method: the method that loses least without training.
            train: trains the network by a method from a first layer on.

        Returns:
            The method that loses least of all attempts, and the trained network if it has one.
        """
        method = Method(qat=True)
        start = self._first_layer()
        smallest_drop = min(drop for drop, _ in self._possible())
        best: tuple[Method, FineTuned | None] = best_method, None
        for first_layer in (start, None) if start else (None,):
            trained = train(method, first_layer)
            quantizer = Quantizer(trained.model, self.quantizer.calibration)
            attempt = self._attempt(quantizer, method, first_layer)
            self.attempts.append(attempt)
            drop = attempt["drop_points"]
            if drop is not None and drop < smallest_drop:
                smallest_drop, best = drop, (method, trained)
            if self.holds:
                break
        return best

    def _possible(self) -> list[tuple[float, str]]:
        """Lost points and name of each method that gave an int8 network."""
        return [
            (drop, attempt["method"])
            for attempt in self.attempts
            if (drop := attempt["drop_points"]) is not None
        ]

    def _first_layer(self) -> str | None:
        if self.attempts[0]["drop_points"] is None:
            return None
        self.log(f"quantising one layer at a time on {_RANKED_CLIPS} validation clips")
        costs = rank_layers(
            self.quantizer.quantize(Method()),
            evenly_spaced(self.validation.clean, _RANKED_CLIPS),
            evenly_spaced(self.validation.labels, _RANKED_CLIPS),
            self.quantizer.model.name,
            self.log,
        )
        return first_expensive_layer([cost["layer"] for cost in costs], self.quantizer.model)

    def _attempt(
        self, quantizer: Quantizer, method: Method, first_layer: str | None = None
    ) -> Attempt:
        """Loss of a method, as in the report."""
        drop_points, distance, outcome = None, None, ""
        labels = self.validation.labels
        try:
            network = quantizer.quantize(method).network
            if method.wide:
                outcome = why_not_on_device(network, self.validation.clean)
        except ModelError as error:
            outcome = str(error)
        if not outcome:
            scores = network.run(run_reference, self.validation.clean)
            accuracy = (self.expected.argmax(1) == labels).mean()
            drop_points = points(accuracy - (scores.argmax(1) == labels).mean())
            distance = divergence(self.expected, probabilities(scores))
            outcome = WITHIN_BOUND if drop_points <= self.bound_points else "loses too much"
        name = f"{method} from {first_layer} on" if first_layer else str(method)
        drop = "" if drop_points is None else f"{drop_points:.2f} points: "
        self.log(f"{name}: {drop}{outcome}")
        return {
            "method": name,
            "drop_points": drop_points,
            "divergence": distance,
            "outcome": outcome,
        }


def first_expensive_layer(ranking: Sequence[str], model: keras.Model) -> str | None:
    """The earliest of the most expensive layers; None if it is the network's first.

    ``ranking`` has names of layers, the most expensive first.
    """
    names = [layer.name for layer in model.layers if layer.weights]
    ranked = [part for name in ranking for part in name.split("/") if part in names]
    indices = [names.index(name) for name in ranked[:_MOST_EXPENSIVE]]
    return names[min(indices)] if indices and min(indices) > 0 else None


def why_not_on_device(network: Int8Network, features: Int8) -> str:
    """Reason why TFLite Micro cannot run the network with equal bytes; '' if it can."""
    if reason := tflm_unavailable_reason():
        return reason
    clips = evenly_spaced(features, _PARITY_CLIPS)
    if not np.array_equal(network.run(run_tflm, clips), network.run(run_reference, clips)):
        return "TFLite Micro rounds a layer otherwise than TFLite"
    return ""
