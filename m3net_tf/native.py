# SPDX-License-Identifier: Apache-2.0
"""What native libraries write to standard error behind Python's back."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def native_stderr() -> Iterator[IO[bytes]]:
    """Keep native chatter off the terminal while the block runs.

    Python exceptions still tell what happened.

    Yields:
        A file that receives the chatter, for those who want to read it.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as catch:
        os.dup2(catch.fileno(), 2)
        try:
            yield catch
        finally:
            os.dup2(saved, 2)
            os.close(saved)
