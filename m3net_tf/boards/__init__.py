# SPDX-License-Identifier: Apache-2.0
"""From a bundle to a board: firmware builds, emulation, devices, and what an export costs there."""
