# SPDX-License-Identifier: Apache-2.0
"""Every board with every network and both engines; nothing is trained, built or emulated."""

import dataclasses
import json

import pytest
from bench import ANSWER, Bench
from refusals import refuses
from rich.console import Console

from m3net_tf.boards.builds.build import ARENA_SLACK_BYTES
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.measure import matrix
from m3net_tf.boards.measure.baselines import Place
from m3net_tf.export.c_files import tflm_arena
from m3net_tf.export.reference import read_vectors
from m3net_tf.system.errors import FirmwareError

BOARDS = ("mps2_an386", "mps2_an385")


@pytest.fixture
def bench(exported, monkeypatch, tmp_path):
    """TensorFlow Lite Micro gives a wrong byte, and boards every second feature 1 more."""
    vectors = read_vectors(exported)

    def run(made, clips):
        features = vectors.features[..., 0].copy()
        features[:, ::2] += 1
        scores = vectors.scores ^ (made.engine == "tflm")
        return dataclasses.replace(
            ANSWER, outputs=scores, labels=scores.argmax(1), features=features
        )

    def build(made):
        return FirmwareImage(made.folder / "firmware.elf", made.board, {}, 1, 1)

    monkeypatch.setattr(matrix, "make_reference", lambda *_: (exported, vectors))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "net.yaml").touch()
    return Bench(build, run, monkeypatch)


def test_each_engine_is_a_cell(bench, exported, tmp_path):
    lines = []
    recipes = tmp_path / "recipes"
    folder = tmp_path / "matrix"
    cells = matrix.run_matrix(folder, recipes=recipes, boards=BOARDS, jobs=1, log=lines.append)
    assert [cell.place for cell in cells] == [
        Place(board, engine, "net") for board in BOARDS for engine in ("compiled", "tflm")
    ]
    assert [cell.bytes_equal for cell in cells] == [True, False, True, False]
    firmware = folder / "net" / "firmware"
    spare = tflm_arena(exported.network).bytes + ARENA_SLACK_BYTES
    assert [made[1:4] for made in bench.built[:2]] == [
        (firmware / "mps2_an386", exported.manifest.arena.bytes, "compiled"),
        (firmware / "mps2_an386-tflm", spare, "tflm"),
    ]
    assert lines[0] == "mps2_an386, net, compiled: same bytes"
    assert lines[1] == "mps2_an386, net, tflm: OTHER BYTES"
    saved = json.loads((folder / "matrix.json").read_text())["cells"]
    assert [cell["engine"] for cell in saved] == ["compiled", "tflm"] * 2
    assert saved[0]["frontend_largest_lsb"] == 1 and saved[0]["frontend_equal"] == 0.5
    console = Console(record=True, width=200)
    console.print(matrix.matrix_table(cells))
    assert console.export_text().count("tflm") == 2


def test_what_is_not_possible_here_is_left_out_only_if_asked(bench, tmp_path):
    bench.unreachable = "tflite-micro"
    recipes = tmp_path / "recipes"
    lines = []
    with refuses(FirmwareError, "--engine"):
        matrix.run_matrix(tmp_path / "matrix", recipes=recipes, boards=BOARDS)
    assert bench.built == []
    cells = matrix.run_matrix(
        tmp_path / "matrix", recipes=recipes, boards=BOARDS, if_possible=True, log=lines.append
    )
    assert [cell.engine for cell in cells] == ["compiled"] * 2
    assert lines[0].startswith(
        "not emulated here: mps2_an386 cannot be emulated with --engine tflm: tflite-micro is"
    )


def test_a_board_runs_the_engines_of_its_architecture(bench, tmp_path):
    recipes = tmp_path / "recipes"
    boards = ("mps2_an386", "qemu_riscv32")
    cells = matrix.run_matrix(tmp_path / "matrix", recipes=recipes, boards=boards)
    places = [cell.place[:2] for cell in cells]
    both = [("mps2_an386", "compiled"), ("mps2_an386", "tflm")]
    assert places == [*both, ("qemu_riscv32", "compiled")]
    with refuses(FirmwareError, "qemu_riscv32"):
        matrix.run_matrix(tmp_path, recipes=recipes, boards=boards[1:], engines=["tflm"])
