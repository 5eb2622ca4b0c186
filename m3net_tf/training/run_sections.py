# SPDX-License-Identifier: Apache-2.0
"""The sections of a recipe that name other runs."""

from __future__ import annotations

import dataclasses

from m3net_tf.system.conversion import AtLeastOne, Positive, Share, check_values
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.sections import newer


@dataclasses.dataclass(frozen=True)
class DistillationSection:
    """A trained network as teacher in addition to the labels (Hinton et al., 2015).

    Attributes:
        run: folder of the teacher's finished run, or name of a trained network of the package;
            default: no teacher.
        ensemble: more teachers, named likewise; the mean of all probabilities teaches.
        weight: weight of the teacher; the labels have the remaining weight.
        temperature: temperature that softens both networks' outputs.
    """

    run: str | None = None
    weight: Share = 0.5
    temperature: Positive = 3.0
    ensemble: tuple[str, ...] = newer(())

    def __post_init__(self) -> None:
        if self.ensemble and not self.run:
            raise ConfigError("distillation.ensemble adds teachers: name distillation.run too")
        check_values(self, "distillation")

    @property
    def runs(self) -> tuple[str, ...]:
        """All teachers."""
        return (self.run, *self.ensemble) if self.run else ()


@dataclasses.dataclass(frozen=True)
class FineTuningSection:
    """A trained network to start from, except for its head, which depends on the classes.

    Attributes:
        run: folder of that network's finished run, or name of a trained network of the package
            (``m3net model list``); default: random weights. ``from`` is another spelling.
        freeze: name prefixes of layers that are not trained.
        add: folders of labelled clips, one folder for each class, that are added to the run's
            clips. The classes are the run's, so the head is kept. See ``m3net train --add``.
        add_times: how often each added training clip is drawn in an epoch, each time with an
            augmentation of its own, so that a few clips count beside thousands.
        hold_out: hold out a quarter of the added recordings, which tests what was gained.
    """

    run: str | None = None
    freeze: tuple[str, ...] = ()
    add: tuple[str, ...] = newer(())
    add_times: AtLeastOne = newer(1)
    hold_out: bool = newer(True)

    def __post_init__(self) -> None:
        check_values(self, "fine_tuning")
        for key in ("freeze", "add"):
            if getattr(self, key) and not self.run:
                raise ConfigError(f"fine_tuning.{key} needs trained layers: name fine_tuning.run")

    @property
    def runs(self) -> tuple[str, ...]:
        """The trained network, if there is one."""
        return (self.run,) if self.run else ()
