# SPDX-License-Identifier: Apache-2.0
"""The candidates of a search, in a YAML file.

``network``
    Name of the network that it is for.
``options``
    Option -> its values: a list, or a mapping of names to values.
``recipe``
    A patch of the recipe, or a list of patches. ``$OPTION`` stands for the chosen value, and
    ``$OPTION.KEY`` for a key of it; values may refer to other options.
``start``
    Choices of the first trials: a list of mappings of options to names of values.

``$teacher`` is the run of ``--teacher``; without it, values that refer to it are left out.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3net_tf.lab.studies.grid_file import merge
from m3net_tf.system.checkout import require_sources
from m3net_tf.system.conversion import from_plain
from m3net_tf.system.errors import ConfigError, require_known_keys
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.recipe import Recipe

TEACHER = "teacher"
_DEEPEST = 10


@dataclasses.dataclass(frozen=True)
class Space:
    """The candidates.

    Attributes:
        values: option -> name -> value.
        patches: patches of the recipe with ``$OPTION``.
        start: choices of the first trials.
    """

    path: Path
    network: str
    values: Mapping[str, Mapping[str, object]]
    patches: tuple[Mapping[str, object], ...]
    start: tuple[Mapping[str, str], ...]
    teacher: str = ""

    @property
    def options(self) -> dict[str, list[str]]:
        """Option -> names of its values, of options with several values."""
        return {option: list(values) for option, values in self.values.items() if len(values) > 1}

    @property
    def size(self) -> int:
        """Number of candidates."""
        return math.prod(len(values) for values in self.values.values())

    def recipe(self, base: Recipe, choices: Mapping[str, str]) -> Recipe:
        """The recipe of a candidate.

        Args:
            choices: option -> name of its value; options with one value may be left out.

        Raises:
            ConfigError: a key or value is not possible; the message names the file and choices.
        """
        named = {
            option: values[choices.get(option, next(iter(values)))]
            for option, values in self.values.items()
        }
        if self.teacher:
            named[TEACHER] = self.teacher
        try:
            patches = [_filled(patch, named) for patch in self.patches]
            return Recipe.from_dict(merge(base.to_dict(), *patches))
        except ConfigError as error:
            raise ConfigError(f"{self.path}, {choices_text(choices)}: {error}") from None

    def facts(self) -> dict[str, object]:
        """Plain values that identify the space."""
        values = dataclasses.asdict(self)
        return {**values, "path": self.path.name}


def choices_text(choices: Mapping[str, str]) -> str:
    """Choices in a line."""
    return ", ".join(f"{option} {name}" for option, name in choices.items())


def find_space(path: Path | None, network: str) -> Path:
    """A given file, or the space of a network in ``experiments/search``.

    Raises:
        ConfigError: the network has none.
    """
    if path is not None:
        return path
    folder = require_sources("experiments") / "search"
    if not (folder / f"{network}.yaml").is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError(
            f"there is no search space of {network}, only of {names}: write one for --space "
            "(docs/reference/search.md)"
        )
    return folder / f"{network}.yaml"


def load_space(path: Path, base: Recipe, teacher: str = "") -> Space:
    """Read a space and check it with the recipe that the search starts from.

    Raises:
        ConfigError: the file is missing or wrong; the message names it and the key.
    """
    try:
        space = _read(path, teacher)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if str(path) in text else f"{path}: {text}") from None
    if space.network != base.model.name:
        raise ConfigError(
            f"{path} is for {space.network}, the recipe has {base.model.name}: name another --space"
        )
    first = (
        space.start[0]
        if space.start
        else {option: next(iter(values)) for option, values in space.values.items()}
    )
    for choices in space.start:
        space.recipe(base, choices)
    for option, values in space.values.items():
        for name in values:
            space.recipe(base, {**first, option: name})
    return space


@dataclasses.dataclass(frozen=True)
class _File:
    """The keys of a file."""

    network: str
    options: dict[str, object]
    recipe: dict[str, object] | list[dict[str, object]]
    start: tuple[dict[str, object], ...] = ()


def _read(path: Path, teacher: str) -> Space:
    if not path.exists():
        raise ConfigError(f"{path} is missing: name an existing file")
    file = from_plain(_File, read_yaml(path), "search space")
    values = {option: _values(option, listed, teacher) for option, listed in file.options.items()}
    return Space(
        path=path,
        network=file.network,
        values=values,
        patches=tuple(file.recipe if isinstance(file.recipe, list) else [file.recipe]),
        start=tuple(_start(row, values) for row in file.start),
        teacher=teacher,
    )


def _values(option: str, listed: Any, teacher: str) -> dict[str, object]:
    if option == TEACHER:
        raise ConfigError(f"options.{TEACHER} stands for --teacher: choose another name")
    if isinstance(listed, list):
        listed = {str(value): value for value in listed}
    if not isinstance(listed, dict):
        raise ConfigError(f"options.{option} is {listed!r}: give a list, or names and values")
    named = {str(name): value for name, value in listed.items()}
    if not teacher:
        named = {name: value for name, value in named.items() if not _refers(value, TEACHER)}
    if not named:
        raise ConfigError(f"options.{option} has no values: give at least one")
    return named


def _start(row: Mapping[str, object], values: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    choices = {option: str(name) for option, name in row.items()}
    require_known_keys(choices, values, "in start")
    for option, names in values.items():
        if choices.get(option) not in names:
            raise ConfigError(
                f"start has {option} {choices.get(option)}: choose one of {', '.join(names)}"
            )
    return {option: name for option, name in choices.items() if len(values[option]) > 1}


def _filled(value: Any, named: Mapping[str, object], depth: int = 0) -> Any:
    """A patch with the chosen values in place of ``$OPTION``."""
    if depth > _DEEPEST:
        raise ConfigError("its options refer to each other in a circle")
    if isinstance(value, Mapping):
        return {key: _filled(item, named, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, named, depth) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    option, *keys = value[1:].split(".")
    if option not in named:
        raise ConfigError(f"{value} is not an option: known are {', '.join(named)}")
    chosen = named[option]
    for key in keys:
        if not isinstance(chosen, Mapping) or key not in chosen:
            raise ConfigError(f"{value} is not among the keys of its value {chosen!r}")
        chosen = chosen[key]
    return _filled(chosen, named, depth + 1)


def _refers(value: Any, option: str) -> bool:
    if isinstance(value, Mapping):
        return any(_refers(item, option) for item in value.values())
    if isinstance(value, list):
        return any(_refers(item, option) for item in value)
    return bool(value == f"${option}")
