# SPDX-License-Identifier: Apache-2.0
"""Many trainings: planned, and run on this computer or a Ray cluster."""
