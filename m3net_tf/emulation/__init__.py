# SPDX-License-Identifier: Apache-2.0
"""The firmware on emulated boards: job images, QEMU, Renode, and the UART's lines."""

from m3net_tf.emulation.machines import MACHINES, Machine, find_machine
from m3net_tf.emulation.qemu import EmulationResult, run_job

__all__ = ["MACHINES", "EmulationResult", "Machine", "find_machine", "run_job"]
