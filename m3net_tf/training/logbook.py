# SPDX-License-Identifier: Apache-2.0
"""Figures of each epoch as a table and for TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from m3net_tf.system.artifacts import csv_table, write_text
from m3net_tf.system.keras import tf

Row = dict[str, float]


def write_history(history: list[Row], path: Path) -> None:
    """Write one CSV line per epoch; missing figures are empty."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    rows = ([f"{row[key]:.6g}" if key in row else "" for key in columns] for row in history)
    write_text(path, csv_table(columns, rows))


@contextmanager
def tensorboard(folder: Path, *, enabled: bool) -> Iterator[Callable[[Row], None]]:
    """A function that writes an epoch's figures for TensorBoard if ``enabled``.

    It uses TensorFlow's own operators because ``tf.summary.scalar`` would require TensorBoard.
    """
    if not enabled:
        yield lambda _: None
        return
    kind = tf.compat.v1.SummaryMetadata()
    kind.plugin_data.plugin_name = "scalars"
    writer = tf.summary.create_file_writer(str(folder))

    def write(row: Row) -> None:
        with writer.as_default():
            for key, value in row.items():
                if key != "epoch":
                    tf.summary.write(key, tf.constant(value), int(row["epoch"]), metadata=kind)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
