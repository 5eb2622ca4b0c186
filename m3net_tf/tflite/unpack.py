# SPDX-License-Identifier: Apache-2.0
"""The objects of a ``.tflite`` file of unknown origin.

FlatBuffers lets many fields refer to one table, and the schema's reader makes an object for each
reference: nested vectors turn kilobytes into gigabytes. So the references are counted in the buffer
before any object is made.
"""

import collections
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from m3net_tf.system.errors import DAMAGED, ModelError
from m3net_tf.tflite.model_file import IDENTIFIER, refuse_keras

MOST_TABLES = 1 << 16
"""Of a file: operators, tensors, buffers and their parts."""
_SHARING = 4  # how often a file may refer to its parts on average; converters do so once
_TABLE_BYTES = 8  # least size of a table with its reference
_UNIONS = ("BuiltinOptions", "BuiltinOptions2")  # that hold strings
# The schema's classes check nothing: a missing part is None, a type is any number.
_UNCHECKED: tuple[type[Exception], ...] = (*DAMAGED, AttributeError, MemoryError, TypeError)
_SUFFIXES = ("IsNone", "Length", "AsNumpy", "HasIdentifier")  # of methods that read no content


def unpack(tflite: bytes) -> Any:
    """The content of a ``.tflite`` file as a ``ModelT`` of the schema's object API.

    Raises:
        ModelError: the file is not a TFLite model, is damaged, or would unpack to too many objects.
    """
    if tflite[4:8] != IDENTIFIER:
        refuse_keras(tflite)
        raise ModelError(
            "the file is no TFLite model (its identifier is missing): export or convert it again"
        )
    with refusing_damage():
        root = schema.Model.GetRootAsModel(tflite, 0)
        _require_few_parts(root, _Count(len(tflite)))
        return schema.ModelT.InitFromObj(root)


@contextlib.contextmanager
def refusing_damage() -> Iterator[None]:
    """Turn the exceptions of damaged content into one error; flatbuffers checks nothing.

    Raises:
        ModelError: as the code inside raises it, or instead of its errors of damaged bytes.
    """
    try:
        yield
    except ModelError:
        raise
    except _UNCHECKED as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise ModelError(
            f"the .tflite file is damaged, cut off or has wrong offsets ({text}): export or "
            "convert it again"
        ) from None


class _Count:
    """The budget of tables and bytes that a file may still unpack to."""

    def __init__(self, size: int) -> None:
        self._tables = min(_SHARING * size // _TABLE_BYTES, MOST_TABLES)
        self._bytes = _SHARING * size

    def spend(self, tables: int, content: int) -> None:
        """Count tables, and bytes of strings and vectors.

        Raises:
            ModelError: there are too many.
        """
        self._tables -= tables
        self._bytes -= content
        if self._tables < 0 or self._bytes < 0:
            raise ModelError(
                "the .tflite file refers to the same parts again and again, or has more than "
                f"{MOST_TABLES} tensors, buffers and operators: convert it again"
            )


def _require_few_parts(root: Any, count: _Count) -> None:
    """Count all tables, level by level, so that long vectors are counted before they are read."""
    waiting = collections.deque([root])
    while waiting:
        table = waiting.popleft()
        kind: Any = type(table)
        plain, vectors = _fields(kind)
        for name in plain:
            content = getattr(table, name)()
            if name in _UNIONS and content is not None:
                number = getattr(table, f"{name}Type")()
                _require_small(getattr(schema, f"{name}Creator")(number, content), count)
            elif hasattr(content, "_tab"):
                count.spend(1, 0)
                waiting.append(content)
            elif isinstance(content, bytes):
                count.spend(0, len(content))
        for name in vectors:
            length = getattr(table, f"{name}Length")()
            item = getattr(table, name)
            is_of_tables = length > 0 and hasattr(item(0), "_tab")
            count.spend(length if is_of_tables else 0, length)
            waiting.extend(map(item, range(length if is_of_tables else 0)))


def _require_small(options: Any, count: _Count) -> None:
    count.spend(1, 0)
    for content in vars(options).values() if options is not None else ():
        count.spend(0, len(content) if hasattr(content, "__len__") else 0)


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Methods of a table of the schema that read a field, and methods that read a vector's item."""
    methods = [name for name in vars(kind) if name[0].isupper() and name != "Init"]
    vectors = tuple(name for name in methods if f"{name}IsNone" in methods)
    plain = tuple(
        name
        for name in methods
        if name not in vectors and not name.endswith(_SUFFIXES) and not name.startswith("GetRoot")
    )
    return plain, vectors
