# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of speech synthesisers."""

import subprocess
from collections.abc import Sequence

from m3net_tf.system.errors import DataError
from m3net_tf.system.processes import with_parent

_TIMEOUT_S = 60
_LONGEST_REASON = 200


def output_of(command: Sequence[str], text: str = "") -> bytes:
    """Standard output of a program that gets ``text`` on standard input.

    Raises:
        DataError: the program fails, or takes longer than a minute.
    """
    name = command[0]
    try:
        done = subprocess.run(
            with_parent(command),
            input=text.encode(),
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{name} does not end within {_TIMEOUT_S} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-_LONGEST_REASON:]
        raise DataError(f"{name} ends with status {done.returncode}: {said or 'no message'}")
    return done.stdout
