# SPDX-License-Identifier: Apache-2.0
"""Keras networks by name, their layers, and the trained networks of the package."""
