# SPDX-License-Identifier: Apache-2.0
"""Results and costs of an export on a board: chain, arena, fit, matrix, accepted costs."""
