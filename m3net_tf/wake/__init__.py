# SPDX-License-Identifier: Apache-2.0
"""A wake word from a phrase: voices, sounds, thresholds, and the project that trains it."""
