# SPDX-License-Identifier: Apache-2.0
"""The faults: each disturbs one operation, and says what must hold afterwards."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from fault_operations import Operation
from fault_places import PLENTY, Child, Disk, End
from worker_processes import worker_processes

_DAY_S = 86_400
_PAGE = 4096


class FaultError(Exception):
    """The program did not behave as it must after a fault."""


def _as_usual() -> None:
    """Change nothing in a new process."""


@dataclasses.dataclass
class Scene:
    """One case in progress.

    Attributes:
        operation: the disturbed operation.
        place: its files.
        disk: the disk that has them.
        chance: draws all that is random.
        seconds: duration of the operation without faults.
        growth: bytes that it writes without faults.
        notes: what happened, for the log.
    """

    operation: Operation
    place: Path
    disk: Disk
    chance: random.Random
    seconds: float
    growth: int
    notes: list[str] = dataclasses.field(default_factory=list)

    def start(self, before: Callable[[], None] = _as_usual) -> Child:
        """Start the operation in a process that first calls ``before``."""
        return Child(self.operation, self.place, before)

    def kill_midway(self, before: Callable[[], None] = _as_usual, extra_s: float = 0.0) -> End:
        """Start the operation and kill it at a random moment."""
        after = self.chance.uniform(0.0, 1.05) * (self.seconds + extra_s)
        child = self.start(before)
        child.ends_within(after)
        child.kill()
        state = child.wait()
        self.notes.append(f"killed after {after:.2f} s" if state.status == -9 else "had ended")
        if state.status not in (0, -signal.SIGKILL):
            raise FaultError(f"status {state.status} before the kill: {state.error[-400:]}")
        return state

    def require_refused(self, state: End, *words: str) -> None:
        """Require status 0, or a refusal by one line that has one of the words."""
        if state.status == 0:
            self.notes.append("not affected")
        elif not state.refusal:
            raise FaultError(f"status {state.status}, not one line: {state.error[-1500:]}")
        elif not any(word in state.refusal for word in words):
            raise FaultError(f"the line does not name the fault: {state.refusal}")
        else:
            self.notes.append(state.refusal)


def kill(scene: Scene) -> str:
    """SIGKILL at random moments, up to three times in a row; returns the lines of progress."""
    outputs = [scene.kill_midway().output for _ in range(scene.chance.choice((1, 1, 2, 3)))]
    return "".join(outputs)


def full_disk(scene: Scene) -> str:
    """The disk has less space than the operation needs."""
    free = int(scene.chance.random() * scene.growth)
    scene.disk.resize((scene.disk.used() + free) // _PAGE * _PAGE + _PAGE)
    state = scene.start().wait()
    scene.notes.append(f"{free >> 10} KiB free")
    scene.require_refused(state, "No space left on device", "free some space")
    scene.disk.resize(PLENTY)
    return state.output


def read_only(scene: Scene) -> str:
    """The disk is read-only, from the start or after a kill."""
    if scene.chance.random() < 0.5:
        scene.kill_midway()
    scene.disk.set_read_only()
    state = scene.start().wait()
    scene.require_refused(state, "Read-only file system")
    scene.disk.set_writable()
    return state.output


def truncated(scene: Scene) -> str:
    """A file of a killed operation loses its end, or becomes zeros there, as after a power cut."""
    earlier = set(scene.place.rglob("*"))
    scene.kill_midway()
    kept = {path for name in scene.operation.kept for path in scene.place.glob(name)}
    files = [
        path for path in sorted(scene.place.rglob("*")) if path.is_file() and path.stat().st_size
    ]
    # Results of earlier steps are damaged, too, but a recipe is the user's own.
    own = [scene.place / name for name in ("grid.yaml", "space.yaml")]
    files = [path for path in files if path not in own]
    new = [path for path in files if path not in earlier]
    states = [path for path in new if path.name == "state.npz"]
    if new and scene.chance.random() < 0.8:
        files = states if states and scene.chance.random() < 0.5 else new
    if not files:
        scene.notes.append("no file yet")
        return ""
    path = scene.chance.choice(files)
    content = path.read_bytes()
    length = scene.chance.randrange(len(content))
    filler = scene.chance.choice((b"", b"\0"))
    path.write_bytes(content[:length] + filler * (len(content) - length))
    scene.notes.append(
        f"{path.relative_to(scene.place)} {'cut' if not filler else 'zero'} from byte {length}"
    )
    state = scene.start().wait()
    scene.require_refused(state, path.name, str(path.parent), "is not", "damaged")
    if state.status or path in kept:
        path.write_bytes(content)  # the user restores it ...
        if path not in kept and scene.chance.random() < 0.5:
            path.unlink()  # ... or deletes it
    return ""


def clock_set_back(scene: Scene) -> str:
    """After a kill all files are from the future, and the time of the process is a day earlier."""
    output = scene.kill_midway().output
    future = time.time() + scene.chance.choice((60, _DAY_S, 3650 * _DAY_S))
    for path in scene.place.rglob("*"):
        os.utime(path, (future, future), follow_symlinks=False)
    state = scene.start(_turn_back).wait()
    if state.status:
        raise FaultError(f"status {state.status}: {state.error[-1500:]}")
    return output


def _turn_back() -> None:
    now = time.time
    now_ns = time.time_ns
    time.time = lambda: now() - _DAY_S
    time.time_ns = lambda: now_ns() - _DAY_S * 10**9


def two_processes(scene: Scene) -> str:
    """A second process wants to work on what a first one works on."""
    first = scene.start()
    try:
        lock = scene.place / "run/.m3net-lock"
        while scene.operation.locks and not lock.exists() and not first.ends_within(0.01):
            pass
        ended = first.ends_within(scene.chance.random() * 0.5 * scene.seconds)
        stopped = scene.operation.locks and not ended
        if stopped:  # so that it certainly still works when the second one starts
            first.kill(signal.SIGSTOP)
        second = scene.start()
        if not stopped:
            second_end = second.wait()
            first_end = first.wait()
            scene.require_refused(second_end, f"in use by process {first.number}")
        else:
            second_end = second.wait()
            first.kill(signal.SIGCONT)
            first_end = first.wait()
            if f"in use by process {first.number} (" not in second_end.refusal:
                raise FaultError(f"the second was not refused: {second_end}")
            scene.notes.append(second_end.refusal)
    finally:
        first.kill()
    scene.require_refused(first_end, f"in use by process {second.number}")
    if scene.operation.locks and first_end.status:
        raise FaultError(f"the first ended with {first_end.status}: {first_end.error[-1500:]}")
    return first_end.output


def slow_rename(scene: Scene) -> str:
    """Renames take long, as on NFS, and the process is killed; or one loses its reply."""
    if scene.chance.random() < 0.6:
        pause = scene.chance.uniform(0.01, 0.2)
        slow = functools.partial(_slow_down, pause)
        return scene.kill_midway(slow, extra_s=scene.seconds).output
    number = scene.chance.randrange(1, 8)
    state = scene.start(functools.partial(_lose_reply, number)).wait()
    scene.require_refused(state, "Input/output error")
    return state.output


def _slow_down(pause_s: float) -> None:
    def wrap(rename: Callable[..., None]) -> Callable[..., None]:
        def slow(*args: object, **kwargs: object) -> None:
            time.sleep(pause_s)
            rename(*args, **kwargs)
            time.sleep(pause_s)

        return slow

    os.rename = wrap(os.rename)
    os.replace = wrap(os.replace)


def _lose_reply(number: int) -> None:
    """The ``number``-th rename takes effect, but reports an error."""
    count = 0
    replace = os.replace

    def lossy(source: str, target: str, **kwargs: int) -> None:
        nonlocal count
        replace(source, target, **kwargs)
        count += 1
        if count == number:
            raise OSError(5, "Input/output error", str(target))

    os.replace = lossy


def worker_kill(scene: Scene) -> str:
    """One of the worker processes of a training is killed; all start again."""
    child = scene.start()
    killed = 0
    after = scene.chance.uniform(0.3, 0.9) * scene.seconds
    child.ends_within(after)
    while not killed and not child.ends_within(0.05):
        workers = worker_processes(child.number)
        if len(workers) > 1:
            killed = scene.chance.choice(workers)
            os.kill(killed, signal.SIGKILL)
    state = child.wait()
    scene.notes.append(f"a worker was killed after {after:.2f} s" if killed else "had ended")
    if state.status:
        raise FaultError(f"status {state.status}: {state.error[-1500:]}")
    if killed and "all workers start again from the last epoch, restart 1" not in state.output:
        scene.notes.append("the training had ended")
    return state.output


KINDS: dict[str, Callable[[Scene], str]] = {
    "kill": kill,
    "full-disk": full_disk,
    "read-only": read_only,
    "truncated": truncated,
    "clock": clock_set_back,
    "two-processes": two_processes,
    "rename": slow_rename,
    "worker-kill": worker_kill,
}
