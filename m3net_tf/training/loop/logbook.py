# SPDX-License-Identifier: Apache-2.0
"""Figures of each epoch as a table and for TensorBoard."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import csv_table, write_text
from m3net_tf.system.keras import tf


@dataclasses.dataclass(frozen=True)
class Logbook:
    """The figures of a run's epochs in its folder.

    Attributes:
        tensorboard: whether they are also written for TensorBoard.
    """

    folder: Path
    tensorboard: bool

    def write(self, history: Sequence[dict[str, float]], new: dict[str, float]) -> None:
        """Write ``history.csv`` with one line per epoch; missing figures are empty.

        Args:
            new: the row for TensorBoard; empty if it has the last one.
        """
        if self.tensorboard and new:
            self._write_event(new)
        columns = list(dict.fromkeys(key for row in history for key in row))
        rows = ([f"{row[key]:.6g}" if key in row else "" for key in columns] for row in history)
        write_text(self.folder / "history.csv", csv_table(columns, rows))

    @functools.cached_property
    def _events(self) -> Any:
        return tf.summary.create_file_writer(str(self.folder / "tensorboard"))

    def _write_event(self, row: dict[str, float]) -> None:
        """Write with TensorFlow's own operators: ``tf.summary.scalar`` requires TensorBoard."""
        kind = tf.compat.v1.SummaryMetadata()
        kind.plugin_data.plugin_name = "scalars"
        with self._events.as_default():
            for key, value in row.items():
                if key != "epoch":
                    tf.summary.write(key, tf.constant(value), int(row["epoch"]), metadata=kind)
        self._events.flush()
