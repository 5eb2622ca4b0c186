# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: commands with a result in JSON."""
