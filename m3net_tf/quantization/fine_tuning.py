# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of a trained network for int8: fake quantisation and pruning.

Each method wraps layers of a copy of the network, trains it by the run's recipe at a small rate,
and returns a plain float network with the same layers. It is then quantised like any other network,
so methods can be combined.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.networks.models.interface import takes_lengths
from m3net_tf.quantization.methods import FineTuning, Method
from m3net_tf.quantization.qat import simulate_int8
from m3net_tf.quantization.record import Tuning
from m3net_tf.quantization.sparsity import prune
from m3net_tf.quantization.wrapping import Wrapped
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log, Task, silent, track
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.clips.features import FeatureSet, compute_features, with_lengths
from m3net_tf.training.loop.batches import TrainingClips, fresh_batches, stored_batches
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import Step, make_step
from m3net_tf.training.loss.distillation import load_teacher
from m3net_tf.training.loss.losses import label_loss
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import DistillationSection
from m3net_tf.training.run import Run
from m3net_tf.training.scoring.evaluation import predict_originals, score

_DEFAULTS = FineTuning()


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """A fine-tuned network."""

    model: keras.Model
    done: list[Tuning]


class FineTuner:
    """Fine-tunes one finished run by several methods and loads shared data once.

    Calibration features are int8, (clips, bins, frames, channels).

    Raises:
        ConfigError: the teacher does not match the run.
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
        settings: FineTuning = _DEFAULTS,
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
            dataset, "train", recipe.frontend, recipe.augmentation, recipe.copies_seed, self._log
        )
        if takes_lengths(self.model):
            features = with_lengths(features, dataset, recipe.frontend, recipe.augmentation)
        sampling = recipe.training.sampling
        return TrainingClips(features, teacher.predictions, sampling), teacher.model

    def fine_tune(self, method: Method, first_layer: str | None = None) -> FineTuned:
        """Apply a method's pruning and fake quantisation, in this order.

        ``qat`` changes the network from ``first_layer`` on, in the network's order; default: all.

        Raises:
            ConfigError: the layer does not exist, or nothing is trainable from it on.
            ModelError: the loss is not finite.
        """
        model = self.model
        done = list[Tuning]()
        if method.prune is not None:
            clips = len(self._teaching[0].features.clips)
            settings = self._recipe.training
            steps = settings.epochs * max(1, clips // settings.step_clips)
            pruned = functools.partial(prune, sparsity=method.prune / 100, steps=steps)
            model, figures = self._train("prune", pruned, model)
            done.append({**figures, "percent": method.prune})
        if method.qat:
            simulated = functools.partial(
                simulate_int8,
                calibration=self._calibration,
                first_layer=first_layer,
                keep_zeros=method.prune is not None,
            )
            model, figures = self._train("qat", simulated, model)
            done.append({**figures, "first_layer": first_layer})
        return FineTuned(model, done)

    def _train(
        self, kind: str, wrap: Callable[[keras.Model], Wrapped], model: keras.Model
    ) -> tuple[keras.Model, Tuning]:
        """Wrap a network, train it and remove the wrappers; also returns the training's figures."""
        recipe, settings = self._recipe, self._recipe.training
        clips, teacher = self._teaching
        keras.utils.set_random_seed(settings.seed)
        wrapped = wrap(model)
        if not wrapped.model.trainable_variables:
            raise ConfigError("no layer is left to train: name an earlier layer")
        state = TrainingState(wrapped.model, settings, len(clips.features.clips))
        classes = len(self._dataset.info.labels)
        step = make_step(state, recipe, label_loss(settings, clips.features, classes), teacher)
        wrapped.begin()
        with track(self._log, kind, settings.epochs * state.steps_per_epoch, "steps") as task:
            for epoch in range(settings.epochs):
                loss = self._train_epoch(kind, epoch, step, task)
                wrapped.close_epoch()
                scores = predict_originals(wrapped.model, self._validation)
                validation_score, _ = score(scores, self._validation, self._dataset.info.labels)
                self._log(
                    f"{kind} epoch {epoch + 1}/{settings.epochs}  loss {loss:.4f}  "
                    f"validation {100 * validation_score:.1f} %"
                )
        figures: Tuning = {
            "kind": kind,
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "teacher": ", ".join(recipe.distillation.runs) or None,
            "loss": loss,
        }
        return wrapped.strip(), figures

    def _train_epoch(self, kind: str, epoch: int, step: Step, task: Task) -> float:
        clips, _ = self._teaching
        settings = self._recipe.training
        rng = np.random.default_rng([settings.seed, epoch])
        if self._recipe.augmentation.fresh:
            batches = fresh_batches(clips, self._dataset, self._recipe, epoch)
        else:
            batches = stored_batches(clips, settings.step_clips, rng)
        losses = []
        for batch in batches:
            seed = tf.constant(rng.integers(2**31, size=2), tf.int32)
            losses.append(step(batch, seed, tf.constant(1.0)))
            task.advance()
        loss = float(np.mean([value.numpy() for value in losses]))
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss is {loss} in epoch {epoch + 1} of {kind}: lower "
                "quantization.learning_rate"
            )
        return loss


def _labels_alone(distillation: DistillationSection) -> DistillationSection:
    """Without the teacher's file, because the layer that imitates it is not part of the run."""
    if distillation.weight == 1:
        raise ConfigError(
            "the run learnt from distillation.teacher and no labels: name --teacher, or a method "
            "without fine-tuning"
        )
    return DistillationSection()


def _recipe(recipe: Recipe, settings: FineTuning) -> Recipe:
    quantization = recipe.quantization
    training = dataclasses.replace(
        recipe.training,
        epochs=quantization.epochs if settings.epochs is None else settings.epochs,
        learning_rate=quantization.learning_rate,
        learning_rate_floor=0.0,
        optimizer="adam",
        weight_decay=0.0,
        schedule="cosine",
        warm_up_epochs=0.0,
        weight_average=0.0,
        early_stopping=0,
        mixed_precision=False,
        half_precision="auto",
        xla=False,
    )
    distillation = recipe.distillation
    if settings.teacher:
        distillation = DistillationSection(
            settings.teacher, distillation.weight, distillation.temperature
        )
    elif distillation.teacher:
        distillation = _labels_alone(distillation)
    return dataclasses.replace(recipe, training=training, distillation=distillation)
