# SPDX-License-Identifier: Apache-2.0
"""From an int8 ``.tflite`` to the folder that the firmware is compiled with."""

from typing import TYPE_CHECKING, Any

from m3net_tf.export.bundle import Bundle

if TYPE_CHECKING:
    from m3net_tf.export.from_run import export_run

__all__ = ["Bundle", "export_run"]


def __getattr__(name: str) -> Any:
    """Import ``export_run`` on first use: TensorFlow takes seconds, and reading needs none."""
    if name == "export_run":
        from m3net_tf.export.from_run import export_run

        return export_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
