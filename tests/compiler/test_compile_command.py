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
    return run_compile(model, folder / "out", *options)


def run_compile(model, out, *options):
    arguments = ["compile", str(model), "--out", str(out), *options]
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


@pytest.mark.parametrize(
    "name",
    [
        *("key words", "2nd", "_run", "a__b", "a" * 49, "int", "Class", "memcpy", "main", "string"),
        *("stdint", "aux", "com1", "engine", "Engine", "weights", "pooling", "m3net"),
    ],
)
def test_a_name_that_would_take_anothers_place(name, tmp_path):
    with refuses(ConfigError, "--name", name, "my_network"):
        compile_model(tmp_path, "--name", name)
    assert not (tmp_path / "out").exists()


def test_a_c_array_and_its_file_give_the_same_c(tmp_path):
    compile_model(tmp_path, "--name", "kws")
    code = (tmp_path / "out" / "kws.c").read_text()
    array = ",".join(map(str, (tmp_path / "some.tflite").read_bytes()))
    (tmp_path / "model.h").write_text(f"const unsigned char g_model[] = {{{array}}};")
    run_compile(tmp_path / "model.h", tmp_path / "out", "--name", "kws")
    assert (tmp_path / "out" / "kws.c").read_text() == code


@pytest.mark.parametrize(
    ("kind", "is_stateful"), [("UNIDIRECTIONAL_SEQUENCE_LSTM", True), ("CONV_2D", False)]
)
def test_a_network_with_a_state_says_where_its_reset_belongs(kind, is_stateful, tmp_path):
    model = tmp_path / "some.tflite"
    model.write_bytes(MAKERS[kind](np.random.default_rng(0)))
    printed = run_compile(model, tmp_path / "out", "--name", "kws").stdout
    header = (tmp_path / "out" / "kws.h").read_text()
    run = header.split("void kws_reset")[1].split("void kws_run")[0]
    assert ("kws_run" in printed and "kws_reset" in printed) == is_stateful
    assert ("kws_reset" in run) == is_stateful


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
