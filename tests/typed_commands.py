# SPDX-License-Identifier: Apache-2.0
"""Commands, run in this process."""

import contextlib
import io
import sys

import pytest

from m3net_tf import __main__ as entry
from m3net_tf.cli.output import console


def status_of(*words: object) -> int:
    """Exit status of ``m3net WORDS``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["m3net", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            entry.main()
    return int(stop.value.code or 0)


def ended(*words: object) -> tuple[int, str]:
    """Exit status and all output of ``m3net WORDS``."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        return status_of(*words), output.getvalue()


def m3net(words: list[str]) -> str:
    """All output of ``m3net WORDS``, which must succeed, as in a pipe."""
    with pytest.MonkeyPatch.context() as patch:
        # This process may have imported it with a narrow terminal.
        patch.setattr(console, "width", 200)
        status, output = ended(*words)
    assert not status, output
    return output
