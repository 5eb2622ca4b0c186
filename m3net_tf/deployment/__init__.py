# SPDX-License-Identifier: Apache-2.0
"""What an export does and costs on a board: chain, arena, fit, matrix, budgets."""
