# SPDX-License-Identifier: Apache-2.0
"""Sound recognition, from a paper to a microcontroller."""

__version__ = "0.1.0"
