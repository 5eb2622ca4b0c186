# SPDX-License-Identifier: Apache-2.0
"""All that the page shows of a run: its files, and its test clips where they are at hand."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import AudioDataset
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import read_manifest
from m3net_tf.pages.report.records import Live
from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ConfigError, M3NetError
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.run import Run
from m3net_tf.training.run.metrics import RunMetrics
from m3net_tf.training.scoring.metrics import DEFAULT_THRESHOLD
from m3net_tf.training.scoring.windows import rows_of_whole, whole_scores

if TYPE_CHECKING:
    from m3net_tf.system.keras import keras
    from m3net_tf.training.clips.features import FeatureSet

Floats = npt.NDArray[np.floating]
Truth = npt.NDArray[np.bool_]
Content = TypeVar("Content")


@dataclasses.dataclass(frozen=True)
class HeldOutClips:
    """Test clips and what the trained network makes of them; long clips are cut into windows.

    Attributes:
        features: their int8 features.
        probabilities: shape (clips, classes).
    """

    dataset: AudioDataset
    features: FeatureSet
    model: keras.Model
    probabilities: Floats

    @property
    def truth(self) -> Truth:
        """Whether a clip has a class, shape (clips, classes)."""
        if self.features.matrix is not None:
            return self.features.matrix.astype(bool)
        return np.equal(self.features.labels[:, None], np.arange(self.probabilities.shape[1]))

    def whole(self) -> tuple[Floats, Truth]:
        """Probabilities and truth, shape (clips, classes); windows of a long clip count as one."""
        labels = self.dataset.info.labels
        scores, first = whole_scores(self.probabilities, self.features.clips, labels)
        return scores, self.truth[first]

    def rows(self) -> list[list[int]]:
        """Rows of each clip of :meth:`whole`: its windows, or the clip itself."""
        return rows_of_whole(self.features.clips)

    @property
    def cut(self) -> bool:
        """Whether some rows are windows of a longer clip."""
        return any(clip.whole for clip in self.features.clips)

    @property
    def unit(self) -> str:
        """What the rows are, in words."""
        return "windows of test clips" if self.cut else "test clips"


@dataclasses.dataclass(frozen=True)
class RunData:
    """A finished run.

    Attributes:
        clips: its test clips; None if they are not at hand.
        clips_missing: then, why; else ''.
    """

    run: Run
    name: str
    metrics: RunMetrics
    clips: HeldOutClips | None
    clips_missing: str

    @property
    def path(self) -> str:
        """Its folder as a word of a command line."""
        return shlex.quote(str(self.run.folder))

    @property
    def exported_sha256(self) -> str | None:
        """SHA-256 of the exported network; None without an export."""
        path = self.run.folder / "export" / "manifest.json"
        return read_manifest(path).model.sha256 if path.is_file() else None

    def bundle(self) -> Bundle | None:
        """The export; None without one.

        Raises:
            ModelError, DataError: it is incomplete or damaged.
        """
        folder = self.run.folder / "export"
        return Bundle.load(folder) if (folder / "manifest.json").is_file() else None

    @property
    def live(self) -> Live | None:
        """Live detection of the exported network; None if it was not measured."""
        live = self.file("streaming.json", Live)
        return live if live and live["model_sha256"] == self.exported_sha256 else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.metrics.dataset.labels

    @property
    def network(self) -> str:
        """Name and preset of the network."""
        model = self.run.recipe().model
        return f"{model.name} {model.preset}"

    @property
    def multi_label(self) -> bool:
        """Whether clips may have several classes."""
        return "mean_average_precision" in self.metrics.test

    @property
    def figure(self) -> tuple[str, Literal["accuracy", "mean_average_precision"]]:
        """What measures the run, in words and as a key of :class:`.records.Summary`."""
        return ("mAP", "mean_average_precision") if self.multi_label else ("accuracy", "accuracy")

    @property
    def thresholds(self) -> list[float] | None:
        """Threshold of each class where clips may have several; else None."""
        if not self.multi_label:
            return None
        chosen = self.metrics.thresholds
        return [chosen.get(label, DEFAULT_THRESHOLD) for label in self.labels]

    def file(self, name: str, kind: type[Content]) -> Content | None:
        """Content of a JSON file of the run; None if there is none.

        Args:
            kind: what is read of it; see :mod:`.records`.

        Raises:
            DataError: the file is damaged.
        """
        path = self.run.folder / name
        content: Content | None = read_json(path, kind) if path.is_file() else None
        return content


def answers(probabilities: Floats, thresholds: Sequence[float] | None = None) -> Truth:
    """Whether a class is in the answer to a clip: (clips, classes) to the same shape.

    The answer is the likeliest class; with :attr:`RunData.thresholds` all classes that reach them.
    """
    if thresholds is not None:
        return np.asarray(probabilities >= np.array(thresholds))
    best: Truth = np.equal(probabilities.argmax(1)[:, None], np.arange(probabilities.shape[1]))
    return best


def names_of(labels: Sequence[str], chosen: Truth) -> str:
    """The labels of a clip or of its answer, of which shape (classes,) says whether it has them."""
    return ", ".join(np.array(labels)[chosen]) or "no class"


def hits(probabilities: Floats, truth: Truth, thresholds: Sequence[float] | None = None) -> Truth:
    """Whether the answer has exactly the classes of the clip: (clips, classes) to (clips,)."""
    return np.asarray((answers(probabilities, thresholds) == truth).all(1))


def gather(
    folders: Sequence[Path], data_dir: Path | None = None, log: Log = silent
) -> list[RunData]:
    """Read runs, and classify their test clips where the data sets are at hand.

    Raises:
        ConfigError: no run, or a run twice.
        ModelError: a folder is not a finished run.
    """
    if not folders:
        raise ConfigError("a report needs a run: name its folder")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("a run is named twice: name each run once")
    runs = [Run(folder) for folder in folders]
    metrics = [run.metrics() for run in runs]
    short = [run.folder.resolve().name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run.folder) for run in runs]
    gathered = []
    for run, name, figures in zip(runs, names, metrics, strict=True):
        log(f"{name}: test clips")
        clips, reason = _test_clips(run, data_dir, log)
        gathered.append(RunData(run, name, figures, clips, reason))
    return gathered


def _test_clips(run: Run, data_dir: Path | None, log: Log) -> tuple[HeldOutClips | None, str]:
    """A run's classified test clips, or the reason why there are none."""
    try:
        dataset = run.dataset(data_dir)
        from m3net_tf.training.clips.features import compute_features
        from m3net_tf.training.scoring.evaluation import (  # TensorFlow
            own_features,
            predict_originals,
        )

        recipe = run.recipe()
        model = run.load_model()
        own = own_features(model, dataset, "test", recipe, log)
        int8 = compute_features(dataset, "test", recipe.frontend, log=log).features
        shown = dataclasses.replace(own, features=int8)
        return HeldOutClips(dataset, shown, model, predict_originals(model, own)), ""
    except M3NetError as error:
        log(f"without sounds: {error}")
        return None, str(error)
