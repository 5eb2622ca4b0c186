# SPDX-License-Identifier: Apache-2.0
"""The clips of a training: where they are, those that are added, and their features."""
