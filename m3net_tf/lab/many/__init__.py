# SPDX-License-Identifier: Apache-2.0
"""Many trainings: planned, run on this computer or a Ray cluster, and listed."""
