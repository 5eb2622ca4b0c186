# SPDX-License-Identifier: Apache-2.0
"""The run folder with a training's results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from m3net_tf.audio.datasets import AudioDataset, protocol_statement
from m3net_tf.networks.models import design_sha256, register_layers
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError
from m3net_tf.training.clips.source import open_clips, recorded_data_folder
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run.archive import read_archive
from m3net_tf.training.run.metrics import RunMetrics

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and most readers do not need it
    from m3net_tf.system.keras import keras


class _Trained(TypedDict):
    """What is read of ``metrics.json`` before the rest."""

    recipe: dict[str, Any]


@dataclasses.dataclass(frozen=True, init=False)
class Run:
    """One run folder.

    Attributes:
        folder: ``runs/<name>`` with ``recipe.yaml``, ``model.keras`` (best epoch by validation),
            ``metrics.json``, ``history.csv``, ``confusion_matrix.csv``; during training
            ``state.npz`` and ``state.previous.npz``; ``added`` if clips were added to
            another run's; after tuning of live detection ``detector.yaml``; for a data set in a
            folder ``data.json``.
    """

    folder: Path
    _loaded: dict[Path | None, AudioDataset] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def __init__(self, folder: str | Path) -> None:
        object.__setattr__(self, "folder", Path(folder))
        object.__setattr__(self, "_loaded", {})

    @property
    def recipe_path(self) -> Path:
        """The run's recipe."""
        return self.folder / "recipe.yaml"

    @property
    def model_path(self) -> Path:
        """The trained network."""
        return self.folder / "model.keras"

    @property
    def metrics_path(self) -> Path:
        """Results and their provenance."""
        return self.folder / "metrics.json"

    @property
    def state_path(self) -> Path:
        """State of an unfinished training."""
        return self.folder / "state.npz"

    @property
    def previous_state_path(self) -> Path:
        """Its state one epoch earlier, for the case that the newest is damaged."""
        return self.folder / "state.previous.npz"

    @property
    def detector_path(self) -> Path:
        """Settings of live detection, if a tuning or the user wrote them."""
        return self.folder / "detector.yaml"

    @property
    def quantized_path(self) -> Path:
        """The int8 network of ``m3net quantize``."""
        return self.folder / "quantized" / "model.tflite"

    @property
    def finished(self) -> bool:
        """Whether training has finished."""
        return self.metrics_path.exists() and self.model_path.exists()

    @property
    def outdated(self) -> bool:
        """Whether a preset has changed so that the recipe now builds another network.

        Runs of old versions without a design hash count as current.
        """
        if not self.finished:
            return False
        metrics = read_json(self.metrics_path, _Trained)
        return built_otherwise(metrics, Recipe.from_dict(metrics["recipe"]))

    def recipe(self) -> Recipe:
        """The recipe.

        Raises:
            ModelError: the folder is not a run.
        """
        if not self.recipe_path.exists():
            raise ModelError(
                f"{self.folder} is not a run folder (no recipe.yaml): train first, or name a run"
            )
        return load_recipe(self.recipe_path)

    def metrics(self) -> RunMetrics:
        """The results written by :func:`m3net_tf.training.train`.

        Raises:
            ModelError: training has not finished, or ``metrics.json`` is damaged.
            DataError: ``metrics.json`` is half-written.
        """
        self._require_finished()
        return RunMetrics.read(self.metrics_path)

    def data_folder(self, data_dir: Path | None) -> Path | None:
        """Folder of the data set: ``data_dir``, or the training's; None for the cache.

        Raises:
            DataError: the folder of the training no longer exists.
        """
        return recorded_data_folder(self.folder) if data_dir is None else data_dir

    def dataset(self, data_dir: Path | None) -> AudioDataset:
        """The data set that the recipe names, from :meth:`data_folder`.

        Raises:
            DataError, ConfigError: as :func:`m3net_tf.audio.datasets.load_dataset` and
                :meth:`data_folder`.
        """
        if data_dir not in self._loaded:
            recipe = self.recipe()
            clips = open_clips(recipe, self.folder, data_dir).with_added(recipe, self.folder)
            self._loaded[data_dir] = clips.dataset
        return self._loaded[data_dir]

    def check(self, data_dir: Path | None) -> None:
        """Check, without TensorFlow, that the run is finished and its data set available.

        Raises:
            ModelError: the folder is not a finished run.
            DataError, ConfigError: as :meth:`dataset`.
        """
        self._require_finished()
        self.dataset(data_dir)

    def protocol_statement(self, dataset: AudioDataset) -> str:
        """Statement of how the run's clips were held out, and whether the split has changed."""
        statement = protocol_statement(dataset)
        trained = self.metrics().dataset.clip_list_sha256
        if not trained or trained == dataset.clip_list_hash():
            return statement
        return f"{statement}; CHANGED since the training, so some of these clips may be trained on"

    def load_model(self) -> keras.Model:
        """The trained network.

        Raises:
            ModelError: training has not finished, or the file is damaged or could run code.
        """
        self._require_finished()
        return _read_network(self.model_path, f"delete {self.folder} and train again")

    def _require_finished(self) -> None:
        self.recipe()
        if not self.finished:
            raise ModelError(
                f"{self.folder} has not finished training: run the same training again to resume"
            )


def load(run_or_file: str | Path) -> keras.Model:
    """Load a trained network.

    Args:
        run_or_file: a run folder, a ``model.keras`` of this package, or the name of one of its
            trained networks.

    Returns:
        Uncompiled Keras model from (batch, bins, frames, channels) to (batch, classes)
        probabilities.

    Raises:
        ConfigError: the argument is a network of Keras 3.
        ModelError: there is no such file, training has not finished, or the file is damaged, could
            run code or is one of Keras 3.
    """
    from m3net_tf.system.keras import require_keras_2

    require_keras_2("load", run_or_file)
    path = find_pretrained(Path(run_or_file))
    if path.is_dir():
        return Run(path).load_model()
    if not path.exists():
        raise ModelError(f"{path} does not exist: give a run folder or its model.keras")
    return _read_network(path, "give a run folder or its model.keras")


def _read_network(path: Path, remedy: str) -> keras.Model:
    from m3net_tf.system.keras_internals import refuse_layers_of_keras_3

    refuse_layers_of_keras_3()
    register_layers()
    try:
        return read_archive(path)
    except M3NetError:
        raise
    except Exception as error:  # Keras checks no value of a configuration before it uses it
        raise ModelError(f"{path} cannot be read ({type(error).__name__}): {remedy}") from None


def design_of(recipe: Recipe) -> str:
    """Hash of the network that a recipe builds now.

    See :func:`m3net_tf.networks.models.design_sha256`.
    """

    model = recipe.model
    return design_sha256(model.name, model.preset, model.arguments)


def built_otherwise(metrics: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a run's network differs from the one that its recipe builds now."""
    current = design_of(recipe)
    return bool(metrics.get("design_sha256", current) != current)


def require_same_held_out(run: Run, dataset: AudioDataset, key: str) -> None:
    """Refuse a run that may have been trained on clips that are held out here.

    Raises:
        ConfigError: the run used the same data set with another split; the message names ``key``.
        ModelError: the run is unfinished.
    """
    trained_on = run.metrics().dataset
    hashes = dataset.clip_list_hash()
    held_out = ("validation", "test")
    differ = any(trained_on.clip_list_sha256[name] != hashes[name] for name in held_out)
    if trained_on.name == dataset.info.name and differ:
        raise ConfigError(
            f"{key} {run.folder} has another split of {trained_on.name}, so it may have been "
            "trained on held-out clips: name a run with the same protocol, fold, seed and options"
        )


def linked_run(name: str | None) -> Run:
    """The run that ``fine_tuning.run`` or ``distillation.run`` of a recipe names.

    Args:
        name: folder of a run, or name of a trained network of the package.

    Raises:
        ModelError: it is a single word, but neither a name nor an existing folder.
    """
    return Run(find_pretrained(Path(name or "")))
