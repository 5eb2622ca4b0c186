# SPDX-License-Identifier: Apache-2.0
"""How well a run does: on held-out clips, and live on long recordings of known truth."""
