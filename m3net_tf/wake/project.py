# SPDX-License-Identifier: Apache-2.0
"""The project folder of a wake word: its settings, recipe, sounds and commands."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.audio.datasets.fetch import fetched
from m3net_tf.audio.datasets.recordings import fetched_recordings
from m3net_tf.audio.frontend.microfrontend import MICROFRONTEND
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.builds.boards import emulated_board
from m3net_tf.boards.starter.project import README, RECIPE
from m3net_tf.system.artifacts import read_json, write_json, write_text
from m3net_tf.system.conversion import AtLeastOne, Count, check_values, from_plain, to_plain
from m3net_tf.system.errors import ConfigError
from m3net_tf.training.clips.source import DATA_RECORD
from m3net_tf.training.recipe import Recipe
from m3net_tf.wake.sounds import RATE_HZ, TABLE, WakeSounds
from m3net_tf.wake.teachers import TEACHERS, teaching
from m3net_tf.wake.voices.synthesiser import covers

VOICES, SOUNDS = "voices", "sounds"
"""Folders of a project."""
_SETTINGS = "settings.json"
_WORDS = "speech_commands"  # data set of English words that new projects use once it is fetched
_CHANGEABLE = ("board", "target_false_accepts_per_hour", "hours")
"""Settings on which no sound depends."""


@dataclasses.dataclass(frozen=True)
class WakeSettings:
    """The settings of a project, as :func:`.making.make_wake_word` describes them.

    Attributes:
        recordings: names of fetched recordings that are sounds without the phrases.

    Raises:
        ConfigError: a value is out of range.
    """

    phrases: tuple[str, ...]
    language: str = "en"
    count: AtLeastOne = 1500
    near_count: AtLeastOne = 3000
    say: Mapping[str, str] = dataclasses.field(default_factory=dict)
    voices: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()
    words: str | None = None
    board: str = DEFAULT_BOARD
    target_false_accepts_per_hour: float = 0.5
    hours: float = 0.5
    seed: Count = 0

    def __post_init__(self) -> None:
        check_values(self, "wake")


def project_settings(
    project: Path, phrases: Sequence[str], given: Mapping[str, Any]
) -> WakeSettings:
    """The settings of a project: those given, then those that it was started with, then defaults.

    A new project uses what ``m3net data fetch`` has put into the cache.

    Args:
        given: settings by name; None and empty ones are not given.

    Raises:
        ConfigError: a value is out of range, or the project has sounds of other settings.
    """
    stated: dict[str, Any] = {"phrases": tuple(phrases)}
    stated |= {name: value for name, value in given.items() if value not in (None, (), {})}
    path = project / _SETTINGS
    spoken = any((project / name).exists() for name in (VOICES, SOUNDS))
    if not spoken or not path.exists():
        settings = WakeSettings(**{"recordings": fetched_recordings(), **stated})
        words = fetched(_WORDS) if covers("en", settings.language) else None
        return dataclasses.replace(
            settings, words=settings.words or (str(words) if words else None)
        )
    earlier = read_settings(project)
    settings = dataclasses.replace(earlier, **stated)
    for name in stated.keys() - set(_CHANGEABLE):
        old = to_plain(getattr(earlier, name))
        new = to_plain(getattr(settings, name))
        if new != old:
            raise ConfigError(
                f"{project} was started with {name} {old!r}, not {new!r}: leave the option out, or "
                "make another project by --out"
            )
    return settings


def is_project_run(folder: Path) -> bool:
    """Whether a folder is a run of a project."""
    project = folder.absolute().parent
    return (project / _SETTINGS).is_file() and (project / SOUNDS).is_dir()


def project_of(run: Path) -> Path:
    """The project of a run.

    Raises:
        ConfigError: the run is not in one.
    """
    if not is_project_run(run):
        raise ConfigError(f"{run} is not in a project of m3net wake: name a run of one")
    return run.absolute().parent


def read_settings(project: Path) -> WakeSettings:
    """The settings with which a project was last made.

    Raises:
        ConfigError: ``settings.json`` is missing or damaged.
    """
    path = project / _SETTINGS
    return from_plain(WakeSettings, read_json(path), str(path))


def keep_settings(project: Path, settings: WakeSettings) -> None:
    """Write ``settings.json``."""
    project.mkdir(parents=True, exist_ok=True)
    write_json(project / _SETTINGS, to_plain(dataclasses.asdict(settings)))


def wake_recipe(sounds: WakeSounds) -> dict[str, Any]:
    """The sections of a recipe for a wake word's sounds."""
    recipe: dict[str, Any] = {
        "dataset": {
            "name": "folder",
            "options": {
                "table": TABLE,
                "sample_rate_hz": RATE_HZ,
                "clip_s": sounds.clip_s,
                "long_clips": "windows",
                "silence_percentage": 0,
            },
        },
        "model": {"name": "streaming_ds_cnn", "preset": "wake"},
        "augmentation": {
            "copies": 4,
            "copies_seed": 0,  # the teachers share them
            "vocal_tract_probability": 0.6,
            "room_probability": 0.5,
            "room_s": [0.1, 0.8],
            "shift_s": 0.08,
            "gain_db": [-18, 6],
            # Real recordings are never without noise, which may be soft.
            "noise_probability": 0.9,
            "noise_snr_db": [-5, 30],
            "band_probability": 0.3,
            "telephone_probability": 0.05,
            "time_warp": 0.25,
            "frequency_warp": 0.1,
            "frequency_gain_db": 4.0,  # microphones differ
            "time_masks": 1,
            "time_mask_share": 0.12,
            "frequency_masks": 1,
            "frequency_mask_share": 0.15,
        },
        "training": {
            "epochs": 25,
            "batch_size": 64,
            "weight_average": 0.995,
            # Balanced classes would be words most of the time.
            "sampling": "uniform" if sounds.words else "balanced",
            "keep": "last",
        },
    }
    Recipe.from_dict(recipe)
    return recipe


def write_wake_project(project: Path, sounds: WakeSounds, board: str) -> Path:
    """Write recipe and README; files that exist stay, so that the user can change them.

    Returns:
        The recipe.
    """
    recipe = project / RECIPE
    _write_recipe(recipe, {**wake_recipe(sounds), "distillation": teaching(project)})
    data = project / DATA_RECORD
    if not data.exists():
        write_json(data, {"folder": str((project / SOUNDS).resolve())})
    readme = project / README
    if not readme.exists():
        write_text(readme, _readme(project, board))
    return recipe


def write_micro_recipe(folder: Path, sounds: WakeSounds) -> Path:
    """Write the recipe of a network for micro_wake_word, unless there is one.

    Returns:
        The recipe.
    """
    recipe = wake_recipe(sounds)
    recipe["frontend"] = MICROFRONTEND.to_dict()
    # A line of the network is 40 ms, as of the other one; windows have 4 n + 6 columns.
    recipe["model"]["arguments"] = {"kernels": [6, 3, 5, 9], "stride": 4}
    recipe["augmentation"]["frequency_gain_db"] = 0.0  # the front end evens out microphones
    recipe["training"]["loss"] = "binary_cross_entropy"  # micro_wake_word takes one probability
    recipe["distillation"] = teaching(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_recipe(folder / RECIPE, recipe)
    return folder / RECIPE


def _write_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a recipe; one that exists stays."""
    if not path.exists():
        head = "# Made by m3net wake. All keys: docs/reference/recipes.md\n"
        sections = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        write_text(path, head + sections)


def _readme(project: Path, board: str) -> str:
    run = shlex.quote(str(project / "run"))
    recipe = shlex.quote(str(project / RECIPE))
    port = f"qemu:{board}" if emulated_board(board) == board else "/dev/ttyACM0"
    return f"""# {project.resolve().name}

`{RECIPE}` has all settings of the training, `{SOUNDS}/{TABLE}` lists its clips. After a change of
either, delete `run` and `{TEACHERS}`, and call `m3net wake` again. The single steps, once the
teachers are trained:

```sh
m3net train {recipe} --run {run}
m3net export {run} --board {board}
m3net evaluate {run} --streaming --target-false-accepts-per-hour 0.5
m3net flash {run} --board {board}
m3net monitor --web {port} --run {run}
```
"""
