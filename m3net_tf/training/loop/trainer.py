# SPDX-License-Identifier: Apache-2.0
"""Trains the network of a recipe: seeded, validated and resumable after every epoch."""

import functools

from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.networks.models.interface import takes_lengths
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.clips.features import recipe_features
from m3net_tf.training.clips.source import Clips, record_source
from m3net_tf.training.loop.batches import TrainingClips
from m3net_tf.training.loop.distribution import Share
from m3net_tf.training.loop.epochs import Loop, run_epochs
from m3net_tf.training.loop.fine_tuning import start_from
from m3net_tf.training.loop.results import Trained
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import make_step
from m3net_tf.training.loop.stopping import AfterEpoch
from m3net_tf.training.loss.distillation import load_teacher
from m3net_tf.training.loss.imitation import imitating
from m3net_tf.training.loss.losses import label_loss
from m3net_tf.training.network import build_network, half_precision
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run


def train_network(
    recipe: Recipe,
    run: Run,
    clips: Clips,
    share: Share,
    log: Log,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train to the last epoch from the start or the saved state, which is saved after each epoch.

    Each worker of a training calls this function; only the first one writes files.

    Args:
        clips: the recipe's clips, already checked.
        share: of this process, from :func:`.distribution.devices_in_use`.

    Raises:
        M3NetError: as :func:`.start.train`.
    """
    settings, dataset = recipe.training, clips.dataset
    labels = dataset.info.labels
    shape = input_shape(dataset.info, recipe.frontend)
    build = functools.partial(build_network, recipe, shape, dataset.info.multi_label)
    keras.utils.set_random_seed(settings.seed)
    with half_precision(settings):
        model = build(len(labels))
    features = functools.partial(
        recipe_features,
        recipe,
        own_lengths=takes_lengths(model),
        streamed=clips.shards is not None,
        log=log,
    )
    teacher = load_teacher(recipe, dataset, shape, clips.folder, log)
    fine_tuning = start_from(model, recipe.fine_tuning, dataset, build, log)
    training = features(dataset, "train")
    validation = features(dataset, "validation")
    # Checks settings against the data, so it runs before anything is written.
    loss = label_loss(settings, training, len(labels))
    if settings.accumulate > 1 and len(training.clips) < settings.step_clips:
        raise ConfigError(
            f"training.accumulate is {settings.accumulate} with batches of {settings.batch_size}, "
            f"but there are {len(training.clips)} training clips: lower one of them"
        )
    trained = imitating(model, teacher.vectors.facts["values"]) if teacher.vectors else model
    state = TrainingState(trained, settings, len(training.clips), model)
    state.resume(run.state_path, run.previous_state_path, log)
    log(
        f"{model.name} {recipe.model.preset}: {model.count_params()} parameters, "
        f"{count_macs(model)} MACs, {len(training.clips)} training clips"
    )
    if share.writes:
        save_recipe(recipe, run.recipe_path)
        record_source(run.folder, recipe.dataset.name, clips.source)
    step = make_step(state, recipe, loss, teacher.model, own_batches=clips.shards is not None)
    stored = TrainingClips(training, teacher.predictions, settings.sampling, teacher.vectors)
    run_epochs(Loop(state, step, stored, validation, clips, recipe, log), run, after_epoch)
    final = functools.partial(build, len(labels))
    facts = teacher.vectors.facts if teacher.vectors else None
    return Trained(state, recipe, dataset, fine_tuning, final, features, validation, facts)
