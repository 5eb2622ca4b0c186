# SPDX-License-Identifier: Apache-2.0
"""Print the files that a command passes, with their number and the returns.

- ``python docs/trace_walk.py clip RUN`` follows a clip to the label of an emulated board. RUN has
  an export, such as the run of ``m3net demo``.
- ``python docs/trace_walk.py chain RUN`` follows what ``m3net emulate`` does with two clips of such
  a run, in ``boards/`` and ``export/``: the wings below them are its tools. The results are written
  into the run.
- ``python docs/trace_walk.py cell FOLDER`` follows the cells of ``m3net/table4`` at tiny scale;
  FOLDER is for its runs.
- ``python docs/trace_walk.py train FOLDER`` follows a training of the tests' recipe, in
  ``training/``; FOLDER gets its run.
- ``python docs/trace_walk.py wake FOLDER`` follows a small wake word, in ``wake/``: the wings below
  it are its tools. FOLDER gets its project.

A file of ``m3net_tf/`` is printed when one of its functions is called for the first time, unless it
is the last one printed. A file that comes again is a return, marked with ``*``. Properties and
comprehensions do not count, nor does ``system/``, which every file uses. The way is taken twice and
printed the second time, because the first time builds firmware and trains networks.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType, FunctionType

import m3net_tf
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.datasets.audio import to_pcm16
from m3net_tf.audio.datasets.selection import spread_clips
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.emulation.starting import prove_arena
from m3net_tf.boards.measure.chain import run_chain
from m3net_tf.export import Bundle
from m3net_tf.lab.studies.table_plan import plan_table
from m3net_tf.lab.studies.tables import make_table
from m3net_tf.system.progress import silent
from m3net_tf.training import load_recipe, train
from m3net_tf.training.run import Run
from m3net_tf.wake.making import make_wake_word

PACKAGE = Path(m3net_tf.__file__).parent
TINY = Path(__file__).parents[1] / "tests" / "tiny.yaml"
BOARD = "mps2_an386"


def clip(run: Path) -> Callable[[], object]:
    """The way of a built-in sound through the exported firmware."""
    data = load_dataset("synth", None)
    (sound,) = spread_clips(data, 1)

    def way() -> None:
        machine = find_machine(BOARD)
        bundle = Bundle.load(run / "export")
        pcm = to_pcm16(data.load(sound))[None]
        image = prove_arena(bundle, BOARD, run / "firmware" / BOARD, silent)
        run_job(image.elf, machine, pcm)

    return way


def chain(run: Path) -> Callable[[], object]:
    """The way of two clips through every stage, on the computer and on the board."""
    return lambda: run_chain(Run(run), BOARD, count=2)


def cell(folder: Path) -> Callable[[], object]:
    """The way of the cells of a table."""

    def way() -> None:
        plan = plan_table("m3net/table4", "tiny", runs_folder=folder / "runs", out=folder)
        make_table(plan, {})

    return way


def training(folder: Path) -> Callable[[], object]:
    """The way of a training; each one makes a run of its own."""
    recipe = load_recipe(TINY)

    def way() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as run:
            train(recipe, Path(run))

    return way


def wake(folder: Path) -> Callable[[], object]:
    """The way of a wake word from its phrase; each one makes a project of its own."""

    def way() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as project:
            make_wake_word("computer", project, board=BOARD, count=20, near_count=10, hours=0.04)

    return way


def files_of(way: Callable[[], object], wings: tuple[str, ...]) -> list[str]:
    """The files of a way, in the order of the first calls of their functions.

    Args:
        wings: starts of the files' names.
    """
    getters = [value.fget for value in gc.get_objects() if type(value) is property]
    known = {getter.__code__ for getter in getters if isinstance(getter, FunctionType)}
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code in known:
            return
        known.add(code)
        path = Path(code.co_filename)
        if not path.is_relative_to(PACKAGE) or code.co_name.startswith("<"):
            return
        name = path.relative_to(PACKAGE).as_posix()
        inside = name.startswith(wings) and not name.startswith("system/")
        if inside and files[-1:] != [name]:
            files.append(name)

    sys.setprofile(note)
    try:
        way()
    finally:
        sys.setprofile(None)
    return files


if __name__ == "__main__":
    ways = {"clip": clip, "chain": chain, "cell": cell, "train": training, "wake": wake}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=ways)
    parser.add_argument("place", type=Path, help="RUN or FOLDER")
    asked = parser.parse_args()
    name = asked.name
    place = asked.place
    place.mkdir(parents=True, exist_ok=True)
    wings = {"chain": ("boards/", "export/"), "train": ("training/",), "wake": ("wake/",)}
    way = ways[name](place)
    way()
    files = files_of(way, wings.get(name, ("",)))
    for number, name in enumerate(files):
        print(name + "*" * (name in files[:number]))
    print(f"{len(set(files))} files, {len(files) - len(set(files))} returns")
