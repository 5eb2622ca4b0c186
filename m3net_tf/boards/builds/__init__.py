# SPDX-License-Identifier: Apache-2.0
"""Fetch the pinned third-party sources, build the firmware of an export, flash it."""
