# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net``. A missing package ends in one line that names the extra to install."""

from __future__ import annotations

import sys


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
        from m3net_tf.terminal import Status, print_how_to_continue

        print_how_to_continue(Status.INTERRUPTED)
        sys.exit(Status.INTERRUPTED)


def _name_install(module: str) -> None:
    """Print one line that says how to install the package of a module that is missing."""
    from m3net_tf.extras import installation_with, package_of
    from m3net_tf.terminal import Status

    package = package_of(module)
    name = installation_with(package)
    print(
        f"error: this command needs the Python package {package}: run pip install '{name}', or "
        f"pip install -e '.{name.removeprefix('m3net_tf')}' in a source checkout",
        file=sys.stderr,
    )
    sys.exit(Status.USER_ERROR)


if __name__ == "__main__":
    main()
