# SPDX-License-Identifier: Apache-2.0
"""One training, in the process and on the computer that a pool chose for it."""

import dataclasses
import gc
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from m3net_tf import __version__
from m3net_tf.audio.shards import Shards
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.errors import DataError, InUseError, M3NetError, one_line, os_error_line
from m3net_tf.system.progress import Log
from m3net_tf.training.cluster.data import local_folder
from m3net_tf.training.cluster.fetching import RemoteFolder, fetch_folder
from m3net_tf.training.loop.member import Member
from m3net_tf.training.loop.stopping import AfterEpoch, TrainingStoppedError
from m3net_tf.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Order:
    """A training for a worker.

    Attributes:
        folder: its run folder; absolute for another process.
        data: folder or shards of the data set; a folder at a URL is copied once to each computer.
        features: URL of a folder of computed feature maps, copied once to each computer.
        witness: a file beside the runs, which the worker must see too; None in this process.
        after_epoch: is called after each saved epoch, and may stop the training; such a run has
            no error, and is not finished.
        member: this worker of a training that has several; None for the only one.
    """

    recipe: Recipe
    folder: Path
    data: Path | RemoteFolder | Shards | None
    features: RemoteFolder | None = None
    witness: Path | None = None
    after_epoch: AfterEpoch | None = None
    version: str = __version__
    devices: int = 1
    member: Member | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """How a training ended.

    Attributes:
        error: why it failed, in one line; '' if it did not.
        in_use: whether it was not started, because another process holds its folder.
        peer_lost: whether the connection to another worker of the training was lost.
    """

    error: str
    seconds: float
    host: str = dataclasses.field(default_factory=socket.gethostname)
    in_use: bool = False
    peer_lost: bool = False


Work = Callable[[Order], Report]


def train_run(order: Order) -> Report:
    """Train one run, or resume it; its lines go to ``train.log`` in its folder."""
    start = time.perf_counter()
    lost = False
    name = log_name(order.member.number if order.member else 0)
    try:
        _check_computer(order)
        order.folder.mkdir(parents=True, exist_ok=True)
        with (order.folder / name).open("a", buffering=1) as file:
            error, lost = _train(order, lambda line: print(line, file=file))
    except InUseError as problem:
        return Report(one_line(problem), time.perf_counter() - start, in_use=True)
    except (M3NetError, OSError) as problem:
        error = one_line(problem)
    return Report(error, time.perf_counter() - start, peer_lost=lost)


def log_name(number: int) -> str:
    """Name of the log of a worker, in the folder of its run."""
    return f"worker{number}.log" if number else "train.log"


def _check_computer(order: Order) -> None:
    host = socket.gethostname()
    if order.version != __version__:
        raise DataError(
            f"{host} has m3net_tf {__version__}, this computer {order.version}: install the same "
            "version on all"
        )
    if order.witness is not None and not order.witness.exists():
        raise DataError(
            f"{order.witness.parent} is not visible on {host}: name a folder on a file system that "
            "all computers share, by --runs, or --run for one training"
        )


def _train(order: Order, log: Log) -> tuple[str, bool]:
    """Train; return why it failed, or '', and whether the reason is a lost connection."""
    from m3net_tf.system.keras import keras, tf
    from m3net_tf.training import train
    from m3net_tf.training.start import train_member

    tf.get_logger().setLevel("ERROR")  # it warns that each run traces its own step
    try:
        if order.features:
            fetch_folder(order.features, cache_folder() / "features", log)
        given = order.data
        source = given if isinstance(given, Shards) else local_folder(given, log)
        if order.member:
            train_member(order.recipe, order.folder, source, log, order.devices, order.member)
        else:
            train(
                order.recipe,
                order.folder,
                source,
                log,
                order.devices,
                after_epoch=order.after_epoch,
            )
    except InUseError:
        raise
    except TrainingStoppedError as stop:
        log(str(stop))
    except M3NetError as problem:
        log(f"error: {problem}")
        return one_line(problem), False
    except OSError as problem:
        log(traceback.format_exc())
        return os_error_line(problem) or _bug_line(problem), False
    # The other runs continue after any error; the log has the traceback.
    except Exception as problem:
        log(traceback.format_exc())
        lost = order.member is not None and isinstance(problem, _connection_errors())
        return _bug_line(problem), lost
    finally:
        keras.backend.clear_session()
        gc.collect()
    return "", False


def _connection_errors() -> tuple[type[Exception], ...]:
    """Errors of TensorFlow when another worker is lost, or a port has just been taken."""
    from m3net_tf.system.keras import tf

    errors = tf.errors
    return (
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.InternalError,
        errors.UnavailableError,
        errors.UnknownError,
    )


def _bug_line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {one_line(problem)} (see train.log in its folder)"
