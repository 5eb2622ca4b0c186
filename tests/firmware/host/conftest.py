# SPDX-License-Identifier: Apache-2.0
"""Programs that change the storage of the host's board, which has the rules of flash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from firmware_helpers import run_tool
from monitor_host import build_monitor


@pytest.fixture(scope="module", params=[4, 32])
def word_bytes(request: pytest.FixtureRequest) -> int:
    """Words of the STM32F407 and the nRF52840, and the STM32H753's words with check bits."""
    return request.param


@pytest.fixture(scope="module")
def run_with_storage(
    request: pytest.FixtureRequest, monitor_host: Path, word_bytes: int
) -> Callable[..., str]:
    """Runs the ``PROGRAM`` of a test's module, a target of ``firmware/host``; what it prints."""
    choice = f"M3NET_HOST_STORAGE_WORD_BYTES={word_bytes}"
    program = build_monitor(monitor_host.parent, choice, target=request.module.PROGRAM)

    def output(*words: str) -> str:
        return run_tool(program, *words).decode()

    return output
