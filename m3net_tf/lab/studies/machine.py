# SPDX-License-Identifier: Apache-2.0
"""The computer that writes a report."""

import os
import platform
from pathlib import Path
from typing import TypedDict


class Computer(TypedDict):
    """A computer: its processor, number of cores, and accelerators that TensorFlow finds."""

    processor: str
    cores: int | None
    accelerators: list[str]


def machine() -> Computer:
    """This computer."""
    from m3net_tf.system.keras import tf

    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    except OSError:
        pass
    accelerators = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {"processor": processor, "cores": os.cpu_count(), "accelerators": accelerators}
