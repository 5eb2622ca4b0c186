# SPDX-License-Identifier: Apache-2.0
"""The runs that tables need: each trained once, resumable, in parallel if requested."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from m3net_tf.artifacts import read_json
from m3net_tf.datasets import data_folder, dataset_info
from m3net_tf.errors import ConfigError, DataError, M3NetError, os_error_line
from m3net_tf.progress import Log, silent
from m3net_tf.studies.grid import LINKS, Training, fingerprint
from m3net_tf.training.recipe import Recipe, load_recipe
from m3net_tf.training.run import Run, built_otherwise, design_of, load_recipe_dataset

DataFolders = Mapping[str, Path]
ANY_DATA = ""
"""Key of :data:`DataFolders` for all data sets without a folder of their own."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a training.

    Attributes:
        folder: its run folder, which is finished unless there is an error.
        error: why it failed, in one line; '' if it did not.
    """

    folder: Path
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs, and those that are finished.

    Attributes:
        runs: each training once, after all that it needs.
        finished: folders of the finished ones, by the trainings' keys.
    """

    runs: tuple[Training, ...]
    finished: Mapping[str, Path]

    @property
    def waiting(self) -> list[Training]:
        """The trainings that must be run, in order."""
        return [training for training in self.runs if training.key not in self.finished]


def plan_trainings(trainings: Iterable[Training], root: Path, known: Collection[str] = ()) -> Plan:
    """Find the finished trainings.

    Args:
        trainings: the trainings of the cells, without those that they need.
        root: folder of all tables' runs. A finished run of an equal recipe anywhere in it is used,
            unless a preset of its model has changed.
        known: keys of trainings with kept results; they are only run if another one needs them.
    """
    finished = finished_runs(root)
    runs = in_order(
        training for training in trainings if training.key in finished or training.key not in known
    )
    keys = {training.key for training in runs}
    return Plan(tuple(runs), {key: finished[key] for key in finished if key in keys})


def require_data(recipes: Iterable[Recipe], data_folders: DataFolders, owner: str) -> None:
    """Require the data of all runs before any is started.

    Raises:
        DataError: data are missing; the message names each data set and the option for it.
    """
    if missing := missing_data(recipes, data_folders):
        raise DataError(f"{owner} needs data that are missing: {'; '.join(missing)}")


def missing_data(recipes: Iterable[Recipe], data_folders: DataFolders) -> list[str]:
    """Problems with the data of recipes, a line for each data set; empty if there are none."""
    reasons: dict[str, str] = {}
    sections = {json.dumps(recipe.to_dict()["dataset"]): recipe for recipe in recipes}
    for recipe in sections.values():
        name = recipe.dataset.name
        if name not in reasons and (reason := _why_no_data(recipe, data_folders)):
            reasons[name] = f"{name}: {reason}"
    return list(reasons.values())


def _why_no_data(recipe: Recipe, data_folders: DataFolders) -> str:
    name = recipe.dataset.name
    info, given = dataset_info(name), _data_folder(recipe, data_folders)
    option = f"give --data-dir {name}=FOLDER"
    if info.needs_folder and not (folder := data_folder(name, given)).is_dir():
        if given is not None:
            return f"{folder} does not exist; {option}"
        return f"{option}{f' or run m3net data fetch {name}' if info.archives else ''}"
    try:
        load_recipe_dataset(recipe, given)
    except M3NetError as error:
        return f"{_line(error)}{f' ({option})' if info.needs_folder else ''}"
    return ""


def _data_folder(recipe: Recipe, data_folders: DataFolders) -> Path | None:
    return data_folders.get(recipe.dataset.name, data_folders.get(ANY_DATA))


def run_trainings(
    plan: Plan,
    root: Path,
    data_folders: DataFolders,
    *,
    jobs: int = 1,
    log: Log = silent,
) -> dict[str, Outcome]:
    """Train the runs that are not finished; a failure does not stop the others.

    Args:
        plan: the runs, and which are finished.
        root: folder of all tables' runs.
        data_folders: folders of the data sets, by name.
        jobs: number of processes; 1 trains in this process.
        log: receives lines of progress. The lines of a training go to ``train.log`` in its
            folder.

    Returns:
        Outcomes by the trainings' keys.

    Raises:
        DataError: ``jobs`` is above 1 and Ray is not installed.
    """
    outcomes = {key: Outcome(folder) for key, folder in plan.finished.items()}
    waiting = plan.waiting
    log(f"{len(plan.runs)} runs: {len(outcomes)} finished, {len(waiting)} to train")
    if not waiting:
        return outcomes
    pool = _ray_pool if jobs > 1 and len(waiting) > 1 else _own_process
    start = time.perf_counter()
    done = pool(_Work(waiting, root, data_folders, jobs), outcomes)
    for count, (training, outcome, seconds) in enumerate(done, start=1):
        result = f"failed: {outcome.error}" if outcome.error else _result(outcome.folder)
        log(
            f"[{count}/{len(waiting)}] {training.place}: {result} "
            f"({seconds:.0f} s; {time.perf_counter() - start:.0f} s in total)"
        )
    return outcomes


_Done = Iterator[tuple[Training, Outcome, float]]


@dataclasses.dataclass(frozen=True)
class _Work:
    """Trainings to run.

    Attributes:
        waiting: the trainings.
        root: folder of all tables' runs.
        data_folders: folders of the data sets, by name.
        jobs: number of processes.
    """

    waiting: list[Training]
    root: Path
    data_folders: DataFolders
    jobs: int


def _own_process(work: _Work, outcomes: dict[str, Outcome]) -> _Done:
    """Train one after the other in this process; adds to ``outcomes``."""
    for training in work.waiting:
        folder, seconds = _folder(training, work.root), 0.0
        error = _blocked(training, outcomes)
        if not error:
            error, seconds = _train(_resolved(training, outcomes), folder, work.data_folders)
        outcomes[training.key] = Outcome(folder, error)
        yield training, outcomes[training.key], seconds


def _ray_pool(work: _Work, outcomes: dict[str, Outcome]) -> _Done:
    """Train in ``work.jobs`` processes, each run as soon as the runs that it needs are finished."""
    ray = _start_ray(work.jobs)
    try:
        devices = ray.cluster_resources().get("GPU", 0.0)
        share = min(1.0, devices / work.jobs) if devices else 0.0
        task = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(_train)
        left = list(work.waiting)
        running: dict[Any, tuple[Training, Path]] = {}
        while left or running:
            for training in list(left):
                if any(need.key not in outcomes for need in training.needs.values()):
                    continue
                left.remove(training)
                folder = _folder(training, work.root)
                if reason := _blocked(training, outcomes):
                    outcomes[training.key] = Outcome(folder, reason)
                    yield training, outcomes[training.key], 0.0
                else:
                    recipe = _resolved(training, outcomes)
                    handle = task.remote(recipe, folder.resolve(), dict(work.data_folders))
                    running[handle] = training, folder
            if not running:
                continue
            (handle,), _ = ray.wait(list(running))
            training, folder = running.pop(handle)
            try:
                error, seconds = ray.get(handle)
            except ray.exceptions.RayError as problem:  # the process died, e.g. out of memory
                error, seconds = f"{type(problem).__name__}: {_line(problem)}", 0.0
            outcomes[training.key] = Outcome(folder, error)
            yield training, outcomes[training.key], seconds
    finally:
        ray.shutdown()


def _start_ray(jobs: int) -> Any:
    # Otherwise Ray hides the accelerators from tasks that request none, and warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise DataError("several processes need Ray: pip install 'm3net_tf[many]'") from None
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    settings = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    ray.init(
        num_cpus=jobs,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": settings},
    )
    return ray


def _train(recipe: Recipe, folder: Path, data_folders: DataFolders) -> tuple[str, float]:
    """Train one run; return why it failed, or '', and the seconds that it took."""
    from m3net_tf.keras import keras, tf
    from m3net_tf.training import train

    tf.get_logger().setLevel("ERROR")  # it warns that each run traces its own step
    start, error = time.perf_counter(), ""
    folder.mkdir(parents=True, exist_ok=True)
    data = _data_folder(recipe, data_folders)
    with (folder / "train.log").open("a", buffering=1) as file:

        def log(line: str) -> None:
            print(line, file=file)

        try:
            train(recipe, folder, data, log)
        except M3NetError as problem:
            log(f"error: {problem}")
            error = _line(problem)
        except OSError as problem:
            log(traceback.format_exc())
            error = os_error_line(problem) or _of_bug(problem)
        # The other runs continue after any error; the log has the traceback.
        except Exception as problem:
            log(traceback.format_exc())
            error = _of_bug(problem)
        finally:
            keras.backend.clear_session()
            gc.collect()
    return error, time.perf_counter() - start


def _of_bug(problem: Exception) -> str:
    return f"{type(problem).__name__}: {_line(problem)} (see train.log in its folder)"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _result(folder: Path) -> str:
    test = Run(folder).metrics().test
    return f"test accuracy {100 * test['accuracy']:.2f} %" if "accuracy" in test else "done"


def in_order(trainings: Iterable[Training]) -> list[Training]:
    """Each training once, after all that it needs."""
    ordered: dict[str, Training] = {}

    def add(training: Training) -> None:
        for need in training.needs.values():
            add(need)
        ordered.setdefault(training.key, training)

    for training in trainings:
        add(training)
    return list(ordered.values())


def _blocked(training: Training, outcomes: Mapping[str, Outcome]) -> str:
    for section, need in training.needs.items():
        if error := outcomes[need.key].error:
            return f"the run for {section} failed: {error}"
    return ""


def _resolved(training: Training, outcomes: Mapping[str, Outcome]) -> Recipe:
    """The recipe with the folders of the runs that it needs."""
    recipe = training.recipe
    for section, need in training.needs.items():
        folder = str(outcomes[need.key].folder.resolve())
        named = dataclasses.replace(getattr(recipe, section), run=folder)
        recipe = dataclasses.replace(recipe, **{section: named})
    return recipe


def _folder(training: Training, root: Path) -> Path:
    """Folder in which a run continues or starts; a run of another recipe there is kept."""
    place = root / training.place
    for suffix in ("", f"-{training.key[:8]}"):
        folder = Path(f"{place}{suffix}")
        if _held_key(folder) in ("", training.key) and not Run(folder).outdated:
            return folder
    return Path(f"{place}-{training.key[:8]}-{design_of(training.recipe)[:8]}")


def finished_runs(root: Path) -> dict[str, Path]:
    """Key of its :class:`Training` -> folder, of all finished runs in a folder of runs."""
    finished: dict[str, Path] = {}
    for path in sorted(root.rglob("metrics.json")):
        if Run(path.parent).finished:
            finished.setdefault(_key_of(functools.partial(_recorded, path)), path.parent)
    return finished


def _recorded(metrics_path: Path) -> Recipe:
    """The recipe from the JSON: reading thousands of YAML files would take minutes."""
    metrics = read_json(metrics_path)
    recipe = Recipe.from_dict(metrics["recipe"])
    if built_otherwise(metrics, recipe):
        raise ConfigError("a preset of its model has changed")
    return recipe


def _held_key(folder: Path) -> str:
    """Key of the :class:`Training` of the run in a folder; '' if there is none."""
    path = Run(folder).recipe_path
    return _key_of(lambda: load_recipe(path)) if path.exists() else ""


def _key_of(read: Callable[[], Recipe]) -> str:
    try:
        recipe = read()
    except (ConfigError, DataError, KeyError):  # written by an older version
        return "unreadable"
    for section in LINKS:
        link = getattr(recipe, section)
        if link.run:
            if Run(Path(link.run)).outdated:  # it was trained with another network
                return "outdated"
            named = dataclasses.replace(link, run=f"recipe {_held_key(Path(link.run))}")
            recipe = dataclasses.replace(recipe, **{section: named})
    return fingerprint(recipe)
