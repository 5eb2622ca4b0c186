# SPDX-License-Identifier: Apache-2.0
"""From a bundle to a board: firmware builds, emulation, devices, and what an export costs there."""

DEFAULT_BOARD = "mps2_an386"
"""The board of commands without ``--board``: an emulated Cortex-M4F."""
