# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a run: on held-out clips, and live on long recordings of known events."""
