# SPDX-License-Identifier: Apache-2.0
"""The kernels' arithmetic on every path of the code: this machine, and emulated cores.

Expected results are computed here with numbers of any size. Beside ordinary numbers they are halves
and their neighbours, where rounding shows, and the largest numbers. A slow test leaves out one term
after the other, each of which some comparison must notice.
"""

import dataclasses
import functools
import math
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from emulated import HERE, build_program, compiler_for, run_image, why_not

from m3net_tf.compiler.host import WARNINGS, engine_folder
from m3net_tf.compiler.operators.functions import logistic_table

Row = tuple[int, ...]

HOST = "host"
RV32 = ("rv32imac",)
CORTEX_M = ("cortex-m3", "cortex-m4", "cortex-m33", "cortex-m55")
CORES = (*CORTEX_M, *RV32)
PORTABLE = (HOST, "cortex-m3")
DSP = ("cortex-m4", "cortex-m33", "cortex-m55")
HELIUM = ("cortex-m55",)
SCALAR = (HOST, "cortex-m3", "cortex-m4", "cortex-m33", *RV32)
ALL = (HOST, *CORES)
A, D, W, S = "arithmetic.h", "dsp.h", "wide.h", "sigmoid.h"
C = "dsp_convolution.h"
H, R, E = "helium.h", "helium_rows.h", "elementwise.c"
HC, HD = "helium_convolution.c", "helium_depthwise.c"
L, DL = "depthwise.c", "depthwise_line.c"
V = "rv32_convolution.c"
N = "winograd.c"
MIN = -(1 << 31)
MAX = (1 << 31) - 1
EDGES = (
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    127,
    128,
    -128,
    -129,
    1 << 30,
    -(1 << 30),
    MAX,
    MAX - 1,
    MIN + 1,
    MIN,
)
SHIFTS = (-31, -30, -29, -24, -20, -16, -15, -11, -9, -8, -7, -4, -3, -2, -1, 0, 1, 2, 3)
FACTORS = (1 << 30, (1 << 30) + 1, 3 << 29, 1518500250, MAX)
STEPS = [round(32767 * math.exp(10 * step / 512 - 10)) for step in range(513)]
TABLE = [int(value) for value in logistic_table().values]


def wrap(value: int) -> int:
    return (value - MIN) % (1 << 32) + MIN


def clamp(value: int, least: int, most: int) -> int:
    return min(max(value, least), most)


def halves_up(value: int, bits: int) -> int:
    """A quotient by 2^bits to the nearest, halves up."""
    return (2 * value + (1 << bits)) >> (bits + 1)


def halves_away(value: int, bits: int) -> int:
    """A quotient by 2^bits to the nearest, halves away from zero."""
    size = halves_up(abs(value), bits)
    return -size if value < 0 else size


def scale(value: int, multiplier: int, shift: int) -> int:
    """TensorFlow Lite's MultiplyByQuantizedMultiplier, which rounds twice."""
    product = wrap(halves_up(wrap(value << max(shift, 0)) * multiplier, 31))
    return halves_away(product, max(-shift, 0))


def scale_long(value: int, multiplier: int, shift: int) -> int:
    """TensorFlow Lite's factor of 64-bit sums, whose multiplier has 16 bits."""
    short = min(halves_up(multiplier, 16), (1 << 15) - 1)
    return wrap(halves_up(value * short, 15 - shift))


def interpolate(place: int, bits: int, most: int) -> int:
    entry, rest = divmod(abs(place), 1 << bits)
    if entry >= len(TABLE) - 1:
        return most
    return wrap(TABLE[entry] << bits) + rest * (TABLE[entry + 1] - TABLE[entry])


def logistic(place: int) -> int:
    value = interpolate(place, 9, ((1 << 15) - 1) << 10)
    return halves_up(value, 10) if place >= 0 else ((1 << 25) - value + 511) >> 10


def tanh(place: int) -> int:
    value = interpolate(place, 8, ((1 << 16) - 1) << 8) - (1 << 23)
    return halves_up(value, 8) if place >= 0 else (-value + 127) >> 8


def saturated(value: int) -> int:
    return clamp(value, MIN, MAX)


def product(a: int, b: int) -> int:
    return wrap(halves_up(a * b, 31))


def reciprocal(x: int) -> int:
    """1 / (1 + x) of numbers in units of 2^-31, as gemmlowp's one_over_one_plus_x_for_x_in_0_1."""
    half = (x + (1 << 31)) // 2
    guess = wrap(1515870810 + product(half, -1010580540))
    for _ in range(3):
        rest = wrap((1 << 29) - product(half, guess))
        guess = wrap(guess + saturated(4 * product(guess, rest)))
    return saturated(2 * guess)


def logarithm(total: int) -> int:
    """TensorFlow Lite's logarithm of a number with 12 integer bits; the result has 5."""
    zeros = 31 - total.bit_length()
    other = 31 - product(total, 1518500250).bit_length()
    rest = saturated(min(2 * product(total << zeros, 1518500250), total << other))
    power = max(((11 - zeros) << 25) + (1 << 23), ((12 - other) << 25) - (1 << 23))
    p, q = (rest + 1805811301 + 1) // 2, 2 * (rest - 1805811301)
    square = product(q, q)
    numerator = product(q, rest) + product(product(q, square), 117049297)
    denominator = product(p, 1057819769 + q + product(127690142, square)) + product(638450708, q)
    part = product(halves_away(numerator, 6), reciprocal(denominator))
    return 2 * (product(power, 1488522236) + part)


def inverse_root(value: int) -> tuple[int, int]:
    """Multiplier and shift of TensorFlow Lite's GetInvSqrtQuantizedMultiplierExp."""
    if value <= 1:
        return MAX, 0
    shift = 11
    while value >= 1 << 29:
        value, shift = value // 4, shift + 1
    while value < 1 << 27:
        value, shift = 4 * value, shift - 1
    half = halves_away(value >> 1, 1)
    x = 1 << 28
    for _ in range(5):
        cube = saturated(product(product(x, x), x) << 6)
        x = saturated(wrap(product(3 << 27, x) - product(half, cube)) << 3)
    multiplier, shift = product(x, 1518500250), -shift
    if shift > 0:
        multiplier, shift = wrap(multiplier << shift), 0
    return multiplier, shift


def interpolated(value: int) -> int:
    place, rest = divmod(clamp(value, -(1 << 15), (1 << 15) - 1) + (1 << 15), 1 << 7)
    return STEPS[place] + halves_up((STEPS[place + 1] - STEPS[place]) * rest, 7)


def packed(items: Sequence[int]) -> int:
    return int.from_bytes(bytes(item & 255 for item in items), "little", signed=True)


def numbers(rng: random.Random, bits: int = 32) -> Iterator[int]:
    """Without end: numbers of any size."""
    while True:
        yield wrap(rng.getrandbits(32)) >> rng.randrange(33 - bits, 32)


def near_halves(rng: random.Random, multiplier: int, shift: int) -> list[int]:
    """Numbers whose scaled values lie at halves or beside them."""
    found = []
    for _ in range(3):
        middle = ((2 * rng.randrange(-200, 200) + 1) << (30 - shift)) // multiplier
        found += [middle + step for step in (-1, 0, 1, 2)]
    return [value for value in found if MIN <= value <= MAX]


def factors(rng: random.Random, shifts: Sequence[int]) -> list[Row]:
    """Multiplier, shift and number."""
    return [
        (multiplier, shift, value)
        for multiplier in FACTORS
        for shift in shifts
        for value in (*EDGES, *near_halves(rng, multiplier, shift))
    ]


def is_narrow(total: int, left: int, right: int, zero_point: int) -> bool:
    """Whether no step of the short form overflows, see m3net_tf/compiler/weights.py."""
    offset = abs((1 << max(right - 1, 0)) + zero_point * (1 << right))
    return left == 0 and 1 <= right <= 30 and abs(total) + 1 + offset < 1 << 31 > 2 * abs(total)


def channels(rng: random.Random, *, narrow: bool) -> Iterator[Row]:
    """Bias, multiplier, offset, left, right, sum with the bias, and the output."""
    for multiplier, shift, total in factors(rng, SHIFTS):
        left = max(shift, 0)
        right = max(-shift, 0)
        zero_point = rng.choice((-128, 0, 5, 127))
        if narrow and not is_narrow(total, left, right, zero_point):
            continue
        output = wrap(scale(total, multiplier, shift) + zero_point)
        offset = (1 << (right - 1)) + (zero_point << right) if narrow else zero_point
        bias = rng.choice((0, 1, -77, 12345))
        yield bias, multiplier, offset, 24 - right if narrow else left, right, total, output


def brief_channels(rng: random.Random) -> Iterator[Row]:
    """As :func:`channels`, of brief depthwise layers; each output depends on the rounding."""
    found = 0
    while found < 20:
        multiplier, total = rng.randrange(1 << 28, 1 << 30), rng.randrange(6000)
        offset = (-128 << 3) + rng.randrange(8)
        output, cut = (
            (product + offset) >> 3
            for product in (halves_up(2 * total * multiplier, 32), 2 * total * multiplier >> 32)
        )
        if output != cut and output <= 127:
            found += 1
            yield 0, multiplier, offset, 0, 3, total, output


def finishes(rng: random.Random) -> Iterator[Row]:
    for number in range(300):
        narrow = number % 3 > 0
        full = number % 5 > 0
        shift = -rng.randrange(1, 20)
        zero_point = rng.choice((-128, 0, 5, 127))
        multiplier = rng.choice(FACTORS)
        least, most = (-128, 127) if full else (-rng.randrange(100), rng.randrange(1, 100))
        reach = min(600 << -shift, 1 << 28)
        sums = [rng.randrange(-reach, reach) for _ in range(4)]
        count = rng.randrange(1, 7)
        offset = (1 << (-shift - 1)) + (zero_point << -shift) if narrow else zero_point
        items = [
            clamp(wrap(scale(total + bias, multiplier, shift) + zero_point), least, most)
            if bias < count
            else 99
            for bias, total in enumerate(sums)
        ]
        sizes = (0, -shift, count, int(narrow), int(full), least, most)
        yield *sums, multiplier, offset, *sizes, packed(items)


def combinations(
    rng: random.Random, bits: int, shifts: Sequence[int], join: Callable[[int, int], int]
) -> Iterator[Row]:
    """Rows of a layer of two inputs, which it enlarges by some bits and scales before it joins."""
    for number in range(200):
        output = (rng.choice(FACTORS), rng.choice(shifts))
        least_shift = 9 if output[1] > 0 else 1  # else all results were limited
        pairs = [(rng.choice(FACTORS), -least_shift - rng.randrange(5)) for _ in range(2)]
        if number % 4 == 0:  # the factor of the input with the larger scale is one half
            pairs[number // 4 % 2] = (1 << 30, 0) if output[1] < 0 else pairs[number // 4 % 2]
        offsets = [rng.randrange(-127, 129) for _ in range(3)]
        least, most = rng.choice(((-128, 127), (-128, 127), (-60, 50)))
        inputs = [[rng.randrange(-128, 128) for _ in range(4)] for _ in range(2)]
        items = []
        for values in zip(*inputs, strict=True):
            scaled = [
                scale((value + offset) << bits, *pair) if bits else value + offset
                for value, offset, pair in zip(values, offsets, pairs, strict=False)
            ]
            result = wrap(scale(join(*scaled), *output) + offsets[2])
            items.append(clamp(result, least, most))
        head = (*pairs[0], *pairs[1], *output, *offsets, least, most, 1 + number % 2)
        yield *head, *inputs[0], *inputs[1], packed(items)


def rounded_negatives(rng: random.Random, left_out: int) -> Iterator[Row]:
    """Rows of sums whose output depends on how a negative input, the second one, is rounded.

    Args:
        left_out: what makes another output if it is left out of the rounding: the sign, which is
            0, or half a step, which is 1.
    """
    output = (1 << 30, -11)
    found = 0
    while found < 4:
        pair = (rng.randrange(1 << 30, 1 << 31), -1 - rng.randrange(4))
        item = rng.randrange(-128, 0)
        offset = rng.randrange(-127, 1)
        product = scale((item + offset) << 20, pair[0], 0)
        half = 1 << (-pair[1] - 1)
        right, wrong = (
            (product + each) >> -pair[1] for each in (half - 1, half - 1 - (-1, half)[left_out])
        )
        other = round(-right / (1 << 19))  # nearly cancels it: the sum is not limited
        result, missed = (scale((other << 19) + each, *output) for each in (right, wrong))
        if result == missed or other > 255 or not -128 <= result <= 127:
            continue
        found += 1
        offsets = (other // 2, offset, 0)
        items = [[other - other // 2] * 4, [item] * 4]
        head = (1 << 30, 0, *pair, *output, *offsets, -128, 127, 1)
        yield *head, *items[0], *items[1], packed([result] * 4)


def slopes(rng: random.Random) -> Iterator[Row]:
    """Rows of inputs and slopes, in the form of a layer of two inputs."""
    for number in range(100):
        ratios = [(rng.choice(FACTORS), shift - rng.randrange(3)) for shift in (1, -6)]
        offsets = [rng.randrange(-127, 129) for _ in range(3)]
        inputs = [[rng.randrange(-128, 128) for _ in range(4)] for _ in range(2)]
        items = []
        for value, slope in zip(*inputs, strict=True):
            centred = value + offsets[0]
            scaled = scale(centred, *ratios[0])
            if centred < 0:
                scaled = scale(centred * (slope + offsets[1]), *ratios[1])
            items.append(clamp(wrap(scaled + offsets[2]), -128, 127))
        head = (*ratios[0], *ratios[1], 0, 0, *offsets, -128, 127, 1 + number % 2)
        yield *head, *inputs[0], *inputs[1], packed(items)


def interpolations(rng: random.Random) -> Iterator[Row]:
    """Rows of four items, two weights in 1024ths, and the item between, halves away from zero."""
    for number in range(150):
        items = [rng.randrange(-128, 128) for _ in range(4)]
        below, right = (rng.randrange(0, 1025, 1 if number % 2 else 256) for _ in range(2))
        total = (items[0] * (1024 - right) + items[1] * right) * (1024 - below)
        total += (items[2] * (1024 - right) + items[3] * right) * below
        yield *items, below, right, halves_away(total, 20)


def unit_vectors(rng: random.Random) -> Iterator[Row]:
    """Rows of four items, their offset, and the vector of length 128 in their direction."""
    for number in range(100):
        offset = rng.choice((0, -127, 128, rng.randrange(-127, 129)))
        items = [rng.randrange(-128, 128) >> number % 7 for _ in range(4)]
        if number < 4:  # along an axis
            items = [9 * (number == place) for place in range(4)]
            offset = 0
        centred = [item + offset for item in items]
        multiplier, shift = inverse_root(sum(value * value for value in centred))
        unit = [clamp(scale(value, multiplier, shift + 7), -128, 127) for value in centred]
        yield *items, offset, packed(unit)


def halfwords(word: int) -> tuple[int, int]:
    low = (word + (1 << 15)) % (1 << 16) - (1 << 15)
    return low, ((word >> 16) + (1 << 15)) % (1 << 16) - (1 << 15)


def signed(data: bytes, index: int) -> int:
    return data[index] - 256 * (data[index] > 127)


def wide_pair(low: int, high: int) -> int:
    return wrap((low & 0xFFFF) | (high & 0xFFFF) << 16)


@functools.cache
def rows() -> dict[str, list[Row]]:
    """The rows of each table; the last column is the result."""
    rng = random.Random(1)
    some = numbers(rng)
    words = [(*EDGES, *(next(some) for _ in range(200)))[i] for i in range(200)]
    pairs = [(a, b) for a in EDGES for b in EDGES] + [(next(some), next(some)) for _ in range(300)]
    products = [(a, b) for a, b in pairs if b != MIN]
    products += [(v, m) for m, s, v in factors(rng, (0,))]
    lanes = [
        (low, high)
        for low in (0, 1, -1, 7, -900, (1 << 22) - 1, -(1 << 22))
        for high in (0, 1, -1, 5, -4_000_000, (1 << 22) - 1)
    ]
    tables: dict[str, list[Row]] = {
        "sum": [(a, b, wrap(a + b)) for a, b in pairs],
        "shift_left": [(a, n, wrap(a << n)) for a in EDGES for n in range(32)],
        "clamp": [(a, -9, 8, clamp(a, -9, 8)) for a in (*EDGES, *range(-12, 12))],
        "saturate": [(a, clamp(a, -128, 127)) for a in (*EDGES, *range(-140, 140))],
        "product": [(a, b, product(a, b)) for a, b in products],
        "reciprocal": [(x, reciprocal(x)) for x in (*range(0, MAX, 4_999_999), 1, 3, MAX - 1, MAX)],
        "logarithm": [
            (x, logarithm(x))
            for x in (
                *range(1 << 19, MAX, 19_999_999),
                *(1 << bits for bits in range(19, 31)),
                *(4_083_942, 11_297_981, MAX),  # the first two show a rounding
            )
        ],
        "root": [
            (value, wrap(multiplier ^ (shift & 31)))
            for value in (
                *range(2, 400),
                *range(400, 32768, 61),
                *range(40_000, 1 << 31, 9_876_543),
            )
            for multiplier, shift in (inverse_root(value),)
        ],
        "table_place": [
            (value, multiplier, shift, halves_up(value * multiplier, shift))
            for value in (-32768, -777, -1, 0, 1, 3, 500, 32767)
            for multiplier in (1, 3, 12345, 32767)
            for shift in (0, 1, 2, 7, 15, 20)
        ],
        "interpolated": [(v, interpolated(v)) for v in (*range(-33_000, 33_000, 41), *EDGES)],
        "high_product": [(a, b, halves_up(a * b, 32)) for a, b in pairs],
        "divide": [
            (value, bits, halves_away(value, bits))
            for bits in range(32)
            for value in (*EDGES, *(wrap(n << max(bits - 1, 0)) for n in range(-7, 8)))
        ],
        "scale": [(m, s, v, scale(v, m, s)) for m, s, v in factors(rng, SHIFTS)],
        "reduce": [
            (m, s, v, scale(v, m, s))
            for m, s, v in factors(rng, SHIFTS[1:-3])
            if abs(v) < (1 << 30) - 1
        ],
        "narrow": list(channels(rng, narrow=True)),
        "wide": list(channels(rng, narrow=False)),
        "brief": list(brief_channels(random.Random(0))),
        "finish": list(finishes(rng)),
        "load_and_store": [
            (value, place, size, value)
            for size, values in ((1, (-128, -1, 0, 127)), (2, (-32768, -255, -1, 0, 258, 32767)))
            for place in range(5)
            for value in values
        ],
        "logistic": [(p, logistic(p)) for p in (*range(-140_000, 140_000, 97), *EDGES[:-1])],
        "tanh": [(p, tanh(p)) for p in (*range(-70_000, 70_000, 47), *EDGES[:-1])],
        "add": [
            *combinations(rng, 20, range(-20, -10), lambda a, b: a + b),
            *rounded_negatives(random.Random(0), 0),
            *rounded_negatives(random.Random(0), 1),
        ],
        "subtract": list(combinations(rng, 20, range(-20, -10), lambda a, b: a - b)),
        "squared_difference": list(
            combinations(rng, 7, (*range(-20, -10), 1, 2), lambda a, b: wrap((a - b) * (a - b)))
        ),
        "multiply": list(combinations(rng, 0, range(-9, 3), lambda a, b: a * b)),
        "average": [
            (
                total,
                count,
                clamp((abs(total) + count // 2) // count * (-1 if total < 0 else 1), -128, 127),
            )
            for count in (1, 2, 3, 4, 7, 49)
            for total in range(-130 * count, 130 * count, max(count // 3, 1))
        ],
        "low_lane": [(low, high, low) for low, high in lanes],
        "high_lane": [(low, high, high) for low, high in lanes],
        "load_word": [(w, place, w) for w in words for place in range(4)],
    }
    extremes = (-128, -127, -1, 0, 1, 126, 127)
    chosen = [tuple(rng.choice(extremes) for _ in range(6)) for _ in range(600)]
    chosen += [(a, b, a, b, x, x) for a in extremes for b in extremes for x in (-128, 127)]
    for name in ("lower_sum", "other_lower_sum"):
        tables[name] = [(*r, r[0] * r[4] + r[2] * r[5]) for r in chosen]
    tables["scale_negatives"] = list(slopes(rng))
    tables["between"] = list(interpolations(rng))
    tables["unit_vector"] = list(unit_vectors(rng))
    for name in ("upper_sum", "other_upper_sum"):
        tables[name] = [(*r, r[1] * r[4] + r[3] * r[5]) for r in chosen]
    tables["scale_long"] = [
        (m, s, wide >> 32, wrap(wide), scale_long(wide, m, s))
        for m in (*FACTORS, 0x7FFF0000, 0x7FFEFFFF)
        for s in range(-15, 15, 3)
        for wide in (0, 1, -1, 1 << 40, -(1 << 40), *((n << 22) + 1 for n in range(-9, 10)))
    ]
    for word, other in zip(words, reversed(words), strict=True):
        data = (word & 0xFFFFFFFF).to_bytes(4, "little")
        (low, high) = halfwords(word)
        (other_low, other_high) = halfwords(other)
        results = {
            "even_bytes": (word, wide_pair(signed(data, 0), signed(data, 2))),
            "odd_bytes": (word, wide_pair(signed(data, 1), signed(data, 3))),
            "add_products": (word, other, 77, wrap(low * other_low + high * other_high + 77)),
        }
        for name, row in results.items():
            tables.setdefault(name, []).append(row)
    return tables


def compile_rows(path: str, folder: Path) -> Path:
    """The object of all tables; their declarations are written beside it."""

    def literal(value: int) -> str:
        return "INT32_MIN" if value == MIN else str(value)

    folder.mkdir(parents=True)
    declarations = [f"const uint16_t sigmoid_table[{len(TABLE)}]"]
    declarations.append(f"const int16_t step_table[{len(STEPS)}]")
    contents = [", ".join(map(str, table)) for table in (TABLE, STEPS)]
    for name, table in rows().items():
        declarations.append(f"const int32_t {name}_rows[{len(table)}][{len(table[0])}]")
        contents.append(",\n".join("{" + ", ".join(map(literal, row)) + "}" for row in table))
    header = "".join(f"extern {declaration};\n" for declaration in declarations)
    (folder / "rows.h").write_text(f"#include <stdint.h>\n{header}")
    pairs = zip(declarations, contents, strict=True)
    definitions = "".join(f"{name} = {{\n{values}\n}};\n" for name, values in pairs)
    (folder / "rows.c").write_text(f'#include "rows.h"\n{definitions}')
    compiler = compiler_for(path) if path in CORES else ("gcc",)
    command = [*compiler, "-fdata-sections", "-c", "rows.c", "-o", "rows.o"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "rows.o"


def compare(
    path: str, folder: Path, table: Path, changed: Path | None = None
) -> dict[str, tuple[int, int]]:
    """Of each primitive on a path: how many results differ, and how many were compared."""
    engine = changed or engine_folder()
    source = HERE / "primitives.c"
    names = (E, HC, HD, L, DL, N, "movement.c", "pooling.c")
    parts = [*(engine / name for name in names), table]
    if path in CORES:
        text = run_image(build_program(source, folder, path, changed, parts), path)
    else:
        command = ["gcc", "-std=c11", "-O1", *WARNINGS, f"-I{engine}", f"-I{table.parent}"]
        command += ["-Wno-error"] if changed else []
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "program"
        command += [*map(str, (source, *parts)), "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        text = done.stdout
    lines = [words for line in text.splitlines() if len(words := line.split()) == 3]
    return {name: (int(wrong, 16), int(count, 16)) for name, wrong, count in lines}


def skip_without(path: str) -> None:
    reason = why_not(path) if path in CORES else "" if shutil.which("gcc") else "gcc not installed"
    if reason:
        pytest.skip(reason)


VECTORS = {
    "vector_divide",
    "vector_reduce",
    "vector_narrow",
    "vector_wide",
    "move_bytes",
    "pair",
    "single",
}
LANES = {"low_lane", "high_lane"}
TWO_ITEMS = {"lower_sum", "upper_sum", "other_lower_sum", "other_upper_sum"}
LINES = {"line", "longer_line", "window"}
PAIRS = {"load_word", "even_bytes", "odd_bytes", "add_products", "pixels", *LINES}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path in (HOST, "cortex-m4", *RV32) else pytest.mark.slow)
        for path in ALL
    ],
)
def test_results_are_exact(path, tmp_path):
    skip_without(path)
    found = compare(path, tmp_path / "build", compile_rows(path, tmp_path / "rows"))
    assert {name: wrong for name, (wrong, _) in found.items() if wrong} == {}
    expected = {"look_up", "pixels", *LINES, *rows()} - (set() if path in DSP else PAIRS)
    expected -= set() if path in PORTABLE else LANES
    expected -= set() if path in RV32 else TWO_ITEMS
    expected |= VECTORS if path in HELIUM else set()
    expected -= set() if path in DSP[:2] else {"brief"}
    expected |= {"tile"} if path in DSP[:2] else set()
    assert {name for name, (_, compared) in found.items() if compared > 10} == expected


@dataclasses.dataclass(frozen=True)
class Change:
    """A term that is left out or another.

    Attributes:
        file: of the engine.
        old: text there, which occurs once.
        new: its replacement.
        caught: the comparison that must fail then.
        paths: where the text is compiled.
    """

    file: str
    old: str
    new: str
    caught: str
    paths: tuple[str, ...] = ALL


_SATURATED = "(int8_t)m3net_saturate(m3net_requantize_narrow(sums.{}, channel"
_NARROW = "channel->multiplier, channel->offset) + (sum >> 31)) >>\n         channel->right"
_REDUCED = "(product + ((product >> 31) & factor.sign) + factor.half) >> factor.shift"
_SELECTED = "layer->narrow && layer->full && count >= 4) {\n    output[0]"
_SIGNS = '{0}]\\n\\t"\n      "{1}.s32 q2, q0, #31'
_LOGISTIC = "(place >= 0 ? positive + half : (1 << 25) - positive + half - 1) >> 10"
_TANH = "(place >= 0 ? positive - one + half : one - positive + half - 1) >> 8"

CHANGES = (
    Change(A, "(uint32_t)a + (uint32_t)b", "(uint32_t)a - (uint32_t)b", "sum"),
    Change(A, "(uint32_t)value << bits", "(uint32_t)value << (bits & 15)", "shift_left"),
    Change(A, "  if (value < minimum) {", "  if (value < minimum && value > 0) {", "clamp"),
    Change(A, "return value > maximum ? maximum : value;", "return value;", "clamp"),
    Change(A, "(int64_t)a * b + (1 << 30)) >> 31", "(int64_t)a * b) >> 31", "product"),
    Change(A, "(mask >> 1) + (value < 0 ? 1 : 0)", "(mask >> 1)", "divide"),
    Change(A, "> threshold ? 1 : 0)", "> threshold ? 0 : 0)", "divide"),
    Change(A, "factor.shift > 0 ? factor.shift : 0", "0", "scale"),
    Change(A, "factor.shift > 0 ? 0 : -factor.shift", "0", "scale"),
    Change(A, "shift > 0 ? (int32_t)(1u << (shift - 1)) : 0", "0", "reduce"),
    Change(A, "shift > 0 ? -1 : 0, shift", "0, shift", "reduce"),
    Change(A, "shift > 0 ? -1 : 0, shift", "-1, shift", "reduce"),
    Change(A, _REDUCED, _REDUCED.replace(" + factor.half", ""), "reduce"),
    Change(A, _REDUCED, _REDUCED.replace(" + ((product >> 31) & factor.sign)", ""), "reduce"),
    Change(A, _REDUCED, _REDUCED.replace(" >> factor.shift", ""), "reduce"),
    Change(A, "m3net_shift_left(value, 1), factor", "value, factor", "reduce"),
    Change(A, _NARROW, _NARROW.replace(" + (sum >> 31)", ""), "narrow"),
    Change(A, _NARROW, _NARROW.replace("channel->offset", "0"), "narrow"),
    Change(A, _NARROW, _NARROW.replace(">>\n         channel->right", ">> 0"), "narrow"),
    Change(A, "m3net_shift_left(sum, 1)", "sum", "narrow"),
    Change(A, "m3net_shift_left(sum, channel->left)", "sum", "wide"),
    Change(A, "m3net_divide(product, channel->right)", "product", "wide"),
    Change(A, "channel->right), channel->offset);", "channel->right), 0);", "wide"),
    Change(
        A, "channel[1].bias, channel[2].bias, ",
        "channel[2].bias, channel[1].bias, ", "finish",
    ),
    *(
        Change(A, text, text.replace("m3net_saturate", ""), "finish")
        for text in map(_SATURATED.format, "abcd")
    ),
    Change(A, _SELECTED, _SELECTED.replace("layer->narrow && ", ""), "finish"),
    Change(A, _SELECTED, _SELECTED.replace("layer->full && ", ""), "finish"),
    Change(A, _SELECTED, _SELECTED.replace(" && count >= 4", ""), "finish"),
    Change(A, "i < 4 && i < count", "i < 4", "finish"),
    Change(A, "m3net_clamp(value, layer->minimum, layer->maximum)", "value", "finish"),
    Change(D, "smmulr", "smmul", "high_product", DSP),
    Change(D, "smmlar", "smmla", "narrow", DSP),
    Change(D, " + (int64_t)offset * (1LL << 32)", "", "narrow", PORTABLE),
    Change(D, " + (1LL << 31)) >> 32", ") >> 32", "high_product", PORTABLE),
    Change(D, "M3NET_MEMCPY(&word, bytes,", "M3NET_MEMCPY(&word, bytes + 1,", "load_word", DSP),
    Change(D, '"sxtb16 %0, %1"', '"uxtb16 %0, %1"', "even_bytes", DSP),
    Change(D, "sxtb16 %0, %1, ror #8", "sxtb16 %0, %1", "odd_bytes", DSP),
    Change(D, "smlad %0, %1, %2, %3", "smladx %0, %1, %2, %3", "add_products", DSP),
    Change(D, "smlad %0, %1, %2, %3", "smuad %0, %1, %2", "add_products", DSP),
    Change(D, "ssat %0, #8", "ssat %0, #9", "saturate", CORTEX_M),
    Change(D, "if (value < INT8_MIN) {", "if (value < INT16_MIN) {", "saturate", (HOST, *RV32)),
    Change(D, "value > INT8_MAX ? INT8_MAX : value", "value", "saturate", (HOST, *RV32)),
    Change(W, "(factor.multiplier + (1 << 15)) >> 16", "factor.multiplier >> 16", "scale_long"),
    Change(W, ">> 16 : most;", ">> 16 : most + 1;", "scale_long"),
    Change(W, " + ((int64_t)1 << (shift - 1))", "", "scale_long"),
    Change(W, "15 - factor.shift", "15", "scale_long"),
    Change(W, "bytes == 1 ? *place", "bytes > 0 ? *place", "load_and_store"),
    Change(W, "if (bytes == 1)", "if (bytes == 0)", "load_and_store"),
    Change(S, "place < 0 ? 0u - (uint32_t)place : (uint32_t)place", "(uint32_t)place", "tanh"),
    Change(S, "((1u << bits) - 1u)) * step", "0u) * step", "logistic"),
    Change(S, "return most;", "return 0;", "logistic"),
    Change(S, _LOGISTIC, _LOGISTIC.replace("positive + half :", "positive :"), "logistic"),
    Change(S, _LOGISTIC, _LOGISTIC.replace(" + half - 1", " - 1"), "logistic"),
    Change(S, _LOGISTIC, _LOGISTIC.replace("half - 1", "half"), "logistic"),
    Change(S, _LOGISTIC, _LOGISTIC.replace("(1 << 25) - positive", "-positive"), "logistic"),
    Change(S, _TANH, _TANH.replace("one + half :", "one :"), "tanh"),
    Change(S, _TANH, _TANH.replace(" + half - 1", " - 1"), "tanh"),
    Change(S, _TANH, _TANH.replace("half - 1", "half"), "tanh"),
    Change(S, _TANH, _TANH.replace("positive - one", "positive"), "tanh"),
    Change(E, "+ sign * m3net_reduce(b", "+ m3net_reduce(b", "subtract", SCALAR),
    Change(
        E, "outer.half + layer->output_offset * (1 << outer.shift)",
        "outer.half", "add", DSP[:2],
    ),
    Change(
        E, "= halved_offset * (1 << M3NET_SUM_BITS)", "= halved_offset", "add", DSP[:2],
    ),
    Change(
        E, "= scaled_offset * (1 << (M3NET_SUM_BITS + 1))", "= scaled_offset", "add", DSP[:2],
    ),
    Change(
        E, "add %[x], %[x], r12, asr #31", "add %[x], %[x], r12, lsr #31", "add", DSP[:2],
    ),
    Change(
        E, "add r12, r12, %[x], asr #31", "add r12, r12, %[x], lsr #31", "add", DSP[:2],
    ),
    Change(
        E, "m3net_reduce(sum, factor) + output_offset",
        "m3net_reduce(sum, factor) + 0 * output_offset", "add", SCALAR,
    ),
    Change(
        E, "(*row.first + first_offset) * (1 <<",
        "(*row.first - first_offset) * (1 <<", "add", SCALAR,
    ),
    Change(
        E, "(*row.second + second_offset) * (1 <<",
        "(*row.second - second_offset) * (1 <<", "add", SCALAR,
    ),
    Change(
        E, "(value + offset) * (1 << bits)",
        "(value - offset) * (1 << bits)", "squared_difference", SCALAR,
    ),
    Change(E, "(a - b) * (a - b)", "(a - b) * (a + b)", "squared_difference", SCALAR),
    Change(
        E, "m3net_scale(value, layer->output) + layer->output_offset",
        "m3net_scale(value, layer->output)", "squared_difference", SCALAR,
    ),
    Change(
        E, "(int8_t)m3net_clamp(scaled, layer->minimum, layer->maximum)",
        "(int8_t)scaled", "squared_difference", SCALAR,
    ),
    Change(
        E, "m3net_reduce(product, factor) + output_offset",
        "m3net_reduce(product, factor) - output_offset", "multiply", SCALAR,
    ),
    Change(
        E, "(*row.first + first_offset) * (*row.second",
        "(*row.first - first_offset) * (*row.second", "multiply", SCALAR,
    ),
    Change("movement.c", "table - INT8_MIN", "table", "look_up", SCALAR),
    Change("movement.c", "vdupq_n_u8(128)", "vdupq_n_u8(0)", "look_up", HELIUM),
    Change("pooling.c", "? sum + count / 2", "? sum", "average"),
    Change("pooling.c", ": sum - count / 2", ": sum", "average"),
    Change("softmax.c", "(int64_t)x + INT32_MAX + 1)", "(int64_t)x + INT32_MAX)", "reciprocal"),
    Change("softmax.c", "i < 3; ++i", "i < 2; ++i", "reciprocal"),
    Change("softmax.c", "? INT32_MAX : guess * 2", "? guess : guess * 2", "reciprocal"),
    Change("softmax.c", "m3net_sum(guess, enlarge", "m3net_sum(0 * guess, enlarge", "reciprocal"),
    Change("softmax.c", "first < second ? first : second", "second", "logarithm"),
    Change("softmax.c", "power > other_power ? power : other_power", "power", "logarithm"),
    Change("softmax.c", "unit) + quarter;", "unit);", "logarithm"),
    Change("softmax.c", "unit) - quarter;", "unit);", "logarithm"),
    Change("softmax.c", "FOURTH_ROOT_OF_HALF + 1) / 2", "FOURTH_ROOT_OF_HALF) / 2", "logarithm"),
    Change("softmax.c", "square), alpha_n)", "square), 0 * alpha_n)", "logarithm"),
    Change("softmax.c", "m3net_product(alpha_d,", "m3net_product(0 * alpha_d,", "logarithm"),
    Change("softmax.c", "m3net_product(alpha_f,", "m3net_product(0 * alpha_f,", "logarithm"),
    Change("softmax.c", "reciprocal(denominator)", "INT32_MAX", "logarithm"),
    Change(D, "+ (int32_t)((uint32_t)product >> 31);", ";", "high_product", RV32),
    Change(D, "(uint32_t)value + 128u < 256u", "(uint32_t)value + 128u < 300u", "saturate", RV32),
    Change(V, "#define OFFSET 0x7FFFu", "#define OFFSET 0x7000u", "lower_sum", RV32),
    Change(V, "#define OFFSET 0x7FFFu", "#define OFFSET 0x8000u", "upper_sum", RV32),
    Change(V, "srli %[upper]", "srai %[upper]", "upper_sum", RV32),
    Change(V, "add %[products], %[products], %[upper]", "nop", "lower_sum", RV32),
    Change(V, "sums.ab.upper - offset", "sums.ab.upper", "upper_sum", RV32),
    Change(V, "(sums.ab.upper << M3NET_LANE_BITS) - offset", "offset", "lower_sum", RV32),
    Change(V, "sums.cd.upper - offset", "sums.cd.upper", "other_upper_sum", RV32),
    Change(V, "(sums.cd.upper << M3NET_LANE_BITS) - offset", "offset", "other_lower_sum", RV32),
    Change("convolution.c", "(sum - low_lane(sum)) >>", "sum >>", "high_lane", PORTABLE),
    Change("convolution.c", "sum, unused) >> unused", "sum, 0)", "low_lane", PORTABLE),
    Change(
        E, "m3net_sum(m3net_scale(value, layer->first), layer->output_offset)",
        "m3net_scale(value, layer->first)", "scale_negatives",
    ),
    Change(E, "value * (slope + layer->second_offset)", "value * slope", "scale_negatives"),
    Change(
        E, "m3net_scale(product, layer->second), layer->output_offset",
        "m3net_scale(product, layer->second), 0", "scale_negatives",
    ),
    Change("resampling.c", "upper[column.high] * column.weight", "0", "between"),
    Change("resampling.c", "first * above", "first * one", "between"),
    Change("resampling.c", "value > 0 ? half : -half", "half", "between"),
    Change("normalization.c", "sum += value * value", "sum += value", "unit_vector"),
    Change("normalization.c", "root.shift += BITS_OF_ONE", "root.shift += 6", "unit_vector"),
    Change("normalization.c", "m3net_clamp(value, INT8_MIN, INT8_MAX)", "value", "unit_vector"),
    Change("root.h", "    ++shift;", "    shift += 2;", "root"),
    Change("root.h", "i < 5; ++i", "i < 4; ++i", "root"),
    Change("root.h", "m3net_product(x, root_of_half)", "x", "root"),
    Change("root.h", "int32_t shift = 11;", "int32_t shift = 10;", "root"),
    Change("functions_16.c", "(int32_t)(1u << (layer->shift - 1)) : 0", "0 : 0", "table_place"),
    Change("functions_16.c", "half) >> layer->shift", "half) >> 1", "table_place"),
    Change("softmax_16.c", "step * rest + (1 << (STEP_BITS - 1))", "step * rest", "interpolated"),
    Change(
        "softmax_16.c", "m3net_clamp(value, INT",
        "m3net_clamp(value & 0x7fff, INT", "interpolated",
    ),
    Change(H, "%q0[2], %q0[0], %1, %3", "%q0[2], %q0[0], %3, %1", "vector_divide", HELIUM),
    Change(H, "%q0[3], %q0[1], %2, %4", "%q0[3], %q0[1], %4, %2", "vector_divide", HELIUM),
    Change(H, "vandq_s32(value, shift)", "value", "vector_divide", HELIUM),
    Change(H, "vrshlq_s32(", "vshlq_s32(", "vector_divide", HELIUM),
    Change(H, "vqaddq_s32(value, one)", "vaddq_s32(value, one)", "vector_divide", HELIUM),
    Change(
        H, "vqaddq_s32(value, one)",
        "vqaddq_s32(value, vsubq_s32(one, one))", "vector_divide", HELIUM,
    ),
    Change(H, "vaddq_s32(sums, members.val[0])", "sums", "vector_wide", HELIUM),
    Change(H, "vqrdmulhq_s32(biased", "vqdmulhq_s32(biased", "vector_narrow", HELIUM),
    Change(H, "vaddq_s32(product, vshrq_n_s32(product, 31))", "product", "vector_narrow", HELIUM),
    Change(H, "vaddq_s32(lowered, members.val[2])", "lowered", "vector_narrow", HELIUM),
    Change(
        H, "vnegq_s32(vshrq_n_s32(members.val[3], 16))",
        "vdupq_n_s32(-1)", "vector_wide", HELIUM,
    ),
    Change(H, "vqrdmulhq_s32(vshlq_s32(", "vqdmulhq_s32(vshlq_s32(", "vector_wide", HELIUM),
    Change(
        H, "vshlq_s32(biased, left)",
        "vshlq_s32(biased, vsubq_s32(left, left))", "vector_wide", HELIUM,
    ),
    Change(H, "m3net_divide_vector(product, right)", "product", "vector_wide", HELIUM),
    Change(
        H, "right), members.val[2]);\n  }",
        "right), vdupq_n_s32(0));\n  }", "vector_wide", HELIUM,
    ),
    Change(H, "vmaxq_s32(values, limits.minimum)", "values", "vector_wide", HELIUM),
    Change(
        H, "vminq_s32(vmaxq_s32(values, limits.minimum), limits.maximum)",
        "vmaxq_s32(values, limits.minimum)", "vector_wide", HELIUM,
    ),
    Change(H, "vstrb.8 q0, [%[target]], #16", "vstrb.8 q0, [%[target]]", "move_bytes", HELIUM),
    Change(
        H, "vstrb.8 %q[values], [%[target]], #16",
        "vstrb.8 %q[values], [%[target]]", "move_bytes", HELIUM,
    ),
    *(
        Change(HC, old.replace("q0", sums), new.replace("q0", sums), "pair", HELIUM)
        for old, new in (
            ("vadd.i32 q0, q0, q4", "vorr q0, q0, q0"),
            ("vqrdmulh.s32 q0,", "vqdmulh.s32 q0,"),
            ("q0, #31", "q0, #1"),
            ("vadd.i32 q0, q0, q6", "vorr q0, q0, q0"),
            ("vqshl.s32 q0,", "vshl.s32 q0,"),
            ("q0, #24", "q0, #23"),
        )
        for sums in ("q0", "q1")
    ),
    Change(H, "right == INT8_MIN", "right >= INT8_MIN", "pair", HELIUM),
    *(
        Change(HC, old, new, "single", HELIUM)
        for old, new in (
            ('  ", q4', '  ", q7'),
            ('"vqrdmulh.s32 " sums', '"vqdmulh.s32 " sums'),
            ('  ", #31', '  ", #1'),
            ('  ", q6', '  ", q7'),
            ('"vqshl.s32 " sums', '"vshl.s32 " sums'),
            ('  ", #24', '  ", #23'),
        )
    ),
    *(
        Change(E, old, new, "add", HELIUM)
        for old, new in (
            ("scaled_offset * (1 << M3NET_SUM_BITS)),", "scaled_offset),"),
            (_SIGNS.format("[multiplier", "vshr"), _SIGNS.format("[multiplier", "vrshr")),
            ('vrshl.s32 q0, %[shift]', 'vshl.s32 q0, %[shift]'),
            ("vmla.s32 q0, q1", "vmla.s32 q0, q0"),
            ("vadd.i32 q0, q0, %q[constant]", "vorr q0, q0, q0"),
            (_SIGNS.format("[last_multiplier", "vshr"), _SIGNS.format("[last_multiplier", "vrshr")),
            ("vadd.i32 q0, q0, %q[offset]", "vorr q0, q0, q0"),
            ("vqshl.s32 q0, %[left]", "vshl.s32 q0, %[left]"),
            ("wlstp.32", "wlstp.8"),
        )
    ),
    Change(C, "ssat \" doubled \", #8,", "mov \" doubled \",", "pixels", DSP[:2]),
    Change(C, "asr \" x \", \" x", "lsr \" x \", \" x", "pixels", DSP[:2]),
    Change(C, "smmlar \" x", "smmla \" x", "pixels", DSP[:2]),
    Change(C, ", asr #31", ", lsr #31", "pixels", DSP[:2]),
    Change(N, "smmlar \" x", "smmla \" x", "tile", DSP[:2]),
    Change(N, ", asr #31", ", lsr #31", "tile", DSP[:2]),
    Change(N, ", #2\\n", ", #3\\n", "tile", DSP[:2]),
    Change(N, "number \", #8, \"", "number \", #9, \"", "tile", DSP[:2]),
    Change(N, '"add r1, r1, r6, lsl #3', '"add r1, r1, r6, lsl #2', "tile", DSP[:2]),
    Change(N, "0xaaaaaaabu", "0xaaaaaaaau", "tile", DSP[:2]),
    Change(L, "smmlar r12", "smmla r12", "longer_line", DSP[:2]),
    Change(L, 'smmlar " sum', 'smmla " sum', "brief", DSP[:2]),
    Change(L, ", asr #31", ", lsr #31", "longer_line", DSP[:2]),
    Change(DL, "smmlar r12", "smmla r12", "window", DSP[:2]),
    Change(DL, ", asr #31", ", lsr #31", "window", DSP[:2]),
    Change(HD, "vadd.i32 q0, q0, q4", "vmov q0, q0", "line", HELIUM),
    Change(HD, "vqrdmulh.s32 q0, q0, q5", "vqdmulh.s32 q0, q0, q5", "line", HELIUM),
    Change(HD, "vpt.s32 lt, q0, zr", "vpt.s32 gt, q0, zr", "line", HELIUM),
    Change(HD, "vadd.i32 q0, q0, q6", "vmov q0, q0", "line", HELIUM),
    Change(HD, "vqshl.s32 q0, q0, q7", "vshl.s32 q0, q0, q7", "line", HELIUM),
    Change(HD, "vadd.i32 q0, q0, r8", "vmov q0, q0", "window", HELIUM),
    Change(HD, "vshr.s32 q2, q0, #31", "veor q2, q2, q2", "window", HELIUM),
    Change(HD, "vadd.i32 q2, q2, r10", "vmov q2, q2", "window", HELIUM),
    Change(HD, "vqrdmlah.s32", "vqdmlah.s32", "window", HELIUM),
    Change(HD, "vqrdmlash.s32", "vqdmlash.s32", "window", HELIUM),
    Change(HD, "vqshl.s32 q2, r11", "vshl.s32 q2, r11", "window", HELIUM),
    Change(HD, "vqshl.s32 q0, r11", "vshl.s32 q0, r11", "window", HELIUM),
    Change(R, "factor.shift > 0 ? 0 : factor.shift", "factor.shift", "multiply", HELIUM),
    Change(R, "vqrdmulhq_n_s32(", "vqdmulhq_n_s32(", "vector_reduce", HELIUM),
    Change(R, "layer->output.shift > 0 ? layer->output.shift : 0", "0", "multiply", HELIUM),
    Change(R, "layer->output), layer->output_offset);", "layer->output), 0);", "add", HELIUM),
    Change(R, "vmaxq_s32(outputs, layer->minimum)", "outputs", "add", HELIUM),
    Change(
        R, "vminq_s32(vmaxq_s32(outputs, layer->minimum), layer->maximum)",
        "vmaxq_s32(outputs, layer->minimum)", "add", HELIUM,
    ),
    Change(R, "(layer, vaddq_s32(a, b))", "(layer, vsubq_s32(a, b))", "add", HELIUM),
    Change(R, "(layer, vsubq_s32(a, b))", "(layer, vaddq_s32(a, b))", "subtract", HELIUM),
    Change(
        R, "difference = vsubq_s32(a, b)",
        "difference = vaddq_s32(a, b)", "squared_difference", HELIUM,
    ),
    Change(
        R, "vshlq_r_s32(vmulq_s32(difference, difference), layer->left)",
        "vmulq_s32(difference, difference)", "squared_difference", HELIUM,
    ),
    Change(
        R, "vshlq_r_s32(vmulq_s32(first, second), layer->left)",
        "vmulq_s32(first, second)", "multiply", HELIUM,
    ),
    Change(R, "vaddq_n_s32(first, constants.first_offset)", "first", "add", HELIUM),
    Change(R, "vaddq_n_s32(second, constants.second_offset)", "second", "add", HELIUM),
    Change(R, "vctp32q((uint32_t)row.count)", "vctp32q(4)", "add", HELIUM),
)  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", ALL)
def test_no_term_can_be_left_out(path, tmp_path):
    skip_without(path)
    table = compile_rows(path, tmp_path / "rows")
    missed = []
    for number, change in enumerate(change for change in CHANGES if path in change.paths):
        engine = shutil.copytree(engine_folder(), tmp_path / f"engine{number}")
        file = engine / change.file
        text = file.read_text()
        assert text.count(change.old) == 1, change
        file.write_text(text.replace(change.old, change.new))
        found = compare(path, tmp_path / f"build{number}", table, engine)
        if found.get(change.caught, (1, 0))[0] == 0:  # a crash is noticed, too
            missed.append(change)
    assert missed == []
