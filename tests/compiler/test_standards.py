# SPDX-License-Identifier: Apache-2.0
"""Engine and generated C are clean C99 and C11, and the planner knows how far kernels read."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from emulated import compiler_for
from single_operators import MAKERS
from wide_operators import WIDE_MAKERS

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import WARNINGS, engine_folder, engine_sources
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.plan import SLACK_BYTES

COMPILERS = {
    "gcc": ["gcc"],
    "clang": ["clang"],
    **{core: compiler_for(core) for core in ("cortex-m3", "cortex-m4", "cortex-m55", "rv32imac")},
}


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A network of each operator, in one source; it declares an arena for each."""
    folder = tmp_path_factory.mktemp("generated")
    lines = []
    for number, make in enumerate([*MAKERS.values(), *WIDE_MAKERS.values()]):
        name = f"network_{number}"
        emit(compile_network(make(np.random.default_rng(0))), name).write(folder, name)
        lines += [f'#include "{name}.c"', f"{name}_arena memory_{number};"]
    (folder / "all.c").write_text("\n".join([*lines, ""]))
    return folder


# All other tests compile by C11.
@pytest.mark.parametrize("standard", ["c99", pytest.param("c11", marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", COMPILERS)
def test_pedantic_compilers_find_nothing(target, standard, generated):
    tool, *options = COMPILERS[target]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    command = [tool, *options, f"-std={standard}", "-Wpedantic", *WARNINGS, "-fsyntax-only"]
    command += [f"-I{engine_folder()}", f"-I{generated}", str(generated / "all.c")]
    command += map(str, engine_sources())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
@pytest.mark.parametrize("tool", ["g++", "clang++"])
def test_headers_are_clean_in_cpp(tool, standard, generated, tmp_path):
    """Arduino's sketches include them."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    headers = [*sorted(engine_folder().glob("*.h")), *sorted(generated.glob("*.h"))]
    headers = [path for path in headers if not path.name.startswith("helium")]
    source = tmp_path / "all.cpp"
    lines = [f'#include "{path.name}"' for path in headers]
    lines += ["M3NET_REQUIRE(sizeof(m3net_factor) == 8);", "network_0_arena memory;"]
    lines += ["NETWORK_0_INPUT_0_TYPE item;", "int shape[] = NETWORK_0_INPUT_0_SHAPE;"]
    lines += ['static_assert(sizeof shape / sizeof *shape == NETWORK_0_INPUT_0_DIMENSIONS, "");']
    source.write_text("\n".join([*lines, ""]))
    command = [tool, f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    command += ["-fsyntax-only", f"-I{engine_folder()}", f"-I{generated}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_compilers_without_assertions_refuse_another_engine(tmp_path):
    source = tmp_path / "old.c"
    command = ["gcc", "-std=c99", "-U__GNUC__", f"-I{engine_folder()}", "-fsyntax-only"]
    for condition, fits in (("sizeof(m3net_factor) == 8", True), ("1 == 2", False)):
        source.write_text(f'#include "engine.h"\nM3NET_REQUIRE({condition});\n' * 2)
        done = subprocess.run([*command, str(source)], capture_output=True, check=False)
        assert (done.returncode == 0) == fits


def test_the_arena_reaches_as_far_as_kernels_read():
    header = (engine_folder() / "engine.h").read_text()
    (beyond,) = re.findall(r"#define M3NET_READ_BEYOND (\d+)\n", header)
    assert int(beyond) <= SLACK_BYTES
