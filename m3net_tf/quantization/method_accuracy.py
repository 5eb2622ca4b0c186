# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run's network by a method of quantisation; writes no files."""

from pathlib import Path
from typing import TypedDict

from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.features import FeatureSet, compute_features
from m3net_tf.training.run import Run


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
    run: Run, data_dir: Path | None, method: Method, log: Log = silent
) -> MethodFigures:
    """Accuracy of a run's network by a method; the run is not changed.

    Raises:
        M3NetError: an error of a stage.
    """
    model = run.load_model()
    recipe = run.recipe()
    dataset = run.dataset(data_dir)
    train, validation, test = (
        compute_features(dataset, name, recipe.frontend, log=log)
        for name in ("train", "validation", "test")
    )
    settings = recipe.quantization
    chosen = choose_calibration(train.labels, settings.calibration_clips, settings.seed)
    calibration = train.clean[chosen]
    log(f"{run.folder}: quantising by {method}")
    if method.fine_tunes:
        from m3net_tf.quantization.fine_tuning import FineTuner  # tfmot takes seconds to import

        tuner = FineTuner(run, dataset, data_dir, calibration, validation, log=log)
        model = tuner.fine_tune(method).model
    network = Quantizer(model, calibration).quantize(method).network

    def accuracy(clips: FeatureSet) -> float:
        scores = network.run(run_reference, clips.clean)
        return float((scores.argmax(1) == clips.labels).mean())

    return {
        "accuracy": accuracy(test),
        "validation_accuracy": accuracy(validation),
        "model_bytes": network.size_bytes,
    }
