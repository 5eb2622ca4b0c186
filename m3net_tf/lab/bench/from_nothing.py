# SPDX-License-Identifier: Apache-2.0
"""What a user gets without a body: ``m3net init --from nothing``, ``train`` and ``export``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import SPLITS, AudioDataset, Clip, to_pcm16
from m3net_tf.audio.datasets.audio import write_wav
from m3net_tf.audio.datasets.inspection import inspect_folder
from m3net_tf.boards.starter.project import starter_recipe
from m3net_tf.boards.starter.proposals import NOTHING
from m3net_tf.export import export_run
from m3net_tf.runtime import Classifier
from m3net_tf.system.errors import DataError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import Run
from m3net_tf.training.start import train

FROM_NOTHING = "from nothing"


def trained_from_nothing(
    dataset: AudioDataset,
    training: Sequence[Clip],
    tested: Sequence[Clip],
    board: str,
    log: Log,
) -> npt.NDArray[np.int64]:
    """Classes that an int8 network gives to clips, trained by the recipe of ``m3net init``.

    Args:
        training: all of them train, as they train the classifier of a body. The recipe needs clips
            to validate and test, too: copies of the first of each class.

    Returns:
        Indices of the data set's classes, shape (tested clips,).

    Raises:
        DataError: there are too few clips to train.
    """
    rate_hz = dataset.info.sample_rate_hz
    with tempfile.TemporaryDirectory() as scratch:
        sounds = Path(scratch) / "sounds"
        copied: set[str] = set()
        for at, clip in enumerate(training):
            wave = to_pcm16(dataset.load(clip))
            for split in SPLITS[:1] if clip.label in copied else SPLITS:
                folder = sounds / split / clip.label
                folder.mkdir(parents=True, exist_ok=True)
                write_wav(folder / f"{at}.wav", wave, rate_hz)
            copied.add(clip.label)
        facts = inspect_folder(sounds, log=log)
        try:
            recipe = starter_recipe(facts, board, log, start=NOTHING)
        except DataError as error:  # the folder will be gone
            raise DataError(str(error).removeprefix(f"{sounds}: ")) from None
        recipe["training"].pop("cross_validation", None)
        run = Run(Path(scratch) / "run")
        train(Recipe.from_dict(recipe), run.folder, sounds, log)
        export_run(run, sounds)
        keras.backend.clear_session()
        classifier = Classifier(run.folder)
        answers = [
            classifier.classify(dataset.load(clip), sample_rate_hz=rate_hz) for clip in tested
        ]
        index = {label: at for at, label in enumerate(dataset.info.labels)}
        # A class of its own, such as silence, is not one of the data set.
        return np.array([index.get(classifier.labels[each.label], -1) for each in answers])
