# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net``. A missing package ends in one line that names the extra to install."""

import sys


def main() -> None:
    """Entry point."""
    try:
        from m3net_tf.cli import main as command_line

        command_line()
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == __package__:
            raise
        _name_install(error.name.partition(".")[0])
    except KeyboardInterrupt:  # while the packages are loaded
        from m3net_tf.system.terminal import Status, print_how_to_continue

        print_how_to_continue(Status.INTERRUPTED)
        sys.exit(Status.INTERRUPTED)


def _name_install(module: str) -> None:
    """Print one line that names the missing packages of a module's extra, and how to install it."""
    from m3net_tf.system.extras import how_to_install, missing_with, named, package_of
    from m3net_tf.system.terminal import Status, print_error

    extra, packages = missing_with(package_of(module))
    print_error(f"this command needs {named(packages)}: {how_to_install(extra)}")
    sys.exit(Status.USER_ERROR)


if __name__ == "__main__":
    main()
