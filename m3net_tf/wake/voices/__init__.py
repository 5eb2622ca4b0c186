# SPDX-License-Identifier: Apache-2.0
"""Spoken phrases from installed speech synthesisers: a phrase → labelled clips of many voices."""
