# SPDX-License-Identifier: Apache-2.0
"""The papers' tables and figures, many runs, architecture search, and benchmarks."""
