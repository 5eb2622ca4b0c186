# SPDX-License-Identifier: Apache-2.0
"""Reads a network from a ``.tflite`` file, or from a C source whose array has the file's bytes.

A network that Keras saved is refused by its kind.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from m3net_tf.system.artifacts import opened_archive, parse_json, read_file
from m3net_tf.system.errors import DAMAGED, ModelError

MOST_FILE_BYTES = 1 << 25
MOST_TEXT_BYTES = 1 << 26
"""Of a C source whose array has the file's bytes, six characters or so for each."""
IDENTIFIER = b"TFL3"  # bytes 4 to 7 of a file
_C_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".inc", ".ino")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # as PowerShell writes the output of xxd
# Each alternative matches to its end or to the end of the text, so that none is tried twice.
_TOKENS = re.compile(
    r"""//(?:\\\r?\n|[^\n])*            # a comment
    |/\*.*?(?:\*/|\Z)                   # a comment
    |^[ \t]*\#(?:\\\r?\n|[^\n])*        # a line of the preprocessor
    |"(?:\\.|[^"\\\n])*"?               # a string
    |'(?:\\.|[^'\\\n])*'?               # a character
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_GROUP = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"([-+]?)\s*(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|([0-9]+))[uUlL]{0,3}")
_CHARACTER = re.compile(r"'(?:\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))|([ -~]))'", re.DOTALL)
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_LONGEST_ITEM = 40
_HDF5 = b"\x89HDF\r\n\x1a\n"
_METADATA, _MOST_METADATA = "metadata.json", 1 << 16
_UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED, RecursionError, TypeError)
_MOST_MARKS = 1 << 21  # that begin comments, strings and characters


def read_model_file(path: Path) -> bytes:
    """The bytes of a ``.tflite`` file, from the file itself or from an array of a C source.

    Raises:
        ModelError: it cannot be read, is larger than a microcontroller's networks are, is a network
            that Keras saved, or a C source without exactly one network.
    """
    is_source = path.suffix.lower() in _C_SUFFIXES
    most = MOST_TEXT_BYTES if is_source else MOST_FILE_BYTES
    try:
        data = read_file(path, most)
        if data[4:8] != IDENTIFIER:
            refuse_keras(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{path} cannot be read ({reason}): name a .tflite file for a microcontroller"
        ) from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if not is_source or data[4:8] == IDENTIFIER:
        return data
    text = data.decode("utf-16" if data.startswith(_UTF_16) else "latin-1", errors="replace")
    if sum(map(text.count, ("//", "/*", "#", '"', "'"))) > _MOST_MARKS:
        raise ModelError(f"{path} has too many comments and characters: name the .tflite itself")
    networks = [*dict.fromkeys(_networks(text))]
    if len(networks) == 1:
        return networks[0]
    if networks:
        raise ModelError(f"{path} has {len(networks)} networks: keep one of these arrays in it")
    raise ModelError(
        f"{path} has no array of numbers with the bytes of a .tflite file, such as `const unsigned "
        "char g_model[] = {0x1c, ...}`: name the file that defines it, or the .tflite itself"
    )


def _networks(text: str) -> Iterator[bytes]:
    """The arrays that begin as a ``.tflite`` file does."""
    for group in _GROUP.finditer(_TOKENS.sub(_plain, text)):
        items = (each.group() for each in re.finditer(r"[^,]+", group[1]))
        values = _Values()
        try:
            first = bytes(values[item] for item in itertools.islice(items, 8))
            if first[4:] == IDENTIFIER:
                yield first + bytes(values[item] for item in items if not item.isspace())
        except ValueError:  # an item that is not a byte
            continue


def _plain(token: re.Match[str]) -> str:
    """What stands for a comment, a line of the preprocessor, a string or a character."""
    text = token.group()
    if text[0] == '"':
        return '""'
    character = _CHARACTER.fullmatch(text)
    if character is None:
        return " "
    hexadecimal, octal, escape, plain = character.groups()
    if hexadecimal or octal:
        return str(int(hexadecimal or octal, 16 if hexadecimal else 8))
    return str(_ESCAPES.get(escape, ord(escape)) if escape else ord(plain))


class _Values(dict[str, int]):
    """The byte of each item that has occurred."""

    def __missing__(self, item: str) -> int:
        """Read an item.

        Raises:
            ValueError: it is not a number from -128 to 255.
        """
        number = _NUMBER.fullmatch(item.strip()) if len(item) <= _LONGEST_ITEM else None
        if number is None:
            raise ValueError(item[:_LONGEST_ITEM])
        sign, hexadecimal, binary, digits = number.groups()
        if digits:
            value = int(digits, 8 if digits[0] == "0" else 10)
        else:
            value = int(hexadecimal or binary, 16 if hexadecimal else 2)
        value = -value if sign == "-" else value
        if not -128 <= value <= 255:
            raise ValueError(item)
        self[item] = value & 0xFF
        return self[item]


def refuse_keras(data: bytes) -> None:
    """Refuse a network that Keras saved.

    Raises:
        ModelError: it is one; the message names the release of Keras, and says what to do.
    """
    if data.startswith(b"PK"):
        writer = _keras_release(data)
    else:
        writer = "Keras in HDF5" if data.startswith(_HDF5) else ""
    if writer:
        raise ModelError(
            f"the file is a network of {writer}: convert it to a full-int8 .tflite by "
            "tf.lite.TFLiteConverter with a representative_dataset (docs/guide/tflite.md)"
        )


def _keras_release(data: bytes) -> str:
    """``Keras`` and its release, for a ``.keras`` archive; else ''."""
    try:
        with opened_archive(data) as archive:
            if archive.getinfo(_METADATA).file_size > _MOST_METADATA:
                return ""
            return f"Keras {parse_json(archive.read(_METADATA))['keras_version']}"[:40]
    except _UNREADABLE:
        return ""
