# SPDX-License-Identifier: Apache-2.0
"""Commands of the documentation, run in this process."""

import contextlib
import io
import sys

import pytest

from m3net_tf import cli
from m3net_tf.cli.output import console


def m3net(words: list[str]) -> str:
    """All output of ``m3net WORDS``."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["m3net", *words])
        # As in a pipe, even if this process has imported it with a narrow terminal.
        patch.setattr(console, "width", 200)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                cli.main()
            except SystemExit as stop:
                assert not stop.code, output.getvalue()
    return output.getvalue()
