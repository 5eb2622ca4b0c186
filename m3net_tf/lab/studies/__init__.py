# SPDX-License-Identifier: Apache-2.0
"""The papers' tables: grids, runs, tables, statistics, costs of a grid on a board."""
