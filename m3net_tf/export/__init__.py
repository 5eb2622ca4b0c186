# SPDX-License-Identifier: Apache-2.0
"""From an int8 ``.tflite`` to the folder that the firmware is compiled with."""

from m3net_tf.export.bundle import Bundle, export_run

__all__ = ["Bundle", "export_run"]
