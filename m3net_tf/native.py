# SPDX-License-Identifier: Apache-2.0
"""Captures the output of native libraries to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def native_stderr() -> Iterator[IO[bytes]]:
    """Redirect the standard error of native libraries while the block runs.

    Python exceptions still report errors.

    Yields:
        The file that receives the output.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)
