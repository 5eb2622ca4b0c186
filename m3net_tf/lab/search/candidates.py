# SPDX-License-Identifier: Apache-2.0
"""The cost of a candidate: its untrained network, compiled and run on the emulated board."""

import contextlib
import gc
import json
from collections.abc import Iterator

from m3net_tf.audio.datasets import DatasetInfo
from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.boards.measure.footprint import measure_footprint
from m3net_tf.export.untrained import export_untrained
from m3net_tf.networks.models.complexity import work_of
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.keras import keras
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.progress import Log, silent
from m3net_tf.training.clips.checks import input_shape
from m3net_tf.training.network import build_network
from m3net_tf.training.recipe import Recipe
from m3net_tf.training.run import design_of


def network_key(recipe: Recipe, info: DatasetInfo) -> str:
    """Hash of all of a recipe that decides the costs on a board.

    Raises:
        ConfigError: there is no such network or preset.
    """
    facts = [design_of(recipe), recipe.frontend.to_dict(), info.clip_samples, len(info.labels)]
    return sha256_of(json.dumps(facts, sort_keys=True).encode())


class Candidate:
    """The untrained network of a recipe.

    Raises:
        M3NetError: the network cannot be built.
    """

    def __init__(self, recipe: Recipe, info: DatasetInfo) -> None:
        self._recipe, self._info = recipe, info
        shape = input_shape(info, recipe.frontend)
        self._model = build_network(recipe, shape, info.multi_label, len(info.labels))
        self.work = work_of(self._model)

    def measure(self, board: str, log: Log = silent) -> BoardCost:
        """Its cost on a board, from the compiled network on the emulated board of the same core.

        Raises:
            M3NetError: it cannot be quantised, compiled or emulated, or the board is too small.
        """
        with scratch_folder("m3net-search-") as scratch:
            export_untrained(self._model, self._recipe, self._info, scratch / "export", log)
            (row,) = measure_footprint(scratch, [board], log).boards
        if row.needs is None:
            raise FirmwareError(f"it cannot be measured for {board}: {row.missing}")
        if not row.needs.fits:
            raise FirmwareError(f"it does not fit into the memories of {board}")
        return row.needs.cost


@contextlib.contextmanager
def candidate(recipe: Recipe, info: DatasetInfo) -> Iterator[Candidate]:
    """A :class:`Candidate`, whose memory is freed at the end."""
    try:
        yield Candidate(recipe, info)
    finally:
        keras.backend.clear_session()
        gc.collect()
