# SPDX-License-Identifier: Apache-2.0
"""The papers' figures, drawn from finished runs."""
