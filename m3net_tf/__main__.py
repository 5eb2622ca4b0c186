# SPDX-License-Identifier: Apache-2.0
"""The command ``m3net``; ``classify`` needs nothing of what the other commands import."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    try:
        if sys.argv[1:2] == ["classify"]:
            from m3net_tf.runtime.command import main as classify

            sys.exit(classify(sys.argv[2:]))
        from m3net_tf.cli import main as others

        others()
    except KeyboardInterrupt:  # while the packages are loaded
        from m3net_tf.terminal import INTERRUPTED

        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
