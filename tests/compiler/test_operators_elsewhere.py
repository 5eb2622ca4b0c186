# SPDX-License-Identifier: Apache-2.0
"""Every operator under the sanitizers and on emulated cores, where other code paths run."""

import zlib

import numpy as np
import pytest
from emulated import HAS_AVX2, Case, run_cases, run_checked, why_not
from reference import random_inputs
from single_operators import MAKERS
from wide_operators import WIDE_MAKERS

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network


def make_cases(count):
    """Random models of every operator with inputs; fewer of 16 bits, which share their C."""
    cases = []
    for kind, make in (MAKERS | WIDE_MAKERS).items():
        rng = np.random.default_rng(zlib.crc32(kind.encode()) + 1)
        for number in range(count if kind in MAKERS else count // 4):
            network = compile_network(make(rng))
            name = f"{kind.lower()}_{number}"
            cases.append(Case(name, network, random_inputs(rng, network)))
    return cases


def host_outputs(cases, folder):
    hosts = build_host({case.name: case.network for case in cases}, folder)
    outputs = [hosts[case.name].run(*case.inputs)[0] for case in cases]
    return [output.reshape(-1).view(np.int8) for output in outputs]


def require_equal(cases, outputs, expected):
    different = [
        case.name
        for case, output, values in zip(cases, outputs, expected, strict=True)
        if not np.array_equal(output, values)
    ]
    assert different == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="portable"),
        pytest.param(("-DM3NET_ENGINE_RV32=1",), id="rv32"),
        pytest.param(
            ("-mavx2",),
            id="avx2",
            marks=pytest.mark.skipif(not HAS_AVX2, reason="the processor does not have AVX2"),
        ),
    ],
)
def test_operators_are_clean_under_sanitizers(options, tmp_path):
    cases = make_cases(4)
    outputs = run_checked(cases, tmp_path / "checked", *options)
    require_equal(cases, outputs, host_outputs(cases, tmp_path / "host"))


@pytest.fixture(scope="module")
def cases_and_outputs(tmp_path_factory):
    """Cases for the emulated cores, and their outputs on this machine."""
    cases = make_cases(6)
    return cases, host_outputs(cases, tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize(
    "core",
    [
        pytest.param("cortex-m3", marks=pytest.mark.slow),
        "cortex-m4",
        pytest.param("cortex-m33", marks=pytest.mark.slow),
        *(pytest.param(core, marks=pytest.mark.slow) for core in ("cortex-m55", "rv32imac")),
    ],
)
def test_operators_on_an_emulated_core(core, cases_and_outputs, tmp_path):
    if reason := why_not(core):
        pytest.skip(reason)
    cases, expected = cases_and_outputs
    outputs = [outcome.output for outcome in run_cases(cases, tmp_path, core)]
    require_equal(cases, outputs, expected)
