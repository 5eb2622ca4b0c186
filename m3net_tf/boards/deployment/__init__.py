# SPDX-License-Identifier: Apache-2.0
"""The project of a wake word."""
