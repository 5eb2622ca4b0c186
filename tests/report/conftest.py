# SPDX-License-Identifier: Apache-2.0
"""The browser of the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Page, find_chromium, opened_browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here: sudo apt-get install chromium")
    with opened_browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened
