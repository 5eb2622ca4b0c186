# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix: what they have to name, whatever their wording."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def refuses(
    kind: type[BaseException] | tuple[type[BaseException], ...], *names: object
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect an error of one line.

    Args:
        kind: its class.
        names: what the line names: file, key, value, or the option or command that helps.
    """
    with pytest.raises(kind) as caught:
        yield caught
    message = str(caught.value)
    assert "\n" not in message
    missing = [str(name) for name in names if str(name) not in message]
    assert not missing, f"{missing} not in: {message}"
