# SPDX-License-Identifier: Apache-2.0
"""The worker processes that a process has started with Ray."""

from pathlib import Path


def worker_processes(starter: int) -> list[int]:
    """Numbers of the processes of Ray that train, among the descendants of a process."""
    parents = {}
    names = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:  # it has just ended
            continue

    def descends(number: int) -> bool:
        while number not in (0, starter):
            number = parents.get(number, 0)
        return number == starter

    return [
        number
        for number, name in names.items()
        if name.startswith("ray::WorkerProcess") and descends(number)
    ]
