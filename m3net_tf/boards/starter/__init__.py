# SPDX-License-Identifier: Apache-2.0
"""A project of the user's own sounds, with a network that their board runs in real time."""
