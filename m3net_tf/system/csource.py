# SPDX-License-Identifier: Apache-2.0
"""Building blocks of generated C files: notice, include guard, C linkage, arrays and literals.

Equal arguments give equal text, without dates or paths, so exports can be compared by hash.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def notice(origin: str, *, line_comments: bool = False) -> str:
    """The first two lines of a generated file: its licence and its origin, after "Generated"."""
    texts = "SPDX-License-Identifier: Apache-2.0", f"Generated {origin}"
    if line_comments:
        return f"// {texts[0]}\n// {texts[1]}.\n"
    return "".join(f"/* {text} */\n" for text in (texts[0], f"{texts[1]}."))


def blocks(*parts: str) -> str:
    """Join parts of a file with empty lines, and end with a line break."""
    return "\n\n".join(parts) + "\n"


def guarded(guard: str, *parts: str, name_guard_at_end: bool = False) -> str:
    """A header inside an include guard, its parts joined with empty lines.

    The guard's macro may be repeated in a comment after ``#endif``.
    """
    end = f"#endif  // {guard}" if name_guard_at_end else "#endif"
    return blocks(f"#ifndef {guard}\n#define {guard}", *parts, end)


def c_linkage(declarations: Sequence[str]) -> str:
    """Declarations, one per line, with C linkage in C++."""
    opening = ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    return "\n".join([*opening, *declarations, "", "#ifdef __cplusplus", "}", "#endif"])


def defines(prefix: str, values: Mapping[str, int | str]) -> str:
    """One ``#define`` per line, each name with the prefix."""
    return "\n".join(f"#define {prefix}{name} {value}" for name, value in values.items())


def array(
    declaration: str, literals: Iterable[str], *, per_line: int = 6, size: str | None = None
) -> str:
    """The definition of an array, such as ``const float taps``.

    ``size`` is its length as a C expression; default: the number of items.
    """
    items = [f"{literal}," for literal in literals]
    lines = [" ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    body = "\n    ".join(lines)
    return f"{declaration}[{size or len(items)}] = {{\n    {body}\n}};"


def struct(declaration: str, values: Mapping[str, int | str]) -> str:
    """The definition of a structure with a named initialiser for each member."""
    members = "\n".join(f"    .{name} = {value}," for name, value in values.items())
    return f"{declaration} = {{\n{members}\n}};"


def float_literal(value: float | np.float32) -> str:
    """The shortest float32 literal that parses to the same bits."""
    return f"{np.format_float_scientific(np.float32(value), unique=True, trim='0')}f"


def string_literal(text: str) -> str:
    """A string literal of UTF-8 text; bytes outside printable ASCII become octal escapes."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{escaped}"'
