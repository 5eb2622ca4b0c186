# SPDX-License-Identifier: Apache-2.0
"""The firmware on emulated boards: job images, QEMU, Renode, and the UART's lines."""

from m3net_tf.boards.emulation.machines import Machine, emulated_board, find_machine, machines
from m3net_tf.boards.emulation.qemu import EmulationResult, run_job

__all__ = ["EmulationResult", "Machine", "emulated_board", "find_machine", "machines", "run_job"]
