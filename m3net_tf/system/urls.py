# SPDX-License-Identifier: Apache-2.0
"""Files and folders at a URL of any kind that fsspec can read (``file://``, ``s3://``, ``gs://``)."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import MOST_BYTES
from m3net_tf.system.errors import DataError, one_line
from m3net_tf.system.extras import how_to_install

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(::|://)", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is a URL, not a path."""
    return _SCHEME.match(text) is not None


def absolute_url(text: str) -> str:
    """A URL, or the absolute path that a path names here, without a slash at the end."""
    return (text if is_url(text) else str(Path(text).expanduser().absolute())).rstrip("/")


def open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL or path, and the path in it.

    Raises:
        DataError: fsspec, or its package for this kind of URL, is missing.
    """
    try:
        import fsspec
    except ImportError:
        raise DataError(f"{url} needs fsspec: {how_to_install('many')}") from None
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # the message names the package
        raise DataError(f"{url} cannot be opened: {one_line(error)}") from None
    return system, str(root)


@contextlib.contextmanager
def reaching(url: str, verb: str = "read", own: str | None = None) -> Iterator[None]:
    """Report errors of a server in one line.

    Args:
        verb: what is done to it: read, written.
        own: end of the names of files of this computer, whose errors stay as they are.

    Raises:
        DataError: the server raised an error.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # each kind of server has errors of its own
        if own and str(getattr(error, "filename", "")).endswith(own):
            raise
        raise DataError(
            f"{url} cannot be {verb} ({type(error).__name__}: {one_line(error)}): check the URL, "
            "the network and your credentials"
        ) from None


def small_file(system: Any, path: str) -> bytes | None:
    """Content of a small file, or so much of a larger one that no record is as long; None if it is
    missing."""
    try:
        with system.open(path, "rb") as file:
            return bytes(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        return None
