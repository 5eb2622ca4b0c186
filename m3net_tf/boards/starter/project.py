# SPDX-License-Identifier: Apache-2.0
"""A starter project for a folder of the user's own sounds: a recipe, a board, the commands."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.audio.datasets import (
    AudioDataset,
    cut_statement,
    dataset_info,
    load_dataset,
    protocol_statement,
    silence_statement,
)
from m3net_tf.audio.datasets.folder import FOLDED, require_enough_training
from m3net_tf.audio.datasets.inspection import UNEVEN, FolderSounds
from m3net_tf.audio.datasets.protocols import UnsuitedProtocolError
from m3net_tf.audio.datasets.remarks import recording_lines
from m3net_tf.audio.datasets.tables import typed_option
from m3net_tf.audio.labels import is_silence
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.builds.boards import emulated_board, load_board
from m3net_tf.boards.measure.real_time import Pace, pace_lines
from m3net_tf.boards.starter.proposals import (
    BODIES,
    BODY_WINDOW_S,
    ESC10_PERCENT,
    NOTHING,
    Proposal,
    proposals_from,
    propose,
)
from m3net_tf.boards.starter.speech import spoken_classes
from m3net_tf.system.artifacts import write_bytes, write_json, write_text
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted
from m3net_tf.training.clips.source import DATA_RECORD
from m3net_tf.training.recipe import Recipe

RECIPE, README = "recipe.yaml", "README.md"
_SHORTEST_S, _LONGEST_S = 1.0, 2.0
_RATE_HZ, _LOW_RATE_HZ = 16_000, 8_000
_FEW, _MANY = 200, 5000  # clips
_ENOUGH = 20  # clips of each class, so that training the whole network may gain
_BODY_EPOCHS = 12
BODY_AUGMENTATION: Mapping[str, Any] = {
    "copies": 2,
    "shift_s": 0.2,
    "gain_db": [-34.0, 16.0],
    "noise_probability": 0.3,
}
"""Of a training that starts from a trained body, as in a recipe."""
Sections = dict[str, dict[str, Any]]
"""Sections of a recipe as in its YAML: value by key."""
_FEW_TESTED = 20  # of a class: one clip is then more than five points of its recall


def starter_recipe(
    sounds: FolderSounds,
    board: str = DEFAULT_BOARD,
    log: Log = silent,
    *,
    sample_rate_hz: int | None = None,
    start: str | None = None,
) -> Sections:
    """The sections of a recipe that suits a folder of sounds, in real time on a board.

    Args:
        sample_rate_hz: rate of the front end; None takes 8 kHz if no file has more, else 16 kHz.
            A trained body takes 16 kHz.
        start: where the training starts, one of :data:`.proposals.STARTS`; None takes the body
            that suits the board, or nothing where ``sample_rate_hz`` is another one or most
            classes are spoken words.

    Raises:
        FirmwareError: there is no such board.
        DataError: files are unreadable, or there are too few classes or clips to train.
        ConfigError: another rate with a trained body.
    """
    if start is None and sample_rate_hz not in (None, _RATE_HZ):
        start = NOTHING
    body = proposals_from(start)[0].body
    if body and sample_rate_hz not in (None, _RATE_HZ):
        raise ConfigError(
            f"--sample-rate {sample_rate_hz}: the trained bodies take {_RATE_HZ} Hz; add --from "
            f"{NOTHING}"
        )
    if sounds.unreadable:
        raise DataError(
            f"{sounds.unreadable[0]}; {len(sounds.unreadable)} of {sounds.clips} files cannot be "
            "read: move them out of the folder"
        )
    options = _options(sounds, sample_rate_hz, body=body)
    try:
        dataset = _trainable(sounds, options, log)
    except DataError:
        if "group_pattern_guessed" not in options:
            raise
        del options["group_pattern"], options["group_pattern_guessed"]
        dataset = _trainable(sounds, options, log)
    if start is None and len(spoken := spoken_classes(dataset)) > len(sounds.classes) / 2:
        log(
            f"{len(spoken)} of {counted(len(sounds.classes), 'class')} are speech, such as "
            f"{spoken[0]}: trained bodies tell sounds apart, not words, so this starts from "
            f"{NOTHING}; --from {BODIES[-1].preset} takes a body"
        )
        return starter_recipe(sounds, board, log, sample_rate_hz=sample_rate_hz, start=NOTHING)
    training = len(dataset.split("train"))
    longer = training / len({clip.whole or clip.clip_id for clip in dataset.split("train")})
    recipe: Sections = {"dataset": {"name": "folder", "options": options}}
    proposal, _ = propose(options["clip_s"], options["sample_rate_hz"], board, start)
    recipe |= proposal.sections(options["sample_rate_hz"])
    recipe |= _of_body(dataset) if proposal.body else _of_nothing(training, longer, proposal)
    if sounds.imbalance > UNEVEN and not sounds.several_labels:
        recipe["training"]["class_weights"] = "balanced"
    if (
        not (sounds.split or sounds.several_labels)
        and _fewest(dataset, "test") < _FEW_TESTED
        and _has_folds(sounds, options, log)
    ):
        recipe["training"]["cross_validation"] = FOLDED
    recipe["detector"] = {"automatic_gain": True}
    Recipe.from_dict(recipe)
    return recipe


def _of_body(dataset: AudioDataset) -> Sections:
    """Augmentation and training that start from a trained body.

    With few clips of a class only the head is fitted. With more, the whole network is trained after
    that, and validation chooses.
    """
    return {
        "augmentation": dict(BODY_AUGMENTATION),
        "training": {
            "epochs": 1 if _fewest(dataset, "train") < _ENOUGH else 1 + _BODY_EPOCHS,
            "batch_size": 32,
            "learning_rate": 3e-4,
            "weight_average": 0.99,
        },
    }


def _of_nothing(training: int, longer: float, proposal: Proposal) -> Sections:
    """Augmentation and training of an untrained network.

    Args:
        training: number of training clips or windows.
        longer: windows of a recording.
    """
    return {
        "augmentation": {
            "copies": 3 if training > _MANY else max(3, round(10 / longer)),
            "speed_probability": 0.5,
            "gain_db": [-12.0, 16.0],  # up to what clips loud recordings
            "time_masks": 1,
            "frequency_masks": 1,
            **proposal.masks,
        },
        "training": {
            "epochs": 30 if training > _MANY else 60,
            "batch_size": 16 if training < _FEW else 32,
            "weight_average": 0.99,
            "class_weights": "none",
            # The best epoch of few validation clips is chance.
            "keep": "best" if training > _MANY else "last",
        },
    }


def _trainable(sounds: FolderSounds, options: dict[str, Any], log: Log) -> AudioDataset:
    """The data set, of which enough must be left for training."""
    dataset = load_dataset("folder", sounds.folder, log=log, **options)
    dataset.check_trainable()
    require_enough_training(dataset)
    return dataset


def _fewest(dataset: AudioDataset, split: str) -> int:
    """Clips of the class with the fewest in a split, without artificial silence."""
    whole = {clip.whole or clip.clip_id: clip for clip in dataset.split(split)}.values()
    labels = (label for clip in whole if not clip.synthetic for label in clip.all_labels)
    return min(Counter(labels).values(), default=0)


def _has_folds(sounds: FolderSounds, options: dict[str, Any], log: Log) -> bool:
    """Whether there are groups enough for cross-validation."""
    options = {key: value for key, value in options.items() if key != "long_clips"}
    try:
        folds = [
            load_dataset("folder", sounds.folder, protocol=FOLDED, fold=fold, log=log, **options)
            for fold in range(1, dataset_info("folder").folds[FOLDED] + 1)
        ]
    except UnsuitedProtocolError:
        return False
    return all(dataset.info.groups_known for dataset in folds)


def _options(sounds: FolderSounds, sample_rate_hz: int | None, *, body: bool) -> dict[str, Any]:
    """Options of the data set ``folder``; a trained body decides rate and window."""
    clip_s = math.ceil(round(10 * sounds.length_95_s, 3)) / 10
    low = max(sounds.rates_hz) <= _LOW_RATE_HZ and not body
    options: dict[str, Any] = {
        "sample_rate_hz": sample_rate_hz or (_LOW_RATE_HZ if low else _RATE_HZ),
        "clip_s": BODY_WINDOW_S if body else min(max(clip_s, _SHORTEST_S), _LONGEST_S),
    }
    if sounds.table:
        options["table"] = sounds.table
    if sounds.several_labels:
        options["several_labels"] = True
    if sounds.rest_s is not None:
        options["annotations"] = True
        kept = [label for label in sounds.classes if label not in sounds.rare]
        if sounds.rare and kept:
            options["classes"] = kept
    # Windows place the short segments of annotated recordings in several ways.
    if sounds.longest_s > options["clip_s"] or sounds.rest_s is not None:
        options["long_clips"] = "windows"
    groups = sounds.groups
    if groups and (groups.given or groups.likely):
        options["group_pattern"] = groups.pattern
        if not groups.given:
            options["group_pattern_guessed"] = True
    if not (sounds.noise or sounds.rest_s or any(map(is_silence, sounds.classes))):
        options["silence_percentage"] = 10
    return options


def recipe_lines(
    recipe: Sections, sounds: FolderSounds, dataset: AudioDataset, log: Log = silent
) -> list[str]:
    """Sentences on the choices of :func:`starter_recipe`, and on its data set."""
    options = recipe["dataset"]["options"]
    lines = [
        f"split: {protocol_statement(dataset)}",
        f"window: {options['clip_s']:g} s at {options['sample_rate_hz']} Hz",
    ]
    lines += filter(None, [silence_statement(dataset), cut_statement(dataset)])
    guessed = sounds.groups and sounds.groups.likely
    if guessed and "group_pattern" not in options:
        lines.append(
            "the guessed speakers are too few or too uneven for a split, which ignores them: give "
            "others by --group-pattern"
        )
    if "silence_percentage" in options:
        lines.append(
            "silence: made from artificial noise; recordings of your room in _background_noise_ "
            "are better"
        )
    lines += recording_lines(dataset, log)
    if "cross_validation" in recipe["training"]:
        lines.append(
            f"a class has only {_fewest(dataset, 'test')} test clips, so five more trainings "
            "follow, each with another fifth as the test: cross-validation tests all clips"
        )
    elif _fewest(dataset, "test") < _FEW_TESTED and not (
        dataset.info.groups_known or sounds.split or sounds.several_labels
    ):
        lines.append(
            f"a class has only {_fewest(dataset, 'test')} test clips: with --group-pattern, "
            "cross-validation by whole groups tests all clips"
        )
    return lines


def new_project(out: Path, board: str) -> tuple[Path, ...]:
    """The files of a project that does not exist yet.

    Raises:
        ConfigError: one of the files exists.
        FirmwareError: there is no such board.
    """
    load_board(board)
    paths = tuple(out / name for name in (RECIPE, DATA_RECORD, README))
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path} exists: choose another folder by --out, or delete it")
    return paths


def starter_pace(recipe: Sections, board: str) -> Pace:
    """The pace of the network of :func:`starter_recipe` on a board.

    Raises:
        FirmwareError: there is no such board.
    """
    options = recipe["dataset"]["options"]
    start = recipe.get("fine_tuning", {}).get("from", NOTHING)
    return propose(options["clip_s"], options["sample_rate_hz"], board, start)[1]


def speed_lines(recipe: Sections, board: str) -> list[str]:
    """Lines on the proposed network, its pace on a board and the board's microphone."""
    model = recipe["model"]
    lines = [
        f"network: {model['name']} {model['preset']}, proposed for this board",
        _start_line(recipe),
        *pace_lines(board, starter_pace(recipe, board), "estimated"),
    ]
    rate_hz = recipe["dataset"]["options"]["sample_rate_hz"]
    delivered_hz = load_board(board).microphone_rate_hz
    if delivered_hz not in (None, rate_hz):
        lines.append(
            f"microphone: {board} delivers {delivered_hz} Hz (docs/design/porting.md), so live "
            f"detection there needs --sample-rate {delivered_hz}"
        )
    return lines


def _start_line(recipe: Sections) -> str:
    """Where the training starts, and what it trains."""
    start = recipe.get("fine_tuning", {}).get("from")
    if start is None:
        return "start: random weights"
    clips = 20
    if recipe["training"]["epochs"] == 1:
        clips = 5
        trained = (
            f"only its head is fitted, because a class has fewer than {_ENOUGH} training clips"
        )
    else:
        trained = "its head is fitted, then all of it is trained, and validation chooses"
    percent, untrained = ESC10_PERCENT[start][clips], ESC10_PERCENT[NOTHING][clips]
    expected = (
        f"{clips} clips of each of ESC-10's sounds gave {percent} % with it and {untrained} % from "
        "nothing"
    )
    others = f"for spoken words, or to compare: --from {NOTHING}"
    return f"start: the trained body {start}; {trained}; {expected}; {others}"


def starter_commands(recipe: Path, board: str) -> dict[str, str]:
    """The commands from a starter project's recipe to a board, with a remark on each.

    Args:
        recipe: the recipe, relative to the folder in which the commands are typed.
    """
    run = "runs/own"  # as in the documentation
    emulated = emulated_board(board) == board
    on_board = f" --board {board}" * (board != DEFAULT_BOARD)
    return {
        f"m3net train {shlex.quote(str(recipe))} --run {run}": "trains; resumes after a stop",
        f"m3net export {run}{on_board}": "what the firmware needs",
        f"m3net {'emulate' if emulated else 'flash'} {run} --board {board}": (
            "accuracy on the emulated board" if emulated else "build the firmware and write it"
        ),
        f"m3net report {run}": "one page: report.html",
        f"m3net footprint {run}": "memory and speed on every board",
    }


def write_starter(
    recipe: Sections, sounds: FolderSounds, out: Path, board: str
) -> tuple[Path, ...]:
    """Write the project.

    Raises:
        ConfigError, FirmwareError: as :func:`new_project`.
    """
    paths = new_project(out, board)
    folder = str(sounds.folder.resolve())
    head = f"# Made by m3net init from {folder!r}. All keys: docs/reference/recipes.md\n"
    guess = (
        "# group_pattern is a guess from the file names, and all figures say so. Check it; if it\n"
        "# is right, delete group_pattern_guessed.\n"
    )
    head += guess * ("group_pattern_guessed" in recipe["dataset"]["options"])
    more = "# cross_validation trains five more times, for the accuracy on all clips.\n"
    head += more * ("cross_validation" in recipe["training"])
    head += "# automatic_gain is for microphones that are much too quiet; false leaves it out.\n"
    write_text(paths[0], head + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    write_json(paths[1], {"folder": folder})
    readme = _readme(paths[0], folder, recipe, board)
    write_bytes(paths[2], readme.encode("utf-8", "surrogateescape"))  # its commands take any name
    return paths


def _readme(path: Path, folder: str, recipe: Sections, board: str) -> str:
    """The project's README; ``path`` is the recipe's path in the commands."""
    options = " ".join(
        typed_option(key, value) for key, value in recipe["dataset"]["options"].items()
    )
    commands = starter_commands(path, board)
    run = next(iter(commands)).rpartition(" ")[2]
    text = f"""# {path.resolve().parent.name}

The sounds are in `{folder}`, as `{DATA_RECORD}` records. `{RECIPE}` has all settings.
Run the commands where `m3net init` was run:

```sh
m3net data check folder --data-dir {shlex.quote(folder)} {options}
{_commented(commands)}
```
"""
    if recipe["dataset"]["options"].get("several_labels"):  # added clips have one
        return text
    improvement = {
        f"m3net train --from {run} --add captured": "trains on",
        f"m3net report {run} {run}_added": "before and after",
    }
    return f"""{text}
To improve the network, sort clips that it gets wrong into one folder per class, and train on:

```sh
{_commented(improvement)}
```
"""


def _commented(commands: Mapping[str, str]) -> str:
    """Lines of a shell, with the comments one below the other."""
    width = max(map(len, commands))
    return "\n".join(f"{command:{width}}  # {text}" for command, text in commands.items())
