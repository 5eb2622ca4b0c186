# SPDX-License-Identifier: Apache-2.0
"""The project that ``m3net wake`` writes: a recipe, the folder of its sounds, the commands."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.deployment.starter import README, RECIPE
from m3net_tf.system.artifacts import write_json, write_text
from m3net_tf.training.clips.source import DATA_RECORD
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.wake_sounds import RATE_HZ, TABLE, WakeSounds


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
            "copies": 2,
            "vocal_tract_probability": 0.6,
            "room_probability": 0.5,
            "room_s": [0.1, 0.8],
            "shift_s": 0.08,
            "gain_db": [-18, 6],
            # Real recordings are never without noise, which may be soft.
            "noise_probability": 0.9,
            "noise_snr_db": [0, 35],
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
            "epochs": 40,
            "batch_size": 64,
            "weight_average": 0.995,
            # Balanced classes would be words most of the time.
            "sampling": "uniform" if sounds.words else "balanced",
            "keep": "last",
        },
    }
    Recipe.from_dict(recipe)
    return recipe


def write_wake_project(out: Path, sounds_folder: Path, sounds: WakeSounds, board: str) -> Path:
    """Write the project; files that exist stay, so that the user can change them.

    Returns:
        The recipe.

    Raises:
        FirmwareError: there is no such board.
    """
    load_board(board)
    recipe, data, readme = (out / name for name in (RECIPE, DATA_RECORD, README))
    if not recipe.exists():
        head = "# Made by m3net wake. All keys: docs/reference/recipes.md\n"
        sections = yaml.safe_dump(wake_recipe(sounds), sort_keys=False, allow_unicode=True)
        write_text(recipe, head + sections)
    if not data.exists():
        write_json(data, {"folder": str(sounds_folder.resolve())})
    if not readme.exists():
        write_text(readme, _readme(out, board))
    return recipe


def _readme(out: Path, board: str) -> str:
    run, recipe = shlex.quote(str(out / "run")), shlex.quote(str(out / RECIPE))
    return f"""# {out.resolve().name}

`{RECIPE}` has all settings of the training, `sounds/{TABLE}` lists its clips. After a change of
either, delete `run` and call `m3net wake` again, or the single steps:

```sh
m3net train {recipe} --run {run}
m3net export {run} --board {board}
m3net evaluate {run} --streaming --target-false-accepts-per-hour 0.5
m3net flash {run} --board {board}
m3net monitor --web {run}
```
"""
