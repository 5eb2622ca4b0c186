# SPDX-License-Identifier: Apache-2.0
"""Recipes: all settings that determine a result, in one validated YAML file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.audio.frontend import FrontendConfig, named_frontend
from m3net_tf.system.artifacts import sha256_of, write_text
from m3net_tf.system.conversion import from_plain, newer_defaults, to_plain
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.recipe.sections import (
    AugmentationSection,
    DatasetSection,
    DetectorSection,
    DistillationSection,
    FineTuningSection,
    ModelSection,
    QuantizationSection,
    TrainingSection,
)

ADDED_EPOCHS, ADDED_RATE = 1 / 3, 1 / 4
"""Epochs and learning rate of a run with added clips, as shares of its former run's."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A complete experiment; the sections describe each key.

    Section ``frontend`` may start from a named front end, such as ``preset: kaldi_fbank`` (with
    optional ``hop_ms`` and ``sample_rate_hz``); its other keys then override the preset's. The
    recipe in a run folder contains all keys.
    """

    dataset: DatasetSection
    model: ModelSection
    frontend: FrontendConfig = dataclasses.field(default_factory=FrontendConfig)
    augmentation: AugmentationSection = dataclasses.field(default_factory=AugmentationSection)
    training: TrainingSection = dataclasses.field(default_factory=TrainingSection)
    distillation: DistillationSection = dataclasses.field(default_factory=DistillationSection)
    fine_tuning: FineTuningSection = dataclasses.field(default_factory=FineTuningSection)
    quantization: QuantizationSection = dataclasses.field(default_factory=QuantizationSection)
    detector: DetectorSection = dataclasses.field(default_factory=DetectorSection)

    def __post_init__(self) -> None:
        instead = {
            "between_class_probability": "use mixup_probability instead",
            "frequency_gain_db": "set it to 0",
        }
        for key, remedy in instead.items():
            if getattr(self.augmentation, key) and not self.frontend.shows_energies:
                raise ConfigError(
                    f"augmentation.{key} changes energies: it needs frontend.log ln or db and no "
                    f"mfcc_coefficients; {remedy}"
                )
        if self.distillation.teacher:
            self._require_stored_clips()
            if self.distillation.weight == 1 and self.training.keep != "last":
                raise ConfigError(
                    "distillation.weight is 1.0, so the classes are not learnt, and accuracy "
                    "cannot choose an epoch: set training.keep to last"
                )

    def _require_stored_clips(self) -> None:
        """Refuse augmentation that changes a clip's sound after the teacher has judged it."""
        for key in (
            "fresh",
            "mixup_probability",
            "between_class_probability",
            "cutmix_probability",
        ):
            if value := getattr(self.augmentation, key):
                raise ConfigError(
                    f"augmentation.{key} is {value} with distillation.teacher, whose vectors are "
                    "computed once, for original clips and stored copies: remove it (copies, warps "
                    "and masks are possible)"
                )

    @property
    def copies_seed(self) -> int:
        """Seed of the stored copies of training clips."""
        given = self.augmentation.copies_seed
        return self.training.seed if given is None else given

    def to_dict(self) -> dict[str, Any]:
        """All sections as plain values; tuples become lists, as in YAML and JSON."""
        return {key: to_plain(value) for key, value in dataclasses.asdict(self).items()}

    def hashed_values(self) -> dict[str, Any]:
        """The plain values whose hash identifies a result.

        Keys that are newer than published results are left out where they have their defaults, so
        that these results keep the hashes of their recipes.
        """
        values = self.to_dict()
        for section in values:
            for key in newer_defaults(getattr(self, section)):
                del values[section][key]
        return {section: keys for section, keys in values.items() if keys}

    def fingerprint(self) -> str:
        """SHA-256 of the values that identify a result, in hex."""
        return sha256_of(json.dumps(self.hashed_values(), sort_keys=True).encode())

    @classmethod
    def from_dict(cls, values: Any) -> Recipe:
        """Build a recipe from plain values.

        Raises:
            ConfigError: an unknown or missing key, or a value of the wrong type; the message
                names the section and the keys that exist.
        """
        if isinstance(values, Mapping):
            values = {key: _without_short_forms(key, section) for key, section in values.items()}
        return from_plain(cls, values, "recipe")


def _without_short_forms(name: str, section: Any) -> Any:
    """A section with ``preset`` of a front end and ``from`` of fine-tuning replaced."""
    if not isinstance(section, Mapping):
        return section
    if name == "frontend":
        return named_frontend(section)
    if name == "fine_tuning" and "from" in section:
        if "run" in section:
            raise ConfigError("section 'fine_tuning' has 'from' and 'run': remove one")
        return {"run" if key == "from" else key: value for key, value in section.items()}
    return section


def recipe_with_added(recipe: Recipe, run: Path, folders: Sequence[Path]) -> Recipe:
    """The recipe that continues a finished run with added clips, at a low learning rate.

    The weights of the last epoch are kept: the validation clips say nothing on the added ones.
    """
    training = recipe.training
    if not recipe.fine_tuning.add:  # otherwise these are already the settings of such a run
        training = dataclasses.replace(
            training,
            epochs=math.ceil(training.epochs * ADDED_EPOCHS),
            learning_rate=training.learning_rate * ADDED_RATE,
            learning_rate_floor=0.0,
            schedule="cosine",
            warm_up_epochs=None,
            keep="last",
            early_stopping=0,
            cross_validation="",
        )
    return dataclasses.replace(
        recipe,
        training=training,
        distillation=DistillationSection(),
        fine_tuning=FineTuningSection(run=str(run), add=tuple(map(str, folders))),
    )


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        ConfigError: the file is missing, not YAML, or not a valid recipe.
    """
    if not path.exists():
        existing = sorted(p.stem for p in path.parent.glob("*.yaml"))
        hint = f"; {path.parent} has {', '.join(existing)}" if existing else ""
        raise ConfigError(f"{path} is missing: name an existing recipe{hint}")
    values = read_yaml(path)
    try:
        return Recipe.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as YAML; :func:`load_recipe` reads an equal one."""
    write_text(path, yaml.safe_dump(recipe.to_dict(), sort_keys=False))
