# SPDX-License-Identifier: Apache-2.0
"""The papers' tables: grids, their runs, tables, statistics, costs of a whole grid on a board."""
