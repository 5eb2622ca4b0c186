# SPDX-License-Identifier: Apache-2.0
"""Sounds that are marked in long recordings: the tables of Audacity and Raven, and CSV."""
