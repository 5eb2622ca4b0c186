# SPDX-License-Identifier: Apache-2.0
"""The firmware on emulated boards: QEMU, Renode, and firmware that starts there."""
