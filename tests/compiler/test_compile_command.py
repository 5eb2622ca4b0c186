# SPDX-License-Identifier: Apache-2.0
"""``m3net compile``: what it writes and prints, and that the folder compiles on its own."""

import dataclasses
import json
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from emulated import COMPILER, why_not
from refusals import refuses
from single_operators import MAKERS
from typer.testing import CliRunner

from m3net_tf.cli import app
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import WARNINGS, engine_folder
from m3net_tf.compiler.network import compile_network
from m3net_tf.system.errors import ConfigError, ModelError


def compile_model(folder, *options):
    model = folder / "some.tflite"
    model.write_bytes(MAKERS["CONV_2D"](np.random.default_rng(0)))
    arguments = ["compile", str(model), "--out", str(folder / "out"), *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)


def test_the_folder_compiles_on_its_own(tmp_path):
    result = compile_model(tmp_path, "--name", "kws", "--json")
    facts = json.loads(result.stdout)
    assert facts["calls"] >= 1
    assert facts["arena_bytes"] >= facts["lower_bound_bytes"]
    out = tmp_path / "out"
    sources = [out / "kws.c", *sorted((out / "engine").glob("*.c"))]
    command = ["gcc", "-std=c11", *WARNINGS, "-shared", "-fPIC", f"-I{out / 'engine'}"]
    done = subprocess.run(
        [*command, *map(str, sources), "-o", str(tmp_path / "kws.so")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_goals_of_the_compiler(tmp_path):
    assert compile_model(tmp_path, "--optimise", "ram").exit_code == 0
    assert compile_model(tmp_path, "--weights-in-ram", "100").exit_code == 0
    assert compile_model(tmp_path, "--optimise", "flash").exit_code == 0
    assert "m3net_convolve_plain(" in (tmp_path / "out" / "model.c").read_text()
    with pytest.raises(typer.BadParameter, match="speed"):
        compile_model(tmp_path, "--optimise", "speed")


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a cross compiler is there")
@pytest.mark.parametrize("kind", ["ADD", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_constants_take_the_flash_that_it_says(kind, seed, tmp_path):
    source = emit(compile_network(MAKERS[kind](np.random.default_rng(seed))), "one")
    source.write(tmp_path, "one")
    command = [COMPILER, "-mcpu=cortex-m4", "-mthumb", "-std=c11", "-Os", f"-I{engine_folder()}"]
    command.append("-fdata-sections")
    done = tmp_path / "one.o"
    subprocess.run([*command, "-c", str(tmp_path / "one.c"), "-o", str(done)], check=True)
    tool = COMPILER.replace("gcc", "size")
    sizes = subprocess.run([tool, "-A", done], capture_output=True, text=True, check=True).stdout
    lines = sizes.splitlines()
    constants = sum(
        int(line.split()[1]) for line in lines if ".rodata" in line and "one_parts" not in line
    )
    assert source.constant_bytes == pytest.approx(constants, abs=8)  # alignment


def test_what_it_prints_and_draws(tmp_path):
    result = compile_model(tmp_path)
    picture = ElementTree.fromstring((tmp_path / "out" / "arena.svg").read_text())
    assert sum(1 for _ in picture.iter("{http://www.w3.org/2000/svg}rect")) >= 3
    assert "lower bound" in result.stdout
    assert "bytes of flash" in result.stdout


def test_the_report_names_who_planned_the_memory(tmp_path, monkeypatch):
    def solve(_, start):
        return dataclasses.replace(start, planner="a solver")

    monkeypatch.setattr("m3net_tf.compiler.solver.solve", solve)
    assert json.loads(compile_model(tmp_path, "--json").stdout)["planner"] == "heuristic"
    result = compile_model(tmp_path, "--solver", "--json")
    assert json.loads(result.stdout)["planner"] == "a solver"


def test_a_name_that_is_none_in_c(tmp_path):
    with pytest.raises(ConfigError, match="no name in C"):
        compile_model(tmp_path, "--name", "key words")


def test_the_error_names_the_file(tmp_path):
    model = tmp_path / "broken.tflite"
    model.write_bytes(b"nothing")
    with refuses(ModelError, "broken.tflite", "TFLite"):
        CliRunner().invoke(
            app,
            ["compile", str(model), "--out", str(tmp_path)],
            catch_exceptions=False,
            standalone_mode=False,
        )
