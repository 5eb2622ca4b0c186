# SPDX-License-Identifier: Apache-2.0
"""Predictions of a network on clips, and their figures."""
