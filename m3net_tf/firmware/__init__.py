# SPDX-License-Identifier: Apache-2.0
"""Fetching the pinned third-party sources and building the firmware from an export bundle."""
