# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run on held-out clips, and live detection in long recordings of known truth."""
