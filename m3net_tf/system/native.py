# SPDX-License-Identifier: Apache-2.0
"""Captures the output of native libraries to standard error."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

#: The process has one standard error: two threads would restore each other's.
_redirected = threading.RLock()


@contextlib.contextmanager
def native_stderr() -> Iterator[IO[bytes]]:
    """Redirect the standard error of native libraries while the block runs.

    Python exceptions still report errors. Other threads wait until the block ends.

    Yields:
        The file that receives the output.
    """
    with _redirected, tempfile.TemporaryFile() as captured:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)
