# SPDX-License-Identifier: Apache-2.0
"""Behaviour and cost of an export on a board: chain, footprint, matrix, accepted costs."""
