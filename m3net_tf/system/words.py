# SPDX-License-Identifier: Apache-2.0
"""Numbers and lists as they stand in a sentence."""

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 class``, ``2 classes``, ``1,200 copies``."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")) and noun != "epoch":
        plural = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}s"
    return f"{number:,} {plural}"


def in_words(words: Iterable[str]) -> str:
    """One or more words: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
