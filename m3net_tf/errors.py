# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cause and mend.

Each message is one line that names the file, key or value and says what to do about it. The
command line prints it behind ``error:`` and exits with status 2; any other exception is a bug
of ours and keeps its traceback.
"""


class M3NetError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(M3NetError):
    """A recipe, option or front-end setting is wrong."""


class DataError(M3NetError):
    """A data set, folder or audio file is missing, broken or of the wrong form."""


class ModelError(M3NetError):
    """A network cannot be built, loaded, quantised or exported as asked."""


class FirmwareError(M3NetError):
    """The firmware cannot be fetched, built, emulated or flashed, or it reported a fault."""
