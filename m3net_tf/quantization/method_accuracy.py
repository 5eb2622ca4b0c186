# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run's network for several quantisation methods; writes no files."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.features import FeatureSet, compute_features
from m3net_tf.training.run import Run

if TYPE_CHECKING:  # tfmot takes seconds to import
    from m3net_tf.quantization.fine_tuning import FineTuner


class MethodFigures(TypedDict):
    """A run's network by one method of quantisation.

    Attributes:
        accuracy: share of the test clips that are recognised.
        validation_accuracy: share of the validation clips.
        model_bytes: all ``.tflite`` files of the network.
    """

    accuracy: float
    validation_accuracy: float
    model_bytes: int


def method_figures(
    run: Run,
    data_dir: Path | None,
    methods: Sequence[Method],
    log: Log = silent,
) -> dict[str, MethodFigures]:
    """Accuracy of a run's network for each method; the run is not changed.

    Raises:
        M3NetError: an error of a stage.
    """
    model, recipe = run.load_model(), run.recipe()
    dataset = run.dataset(data_dir)
    train, validation, test = (
        compute_features(dataset, name, recipe.frontend, log=log)
        for name in ("train", "validation", "test")
    )
    settings = recipe.quantization
    chosen = choose_calibration(train.labels, settings.calibration_clips, settings.seed)
    quantizer = Quantizer(model, train.clean[chosen])

    @functools.cache
    def tuner() -> FineTuner:
        from m3net_tf.quantization.fine_tuning import FineTuner

        return FineTuner(run, dataset, data_dir, quantizer.calibration, validation, log=log)

    figures: dict[str, MethodFigures] = {}
    for method in methods:
        log(f"{run.folder}: quantising by {method}")
        method_quantizer = quantizer
        if method.fine_tunes:
            method_quantizer = Quantizer(tuner().fine_tune(method).model, quantizer.calibration)
        network = method_quantizer.quantize(method).network

        def accuracy(clips: FeatureSet, network: Int8Network = network) -> float:
            scores = network.run(run_reference, clips.clean)
            return float((scores.argmax(1) == clips.labels).mean())

        figures[str(method)] = {
            "accuracy": accuracy(test),
            "validation_accuracy": accuracy(validation),
            "model_bytes": network.size_bytes,
        }
    return figures
