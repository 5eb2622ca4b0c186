# SPDX-License-Identifier: Apache-2.0
"""The operations that faults disturb, each on a tiny recipe of the built-in sounds.

A place is a folder with ``run/``, ``cache/`` and ``tables/``. Every operation says what it must not
change, and gives a digest of its results that is the same for equal results.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import importlib.util
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile

from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import FrontendConfig, store
from m3net_tf.system.keras import tf
from m3net_tf.system.terminal import run_command
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.clips.features import compute_features
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.recipe.sections import AugmentationSection
from m3net_tf.training.run import Run

#: Measured durations, and the commit with changed files: they differ between equal results.
_VOLATILE = ("seconds", "training_s", "wall_s", "git_commit")
_COPIES = 2
_TINY = read_yaml(Path(__file__).parents[1] / "tiny.yaml")
RECIPE: dict[str, Any] = _TINY | {"training": {**_TINY["training"], "epochs": 3, "batch_size": 80}}
GRID: dict[str, Any] = {
    "title": "Two runs",
    "paper": "Somebody, 2025",
    "table": "Table 1",
    "base": {key: RECIPE[key] for key in ("dataset", "model", "augmentation")}
    | {"training": {**RECIPE["training"], "epochs": 1}},
    "axes": {
        "Dropout": {
            "none": {"model": {"arguments": {"dropout": 0.0}}},
            "some": {"model": {"arguments": {"dropout": 0.1}}},
        }
    },
    "scales": {"tiny": {}},
}
#: Its network has no statistics of a batch, of which two workers have two halves.
SHARED: dict[str, Any] = RECIPE | {
    "model": {
        "name": "spectromasknet",
        "preset": "mcu",
        "arguments": {"channels": [4], "modules": [1], "strides": [4], "mask": "none"},
    },
    "augmentation": {"time_masks": 1},
    "training": {"epochs": 2, "batch_size": 20},
}
SECTION = {"name": "synth", "protocol": None, "fold": None, "seed": 0, "options": {}}
GENERAL_FAULTS = (
    "kill",
    "full-disk",
    "read-only",
    "truncated",
    "clock",
    "two-processes",
    "rename",
)
SPACE: dict[str, Any] = {
    "network": "m3net",
    "options": {"filters": [4, 8], "dropout": [0.0, 0.2]},
    "recipe": {
        "model": {"arguments": {"tail": [{"filters": "$filters"}], "dropout": "$dropout"}},
    },
    "start": [{"filters": 8, "dropout": 0.2}],
}
Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes:
        name: its name.
        act: carries it out in a place.
        digest: hash of its results in a place.
        kept: patterns of files that exist before it and that it must not change.
        lost: says which finished work a disturbed place lacks, given its lines of progress; ''.
        locks: whether it locks ``run/``, so that a second process is refused.
        faults: the faults that disturb it.
    """

    name: str
    act: Callable[[Path, Log], object]
    digest: Callable[[Path], str]
    kept: tuple[str, ...] = ()
    lost: Callable[[Path, str], str] = lambda place, output: ""
    locks: bool = True
    faults: tuple[str, ...] = GENERAL_FAULTS


def command(operation: Operation, place: Path) -> int:
    """Carry out an operation as the command line does; returns the exit status."""
    os.environ["M3NET_CACHE"] = str(place / "cache")
    tempfile.tempdir = str(place.parents[1] / "tmp")  # the system's, which is another disk
    store.FILE_BYTES = 30_000  # 15 maps a file
    tf.config.run_functions_eagerly(True)  # tracing would take most of the time
    tf.config.experimental.enable_op_determinism()

    def log(line: str) -> None:
        print(line, flush=True)

    return run_command(lambda: operation.act(place, log) and 0)


def _features(place: Path, log: Log) -> None:
    dataset = load_dataset("synth", clips_per_class=6)
    compute_features(
        dataset, "train", FrontendConfig(), AugmentationSection(copies=_COPIES), 1, log
    )


def _train(place: Path, log: Log) -> None:
    from m3net_tf.training import train

    train(Recipe.from_dict(RECIPE), place / "run", log=log)


def _shards(place: Path, log: Log) -> None:
    from m3net_tf.audio.shards.writing import write_shards

    dataset = load_dataset("synth", clips_per_class=6)
    write_shards(dataset, SECTION, str(place / "shards"), 8, log)


def _workers(place: Path, log: Log) -> None:
    from m3net_tf.training.cluster.members import train_on_workers
    from m3net_tf.training.cluster.pools import PoolOptions

    recipe = Recipe.from_dict(SHARED)
    options = PoolOptions(jobs=2, pause_s=0.1)
    train_on_workers(recipe, place / "workers", None, options, log=log)


def quantize(place: Path, log: Log, method: str = "ptq") -> None:
    """Quantise the run of a place."""
    from m3net_tf.quantization.methods import Method
    from m3net_tf.quantization.pipeline import quantize_run

    quantize_run(Run(place / "run"), method=Method.parse(method), ranking_clips=0, log=log)


def quantize_before(place: Path, log: Log) -> None:
    """Quantise the run of a place in another way, as somebody did before."""
    quantize(place, log, "ptq+p99.99")


def export(place: Path, log: Log) -> None:
    """Export the run of a place."""
    from m3net_tf.export import export_run

    export_run(Run(place / "run"), None, log=log)


def _wake(place: Path, log: Log) -> None:
    """Speak a phrase and make sounds of it, which ``m3net wake`` does before it trains."""
    from m3net_tf.wake.sounds import write_wake_sounds
    from m3net_tf.wake.voices.speaking import say_phrases

    folder = place / "wake/sounds"
    voices = place / "wake/voices"
    if not folder.is_dir():
        spoken = say_phrases(["computer"], voices, count=12, near_count=12, log=log)
        write_wake_sounds(spoken, voices, [place / "noise"], folder, log=log)


def write_noise(folder: Path) -> None:
    """Write recordings without a phrase."""
    folder.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 0.05, 32_000)
        soundfile.write(folder / f"{number}.wav", noise, 16_000)


def _table(place: Path, log: Log, jobs: int = 1) -> None:
    from m3net_tf.lab.studies.table_plan import plan_table
    from m3net_tf.lab.studies.tables import make_table
    from m3net_tf.system.errors import M3NetError
    from m3net_tf.training.cluster.pools import PoolOptions

    folders = {"runs_folder": place / f"tables/runs{jobs}", "out": place / f"tables/out{jobs}"}
    plan = plan_table(str(place / "grid.yaml"), "tiny", **folders)
    report = make_table(plan, {}, PoolOptions(jobs=jobs, pause_s=0.1), log=log)
    if report["failed"]:
        reasons = [
            run["error"] for cell in report["cells"] for run in cell["runs"] if "error" in run
        ]
        raise M3NetError(f"{report['failed']} runs failed: {reasons[0]}")


def _search(place: Path, log: Log) -> None:
    """Search with calculated costs: building and emulating firmware would take most of the time."""
    from m3net_tf.boards.measure.cost import BoardCost
    from m3net_tf.lab.search import candidates
    from m3net_tf.lab.search.costs import COSTS, CostLimits
    from m3net_tf.lab.search.driver import Budget, Settings, run_search
    from m3net_tf.lab.search.result import write_result
    from m3net_tf.lab.search.space import load_space
    from m3net_tf.system.errors import M3NetError

    candidates.Candidate.measure = lambda network, board, log=None: {
        **dict.fromkeys(BoardCost.__required_keys__, 0),
        **dict.fromkeys(COSTS, network.work["parameters"]),
        "board": board,
        "sections": {},
    }
    recipe = Recipe.from_dict({**RECIPE, "training": {**RECIPE["training"], "epochs": 2}})
    space = load_space(place / "space.yaml", recipe)
    folder = place / "tables/search"
    settings = Settings(recipe, space, "mps2_an386", CostLimits())
    trials = run_search(settings, folder, Budget(3), log=log)
    write_result(folder, trials)
    if errors := [trial.error for trial in trials if trial.state == "failed"]:
        raise M3NetError(f"{len(errors)} trials failed: {errors[0]}")


def _hash(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
    return digest.hexdigest()


def weights(model: Path) -> str:
    """Hash of all weights of a saved network; its archive also has the date."""
    parts: list[object] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            parts.extend((name, np.asarray(item).tobytes()))

    with zipfile.ZipFile(model) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(visit)
    return _hash(*parts)


def stable(value: Any) -> Any:
    """A JSON value without its volatile entries."""
    if isinstance(value, dict):
        return {key: stable(entry) for key, entry in value.items() if key not in _VOLATILE}
    return [stable(entry) for entry in value] if isinstance(value, list) else value


def _json(path: Path) -> str:
    return json.dumps(stable(json.loads(path.read_text())), sort_keys=True)


def _run_digest(folder: Path) -> str:
    rows = list(csv.DictReader((folder / "history.csv").open()))
    history = [{key: row[key] for key in row if key != "seconds"} for row in rows]
    names = [path.name for path in folder.iterdir() if path.name != "train.log"]
    return _hash(
        weights(folder / "model.keras"), _json(folder / "metrics.json"), history, sorted(names)
    )


def _features_digest(place: Path) -> str:
    maps: dict[bytes, bytes] = {}
    for path in sorted((place / "cache/features").glob("[!.]*.npy")):
        content = path.read_bytes()
        rows = np.load(io.BytesIO(content))
        end = len(content) - store._FOOTER.size
        start = end - len(rows) * store.KEY_BYTES
        keys = [content[i : i + store.KEY_BYTES] for i in range(start, end, store.KEY_BYTES)]
        maps |= {key: row.tobytes() for key, row in zip(keys, rows, strict=True)}
    return _hash(*(part for key in sorted(maps) for part in (key, maps[key])))


def _quantized_digest(place: Path) -> str:
    folder = place / "run/quantized"
    return _hash((folder / "model.tflite").read_bytes(), _json(folder / "report.json"))


def _export_digest(place: Path) -> str:
    folder = place / "run/export"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = (
        _json(path).encode() if path.name == "manifest.json" else path.read_bytes()
        for path in files
    )
    return _hash(*(part for path, text in zip(files, texts, strict=True) for part in (path, text)))


def _wake_digest(place: Path) -> str:
    (place / "wake/sounds").stat()  # an OSError while they are unfinished
    files = sorted(path for path in (place / "wake").rglob("[!.]*") if path.is_file())
    return _hash(*(part for path in files for part in (path.name, path.read_bytes())))


def _table_digest(place: Path, jobs: int = 1) -> str:
    networks = sorted((place / f"tables/runs{jobs}").rglob("model.keras"))
    (report,) = (place / f"tables/out{jobs}").rglob("*.json")
    return _hash(*map(weights, networks), re.sub(r"\d+(\.\d+)? s\b", "", _json(report)))


def _shards_digest(place: Path) -> str:
    files = sorted((place / "shards").glob("[!.]*"))
    index = json.loads((place / "shards/index.json").read_text())
    return _hash(index["clip_list_sha256"], *(path.read_bytes() for path in files))


def _search_digest(place: Path) -> str:
    folder = place / "tables/search"
    trials = sorted((folder / "trials").glob("[!.]*.json"))
    return _hash(_json(folder / "front.json"), *map(_json, trials))


def _lost_trials(place: Path, output: str) -> str:
    reported = len(re.findall(r"^\[\d+/\d+\] trial", output, re.MULTILINE))
    written = len(list((place / "tables/search/trials").glob("[!.]*.json")))
    return "" if written >= reported else f"{reported} trials were reported, {written} are there"


def _lost_epochs(place: Path, output: str) -> str:
    """Each epoch is reported just before it is saved."""
    reported = max(map(int, re.findall(r"^epoch (\d+)/", output, re.MULTILINE)), default=0)
    if reported < 2 or (place / "run/metrics.json").exists():
        return ""
    states = (place / "run/state.npz", place / "run/state.previous.npz")
    with np.load(next(path for path in states if path.exists())) as arrays:
        saved = len(json.loads(str(arrays["figures"]))["history"])
    return "" if saved >= reported - 1 else f"epoch {reported} was reported, {saved} are saved"


def _lost_runs(place: Path, output: str, jobs: int = 1) -> str:
    reported = len(re.findall(r"^\[\d+/\d+\].*test accuracy", output, re.MULTILINE))
    finished = len(list((place / f"tables/runs{jobs}").rglob("metrics.json")))
    return "" if finished >= reported else f"{reported} runs were reported, {finished} are there"


_OF_TRAINING = ("run/recipe.yaml", "run/model.keras", "run/metrics.json", "run/history.csv")
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("features", _features, _features_digest, locks=False),
        Operation("train", _train, lambda place: _run_digest(place / "run"), lost=_lost_epochs),
        Operation("quantize", quantize, _quantized_digest, (*_OF_TRAINING, "run/export/**/*")),
        Operation("export", export, _export_digest, (*_OF_TRAINING, "run/quantized/*")),
        Operation("table", _table, _table_digest, ("grid.yaml",), _lost_runs, locks=False),
        Operation("shards", _shards, _shards_digest, locks=False),
        Operation(
            "workers",
            _workers,
            lambda place: _run_digest(place / "workers"),
            locks=False,
            faults=("worker-kill",),
        ),
        Operation(
            "table --jobs 2",
            functools.partial(_table, jobs=2),
            functools.partial(_table_digest, jobs=2),
            ("grid.yaml",),
            functools.partial(_lost_runs, jobs=2),
            locks=False,
            faults=("kill", "full-disk", "read-only"),
        ),
        Operation("wake", _wake, _wake_digest, ("noise/*",), locks=False),
        Operation("search", _search, _search_digest, ("space.yaml",), _lost_trials, locks=False),
    )
    if not operation.name.startswith(("table", "search"))
    or importlib.util.find_spec("m3net_tf.lab")
}
