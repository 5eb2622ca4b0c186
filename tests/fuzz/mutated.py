# SPDX-License-Identifier: Apache-2.0
"""Mutated valid inputs for each target in Python; unlike ``fuzz.py`` it needs no libFuzzer.

``mutated.py --count 2000`` gives each target as many inputs, or each kind of record of ``records``.
An input is a defect if it raises anything but an error of the user, takes more than ten seconds, or
lets the process grow above 1 GB. Seed and number give the same input again.
"""

import argparse
import random
import resource
import sys
import time
import traceback
from collections.abc import Sequence

from python_targets import TARGETS

LONGEST_S, LARGEST_MB = 10.0, 1000
#: What parsers of numbers, texts and structures stumble over.
PIECES = (
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"0",
        b"9" * 4301,
        b"18446744073709551616",
    ),
    *(b'""', b'"\\ud800"', b'"\\u0000"', b"[]", b"{}", b"[[[[]]]]", b"[" * 2000, b'{"a":' * 2000),
    *(b"!!int ''", b"!!float '_'", b"!!bool x", b"!!timestamp x", b"9999-12-31T23:59:59-23:59"),
    *(
        b"\xff",
        b"\0",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"*a",
        b"&a ",
        b"<<: ",
        b"\x7f\xff\xff\xff",
        b"\xff" * 8,
    ),
)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """A seed with one to four changes."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        stop = min(len(data), start + chance.choice((0, 1, 2, 4, 8, 30)))
        kind = chance.randrange(5)
        if kind == 0:
            data[start:stop] = chance.choice(PIECES)
        elif kind == 1:
            data[start:stop] = chance.randbytes(stop - start)
        elif kind == 2:
            del data[start:stop]
        elif kind == 3:
            data[start:start] = data[chance.randint(0, len(data)) :][: stop - start]
        elif data:
            data[start % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


def run(name: str, count: int, seed: int) -> list[str]:
    """Give a target its inputs; returns what was found."""
    take = TARGETS[name].prepare()
    seeds = TARGETS[name].seeds()
    for data in seeds:  # what is imported late, or computed once, is not timed
        take(data)
    found = []
    slowest = 0.0
    inputs = count * len(seeds) if name == "records" else count
    start = time.monotonic()
    for number in range(inputs):
        chance = random.Random(f"{seed} {name} {number}")
        data = mutated(seeds[number % len(seeds)], chance)
        begin = time.monotonic()
        if name == "records":  # the first byte is the kind
            data = seeds[number % len(seeds)][:1] + data[1:]
        try:
            take(data)
        except Exception:
            found.append(f"{name} {number}: {traceback.format_exc()}{data[:300]!r}")
        seconds = time.monotonic() - begin
        slowest = max(slowest, seconds)
        if seconds > LONGEST_S:
            found.append(f"{name} {number} took {seconds:.1f} s")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    if peak_mb > LARGEST_MB:
        found.append(f"{name} let the process grow to {peak_mb:.0f} MB")
    print(
        f"{name}: {inputs} inputs in {time.monotonic() - start:.0f} s, slowest {slowest:.2f} s, "
        f"peak {peak_mb:.0f} MB, {len(found)} defects",
        flush=True,
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    found = []
    for name in options.target or TARGETS:
        found += run(name, options.count, options.seed)
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
