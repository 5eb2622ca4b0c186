# SPDX-License-Identifier: Apache-2.0
"""Modelled cycles: examples of Arm's manual, taken branches and lines of flash."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.boards.emulation import cycles
from m3net_tf.boards.emulation.cycles import Flash, Timing, Trace, cost_of
from m3net_tf.boards.emulation.instructions import Disassembly
from m3net_tf.system.errors import ConfigError, FirmwareError

AT = 0x100


def code(*lines: str) -> Disassembly:
    """Instructions of four bytes each from :data:`AT` on."""
    rows = [f"  {AT + 4 * i:x}:\tf000 0000 \t{line}" for i, line in enumerate(lines)]
    return Disassembly("\n".join(rows) + "\n")


def trace(*blocks: tuple[int, int], reads=()) -> Trace:
    return Trace(np.array(blocks), np.array(reads, np.int64).reshape(-1, 2), b"")


def cycles_of(*lines: str) -> int:
    (cost,) = cost_of(trace((AT, 4 * len(lines))), code(*lines), {"none": Timing()})
    assert cost["instructions"] == len(lines)
    return cost["cycles"]["none"]


# Cortex-M4 Technical Reference Manual, 3.3.3 "Load/store timings", and table 3-1.
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ldr\tr0, [r1]", "ldr\tr1, [r2]"], 3),
        (["ldr\tr0, [r1, r2]", "str\tr0, [r3, #20]"], 3),
        (["ldr\tr0, [r1, r2]", "str\tr1, [r3, r2]"], 3),
        (["ldr\tr0, [r1, r5]", "ldr\tr1, [r2]", "ldr\tr2, [r3, #4]"], 4),
        (["ldr\tr0, [r1]", "ldr\tr2, [r0]"], 4),  # the first one gives the address
        (["ldrd\tr0, r1, [r2]", "ldr\tr3, [r4]"], 5),
        (["stmia\tr0!, {r1-r8}"], 9),
        (["ldmia.w\tr0!, {r4, r5, r6, sl}"], 5),
        (["push\t{r4, r5, lr}"], 4),
        (["vldmia\tr0!, {d8-d9}"], 5),
        (["add\tr1, r2, r3", "ldr\tr0, [r1]"], 4),
        (["str\tr0, [r1, #4]", "add\tr2, r3", "strb\tr0, [r1, r4]"], 4),
        (["smlad\tr0, r1, r2, r0", "smlal\tr3, r4, r5, r6", "mul\tr0, r1"], 3),
        (["sdiv\tr0, r1, r2"], 7),
    ],
)
def test_costs_are_those_of_the_manual(lines, expected):
    assert cycles_of(*lines) == expected


def test_the_end_of_a_page_within_loads_costs_nothing():
    loads = code("ldr\tr0, [r1]", "ldr\tr2, [r3]")
    for blocks in ([(AT, 8)], [(AT, 4), (AT + 4, 4)]):
        assert cost_of(trace(*blocks), loads, {"": Timing()})[0]["cycles"][""] == 3


def test_a_taken_branch_fills_the_pipeline_again():
    loop = code("subs\tr0, #1", "bne.n\t100", "bx\tlr", "nop")
    once = trace((AT, 8), (AT + 8, 4))
    thrice = trace((AT, 8), (AT, 8), (AT, 8), (AT + 8, 4))
    flashes = {"none": Timing()}
    assert cost_of(once, loop, flashes)[0]["cycles"]["none"] == 3
    assert cost_of(thrice, loop, flashes)[0]["cycles"]["none"] == 3 + 2 * (2 + 2)
    returns = trace((AT + 8, 4), (AT, 8))
    assert cost_of(returns, loop, flashes)[0]["cycles"]["none"] == 3 + 3


def test_lines_keep_what_was_used_last():
    body = code("nop", "nop")
    reads = [(1, address) for address in (0, 4, 16, 32, 0, 16)]
    run = trace((AT, 4), (AT + 4, 4), reads=reads)

    def waits(flash: Flash) -> int:
        return cost_of(run, body, {"": Timing(flash=flash)})[0]["cycles"][""] - 2

    assert waits(Flash(0)) == 0
    assert waits(Flash(2)) == 2 * len(reads)
    assert waits(Flash(2, data_lines=3)) == 2 * 3
    assert waits(Flash(2, data_lines=2)) == 2 * 5
    assert waits(Flash(5, code_lines=1, data_lines=3)) == 5 * (3 + 1)


def test_parts_of_a_run_add_up_to_it():
    loop = code("ldr\tr0, [r1]", "bne.n\t100", "nop", "bx\tlr")
    reads = [(1, 0), (2, 16), (3, 0), (4, 4)]
    run = trace((AT, 8), (AT, 8), (AT, 8), (AT + 8, 8), reads=reads)
    flashes = {"": Timing(flash=Flash(2, code_lines=1, data_lines=1))}
    (whole,) = cost_of(run, loop, flashes)
    parts = cost_of(run, loop, flashes, [0, 1, 3])
    assert [part["instructions"] for part in parts] == [2, 4, 2]
    assert [part["flash_reads"] for part in parts] == [1, 2, 1]
    assert sum(part["cycles"][""] for part in parts) == whole["cycles"][""]
    assert [part["cycles"][""] for part in parts] == [9, 12, 2]


def test_code_outside_of_the_elf_is_an_error():
    with refuses(FirmwareError, "0x104"):
        cost_of(trace((AT, 8)), code("nop"), {})


def test_unicorn_is_optional(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(ConfigError, match="unicorn"):
        cycles.run_cycles(tmp_path / "a.elf", "mps2_an386", np.zeros((1, 1), np.int8))
