# SPDX-License-Identifier: Apache-2.0
"""Plots of runs, for pages and the papers' figures."""
