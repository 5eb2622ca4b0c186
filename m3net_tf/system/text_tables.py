# SPDX-License-Identifier: Apache-2.0
"""Reads text tables that others wrote: any usual separator, UTF-8 or UTF-16."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from m3net_tf.system.errors import DataError


def read_table(
    path: Path, columns: Sequence[str], remedy: str = "fetch the data again"
) -> list[dict[str, str]]:
    """Rows of a CSV table with a header; missing cells are empty.

    Args:
        remedy: how to fix a damaged table, for the message.

    Raises:
        DataError: the table is missing, unreadable or lacks one of ``columns``.
    """
    header, rows = read_lines(path, remedy)
    for column in columns:
        if column not in header:
            raise DataError(f"{path}: has no column {column!r}; {remedy}")
    return [row for _, row in rows]


def read_lines(path: Path, remedy: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header of a table, and its rows with the numbers of their lines.

    Commas, semicolons or tabs separate the cells; the text is UTF-8, or UTF-16 with its mark.

    Raises:
        DataError: the table is missing or unreadable, or a row has more cells than the header.
    """
    if not path.is_file():
        raise DataError(f"{path}: metadata is missing; {remedy}")
    whole = read_text(path, remedy)
    text = whole.lstrip("\r\n")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)  # the first of them if there is none
    if match := re.fullmatch(r"sep=([,;\t|])\s*", first):  # as Excel writes it
        separator = match[1]
        text = text[len(first) :].lstrip("\n")
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=separator)
        table.fieldnames = header = [name.strip() for name in table.fieldnames or ()]
        above = whole.count("\n") - text.count("\n")
        rows = [(above + table.line_num, row) for row in table]
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV table ({error}); {remedy}") from None
    for line, row in rows:
        if None in row:
            raise DataError(f"{path}: line {line} has more cells than the header; {remedy}")
    return header, rows


def read_text(path: Path, remedy: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark.

    Other encodings cannot be told apart, and a wrong one would spoil the names of classes.

    Raises:
        DataError: it has another encoding, or a character was lost when it was saved.
    """
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: line {line} is not {encoding.removesuffix('-sig').upper()}; {remedy}"
        ) from None
    if "\ufffd" in text or "\0" in text:
        sign = "a character that was lost (\ufffd)" if "\ufffd" in text else "a zero byte"
        raise DataError(f"{path}: has {sign}; {remedy}")
    return text
