# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a run on held-out clips, and its live detection on long annotated recordings."""
