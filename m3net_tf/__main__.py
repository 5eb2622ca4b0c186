# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net``; ``classify`` works without the packages that other commands import."""

from __future__ import annotations

import sys

_USER_ERROR = 2


def main() -> None:
    """Entry point."""
    try:
        if sys.argv[1:2] == ["classify"]:
            from m3net_tf.runtime.command import main as classify

            sys.exit(classify(sys.argv[2:]))
        from m3net_tf.cli import main as command_line

        command_line()
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == __package__:
            raise
        _name_install(error.name.partition(".")[0])
    except KeyboardInterrupt:  # while the packages are loaded
        from m3net_tf.terminal import INTERRUPTED

        sys.exit(INTERRUPTED)


def _name_install(package: str) -> None:
    """Print one line that says how to install a package that a light installation lacks."""
    print(
        f"error: this command needs the Python package {package}: run pip install . in the source "
        "folder (m3net classify works without it)",
        file=sys.stderr,
    )
    sys.exit(_USER_ERROR)


if __name__ == "__main__":
    main()
