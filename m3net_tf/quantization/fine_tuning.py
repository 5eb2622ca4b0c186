# SPDX-License-Identifier: Apache-2.0
"""A few more epochs that fit a trained network to int8: fake quantisation, pruning, clustering.

Each wraps layers of a copy of the network, trains it by the run's own recipe at a small rate, and
gives back a plain float network of the same layers. That one goes the way of every other network to
int8, so all methods can be combined.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m3net_tf.datasets import AudioDataset
from m3net_tf.errors import ConfigError, ModelError
from m3net_tf.keras import keras, tf
from m3net_tf.progress import Log, silent
from m3net_tf.quantization.methods import FineTuning, Method
from m3net_tf.quantization.qat import simulate_int8
from m3net_tf.quantization.sparsity import cluster, prune
from m3net_tf.quantization.wrapping import Wrapped
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.training.batches import TrainingClips, fresh_batches, stored_batches
from m3net_tf.training.checks import input_shape
from m3net_tf.training.distillation import load_teacher
from m3net_tf.training.evaluation import answers, score, takes_lengths
from m3net_tf.training.features import FeatureSet, compute_features, with_lengths
from m3net_tf.training.losses import label_loss
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.training.state import TrainingState
from m3net_tf.training.steps import make_step

_AS_THE_RECIPE = FineTuning()


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """A network after its fine-tunings.

    Attributes:
        model: plain float network.
        done: what was done, in order, as plain values for a report.
    """

    model: keras.Model
    done: list[dict[str, Any]]


class FineTuner:
    """Fine-tunes one run by several methods; what they share is loaded once.

    Args:
        run: finished run.
        dataset: its data set.
        data_dir: where that lies.
        calibration: int8 features of training clips, shape (clips, bins, frames, channels).
        validation: its validation clips.
        settings: how.
        log: takes lines of progress.

    Raises:
        ConfigError: the teacher does not fit the run.
        DataError: the data set is missing or broken.
        ModelError: the run, or the teacher's, is unfinished.
    """

    def __init__(
        self,
        run: Run,
        dataset: AudioDataset,
        data_dir: Path | None,
        calibration: Int8,
        validation: FeatureSet,
        settings: FineTuning = _AS_THE_RECIPE,
        log: Log = silent,
    ) -> None:
        self.model = run.load_model()
        self.settings = settings
        self._dataset = dataset
        self._calibration = calibration
        self._validation = validation
        self._log = log
        self._recipe = _recipe(run.recipe(), settings)
        self._data_dir = data_dir

    @functools.cached_property
    def _teaching(self) -> tuple[TrainingClips, keras.Model | None]:
        recipe, dataset = self._recipe, self._dataset
        shape = input_shape(dataset.info, recipe.frontend)
        teacher = load_teacher(recipe, dataset, shape, self._data_dir, self._log)
        features = compute_features(
            dataset, "train", recipe.frontend, recipe.augmentation, recipe.training.seed, self._log
        )
        if takes_lengths(self.model):
            features = with_lengths(features, dataset, recipe.frontend, recipe.augmentation)
        return TrainingClips(features, teacher.answers), teacher.model

    def fine_tune(self, method: Method, first_layer: str | None = None) -> FineTuned:
        """Do all that a method asks for: pruning, fake quantisation, clustering, in this order.

        Args:
            method: the method.
            first_layer: the first layer, in the network's order, that ``qat`` changes; all by
                default.

        Raises:
            ConfigError: there is no such layer, or nothing to train from it on.
            ModelError: the loss became infinite.
        """
        model, done = self.model, []
        for what, wrap in self._trainings(method, first_layer):
            model, figures = self._train(what["kind"], wrap, model)
            done.append({**what, **figures})
        return FineTuned(model, done)

    def _trainings(
        self, method: Method, first_layer: str | None
    ) -> Iterator[tuple[dict[str, Any], Callable[[keras.Model], Wrapped]]]:
        """What a method asks for: how it is reported, and how it wraps a network."""
        zeros = method.prune is not None
        if method.prune is not None:
            clips, settings = len(self._teaching[0].features.clips), self._recipe.training
            steps = settings.epochs * max(1, clips // settings.batch_size)
            yield (
                {"kind": "prune", "percent": method.prune},
                functools.partial(prune, sparsity=method.prune / 100, steps=steps),
            )
        if method.qat:
            yield (
                {"kind": "qat", "first_layer": first_layer},
                functools.partial(
                    simulate_int8,
                    calibration=self._calibration,
                    first_layer=first_layer,
                    keep_zeros=zeros,
                ),
            )
        if method.cluster is not None:
            yield (
                {"kind": "cluster", "centroids": method.cluster},
                functools.partial(cluster, centroids=method.cluster, keep_zeros=zeros),
            )

    def _train(
        self, kind: str, wrap: Callable[[keras.Model], Wrapped], model: keras.Model
    ) -> tuple[keras.Model, dict[str, Any]]:
        """Wrap a network, train it and take the wrappers off; also the training's figures."""
        recipe, settings = self._recipe, self._recipe.training
        clips, teacher = self._teaching
        keras.utils.set_random_seed(settings.seed)
        wrapped = wrap(model)
        if not wrapped.model.trainable_variables:
            raise ConfigError("nothing is left to be trained: name an earlier layer")
        state = TrainingState(wrapped.model, settings, len(clips.features.clips))
        classes = len(self._dataset.info.labels)
        step = make_step(state, recipe, label_loss(settings, clips.features, classes), teacher)
        wrapped.begin()
        for epoch in range(settings.epochs):
            rng = np.random.default_rng([settings.seed, epoch])
            if recipe.augmentation.fresh:
                batches = fresh_batches(clips, self._dataset, recipe, epoch)
            else:
                batches = stored_batches(clips, settings.batch_size, rng)
            losses = [
                step(batch, tf.constant(rng.integers(2**31, size=2), tf.int32), tf.constant(1.0))
                for batch in batches
            ]
            loss = float(np.mean([value.numpy() for value in losses]))
            if not math.isfinite(loss):
                raise ModelError(
                    f"the loss became {loss} in epoch {epoch + 1} of {kind}: lower "
                    "quantization.learning_rate"
                )
            wrapped.close_epoch()
            scores = answers(wrapped.model, self._validation)
            reached, _ = score(scores, self._validation, self._dataset.info.labels)
            self._log(
                f"{kind} epoch {epoch + 1}/{settings.epochs}  loss {loss:.4f}  "
                f"validation {100 * reached:.1f} %"
            )
        figures = {
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "teacher": recipe.distillation.run,
            "loss": loss,
        }
        return wrapped.strip(), figures


def _recipe(recipe: Recipe, settings: FineTuning) -> Recipe:
    """The run's recipe with the few epochs and the small rate of a fine-tuning."""
    own = recipe.quantization
    training = dataclasses.replace(
        recipe.training,
        epochs=own.epochs if settings.epochs is None else settings.epochs,
        learning_rate=own.learning_rate,
        learning_rate_floor=0.0,
        optimizer="adam",
        weight_decay=0.0,
        schedule="cosine",
        warm_up_epochs=0.0,
        weight_average=0.0,
        early_stopping=0,
        mixed_precision=False,
    )
    distillation = recipe.distillation
    if settings.teacher:
        distillation = dataclasses.replace(distillation, run=settings.teacher)
    return dataclasses.replace(recipe, training=training, distillation=distillation)
