# SPDX-License-Identifier: Apache-2.0
"""Searches the networks that recognise best at each cost on a board.

:mod:`.space` has the candidates, :mod:`.proposals` chooses the next one, :mod:`.candidates`
measures its cost on the emulated board, :mod:`.driver` trains it, and :mod:`.result` shows the
best ones.
"""
