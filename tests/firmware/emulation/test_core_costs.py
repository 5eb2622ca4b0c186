# SPDX-License-Identifier: Apache-2.0
"""Costs of a Cortex-M33 and a Cortex-M7: the examples of their sources, flash and branches."""

from __future__ import annotations

import numpy as np
import pytest

from m3net_tf.boards.emulation.core_costs import CortexM7, CortexM33
from m3net_tf.boards.emulation.cycles import Flash, Timing, Trace, cost_of
from m3net_tf.boards.emulation.instructions import Disassembly, Instruction

AT = 0x100
M33, BEST, WORST = CortexM33(), CortexM7(dual=True), CortexM7(dual=False)


def body(*lines: str) -> list[Instruction]:
    """Instructions of 16 bits where the mnemonic ends in ``.n``, else of 32."""
    rows, place = [], AT
    for line in lines:
        narrow = line.split("\t")[0].endswith(".n")
        rows.append(f"  {place:x}:\tf000{'' if narrow else ' 0000'} \t{line}")
        place += 2 if narrow else 4
    return Disassembly("\n".join(rows) + "\n").block(AT, place - AT)


# jnk0le, pipeline cycle test, doc/cortex_m33.md: its examples, and what it says of latencies.
@pytest.mark.parametrize(
    ("lines", "not_taken", "taken"),
    [
        (["subs.n\tr7, #1", "bne.n\t100"], 1, 3),
        (["subs.n\tr7, #1", "add.n\tr0, r1", "bne.n\t100"], 2, 3),
        (["subs.n\tr7, #1", "ldmia.n\tr6!, {r0, r1, r2, r3}", "bne.n\t100"], 5, 6),
        (["subs.w\tr7, r7, #1", "bne.w\t100"], 2, 3),
    ],
)
def test_branches_of_a_cortex_m33(lines, not_taken, taken):
    loop = body(*lines)
    assert M33.cycles(loop) == not_taken
    assert M33.cycles(loop) + M33.refill(loop) == taken


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ldr\tr0, [r1]", "add\tr2, r0, r3"], 3),
        (["ldr\tr0, [r1]", "add\tr2, r4, r3", "add\tr2, r0, r3"], 3),
        (["ldr\tr0, [r1]", "str\tr0, [r2]"], 2),
        (["ldr\tr0, [r1]", "smlad\tr3, r4, r5, r0"], 2),
        (["ldr\tr0, [r1], #4", "ldr\tr2, [r1]"], 2),
        (["smlad\tr0, r1, r2, r0", "smlad\tr0, r3, r4, r0"], 2),
        (["smlad\tr0, r1, r2, r0", "add\tr3, r0, r4"], 3),
        (["smlal\tr0, r1, r2, r3", "smlal\tr0, r1, r4, r5"], 2),
        (["sxtab16\tr0, r1, r2, ror #8", "smlad\tr3, r4, r5, r0"], 2),
        (["add\tr0, r1, r2, lsl #2", "ldr\tr3, [r0]"], 3),
        (["ldrd\tr0, r1, [r2]"], 2),
        (["stmia\tr0!, {r1-r8}"], 8),
        (["muls.n\tr0, r1"], 2),
        (["adds.n\tr0, r1", "it\teq", "nop"], 3),
        (["adds.n\tr0, r1", "it.n\teq"], 1),
    ],
)
def test_latencies_of_a_cortex_m33(lines, expected):
    assert M33.cycles(body(*lines)) == expected


# ARMScheduleM7.td of LLVM, and doc/cortex_m7.md for multiple loads.
@pytest.mark.parametrize(
    ("lines", "best", "worst"),
    [
        (["ldr\tr0, [r1]", "ldr\tr2, [r3]"], 1, 2),
        (["str\tr0, [r1]", "str\tr2, [r3]"], 2, 2),
        (["ldr\tr0, [r1]", "str\tr0, [r3]"], 1, 2),
        (["add\tr0, r1, r2", "add\tr3, r4, r5"], 1, 2),
        (["add\tr0, r1, r2", "add\tr3, r0, r5"], 2, 2),
        (["smlad\tr0, r1, r2, r0", "ldr\tr5, [r6]"], 1, 2),
        (["smlad\tr0, r1, r2, r0", "smlad\tr3, r4, r5, r3"], 2, 2),
        (["smlad\tr0, r1, r2, r0", "smlad\tr0, r3, r4, r0"], 2, 2),
        (["smlad\tr0, r1, r2, r0", "add\tr3, r0, r4"], 3, 3),
        (["ldr\tr0, [r1]", "add\tr2, r0, r3"], 2, 2),
        (["ldrsb\tr0, [r1]", "add\tr2, r0, r3"], 3, 3),
        (["add\tr1, r2, r3", "ldr\tr0, [r1]"], 2, 2),
        (["orr\tr1, r2, r3", "ldr\tr0, [r1]"], 3, 3),
        (["add\tr0, r1, r2", "sxtb16\tr3, r4"], 2, 2),  # only as the first of two
        (["sxtb16\tr3, r4", "add\tr0, r1, r2"], 1, 2),
        (["add\tr0, r1, r2, lsl #1", "add\tr3, r4, r5, lsl #1"], 2, 2),
        (["ldmia\tr0!, {r4-r7}", "add\tr1, r2, r3"], 3, 3),
        (["udiv\tr0, r1, r2", "add\tr3, r4, r5"], 8, 8),
    ],
)
def test_pairs_of_a_cortex_m7(lines, best, worst):
    assert BEST.cycles(body(*lines)) == best
    assert WORST.cycles(body(*lines)) == worst


def run_of(*blocks: tuple[int, int], reads=()) -> Trace:
    return Trace(np.array(blocks), np.array(reads, np.int64).reshape(-1, 2), b"")


def code(*lines: str) -> Disassembly:
    rows = [f"  {AT + 4 * i:x}:\tf000 0000 \t{line}" for i, line in enumerate(lines)]
    return Disassembly("\n".join(rows) + "\n")


def cycles_of(run: Trace, text: Disassembly, timing: Timing) -> int:
    return cost_of(run, text, {"": timing})[0]["cycles"][""]


def test_pairs_cross_the_end_of_a_block_on_a_cortex_m7():
    adds = code("add\tr0, r1, r2", "add\tr3, r4, r5")
    halves = run_of((AT, 4), (AT + 4, 4))
    assert cycles_of(halves, adds, Timing(BEST)) == 1
    assert cycles_of(halves, adds, Timing(WORST)) == 2


def test_a_branch_that_goes_elsewhere_than_the_last_time_is_mispredicted():
    loop = code("nop", "bne.n\t100", "b.n\t100")
    thrice_twice = [(AT, 8), (AT, 8), (AT, 8), (AT + 8, 4)] * 2 + [(AT, 8)]
    predicted = cycles_of(run_of(*thrice_twice), loop, Timing(WORST))
    worst = cycles_of(run_of(*thrice_twice), loop, Timing(WORST, mispredicted=8))
    # It leaves the loop, comes back to it, and leaves it.
    assert worst == predicted + 3 * 8


def test_code_and_data_share_the_lines_of_one_cache():
    nops = code("nop", "nop", "nop", "nop", "nop")  # of two lines of 16 bytes
    run = run_of((AT, 4), (AT, 4), (AT + 16, 4), (AT, 4), reads=[(1, 0), (2, 0), (4, AT)])

    def waits(flash: Flash) -> int:
        return cycles_of(run, nops, Timing(M33, flash)) - cycles_of(run, nops, Timing(M33))

    # Code, datum, code again; the last datum lies in a line of code.
    assert waits(Flash(4, code_lines=8, shared=True)) == 4 * 3
    assert waits(Flash(4, code_lines=1, shared=True)) == 4 * 6
    assert waits(Flash(4, code_lines=8, data_lines=8)) == 4 * 4
    assert waits(Flash(4, code_lines=8, data_lines=8, line_accesses=2)) == 8 * 4
