# SPDX-License-Identifier: Apache-2.0
"""Names that a compiled network may have: its files and all its names in C start with it."""

import re

from m3net_tf.system.checkout import require_sources
from m3net_tf.system.errors import ConfigError

_MOST_CHARACTERS = 48  # C tells names apart by 63 characters
_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if import inline int long module mutable namespace new
    noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    requires restrict return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename typeof typeof_unqual union
    unsigned using virtual void volatile wchar_t while xor xor_eq
    """.split()
)  # of C and C++
_STANDARD = frozenset(
    """
    abort abs atoi calloc exit free int8_t int16_t int32_t int64_t intptr_t main malloc memcmp
    memcpy memmove memset null offsetof printf ptrdiff_t puts qsort rand realloc size_t snprintf
    sprintf std strcmp strcpy strlen uint8_t uint16_t uint32_t uint64_t uintptr_t
    """.split()
)
_HEADERS = frozenset(
    """
    algorithm array arduino assert atomic chrono cmath complex cstddef cstdint cstdio cstdlib
    cstring ctype errno fenv functional inttypes iostream iso646 limits locale map math memory new
    random setjmp signal span stdalign stdarg stdatomic stdbit stdbool stdckdint stddef stdint stdio
    stdlib stdnoreturn string strings tgmath thread threads time tuple uchar unistd utility vector
    version wchar wctype
    """.split()
)  # of C and C++ libraries and Arduino: a file NAME.h would stand in for them
_DEVICES = re.compile(r"aux|con|nul|prn|(com|lpt)[0-9]")  # Windows has no files of these names


def require_name(name: str) -> None:
    """Refuse a name with which the generated C would not compile, or would take another's place.

    Raises:
        ConfigError: the message says why, and how a name can be.
    """
    reason = _fault(name)
    if reason:
        raise ConfigError(f"--name: {name!r} {reason}: take another one, such as my_network")


def _fault(name: str) -> str:
    """What is wrong with a name; '' if nothing is. Some file systems ignore case, so this does."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or "__" in name:
        return "is not a name in C of letters, digits and single underscores, with a letter first"
    if len(name) > _MOST_CHARACTERS:
        return f"has more than {_MOST_CHARACTERS} characters"
    lower = name.lower()
    if lower in _KEYWORDS:
        return "is a keyword of C or C++"
    if lower in _STANDARD:
        return "is a name of C's library"
    if lower in _HEADERS:
        return f"would make {name}.h stand in for a library's header"
    if _DEVICES.fullmatch(lower):
        return "is the name of a device on Windows"
    kernels = (require_sources("firmware") / "engine").glob("*.[ch]")
    if lower in {"m3net", "engine", *(path.stem for path in kernels)}:
        return "is the name of kernels of the engine"
    return ""
