# SPDX-License-Identifier: Apache-2.0
"""Every board with every network and both engines; nothing is trained, built or emulated."""

import json
import types

import numpy as np
import pytest
from refusals import refuses
from rich.console import Console
from test_cost_baselines import COST

from m3net_tf.boards.measure import matrix
from m3net_tf.boards.measure.baselines import Place
from m3net_tf.export.reference import Reference
from m3net_tf.system.errors import FirmwareError

BOARDS = ("mps2_an386", "mps2_an385")


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """Engine and folder of each build; TensorFlow Lite Micro gives a wrong byte."""
    made = []
    scores = np.array([[3, 1]], np.int8)

    def compiled(bundle, board, folder):
        made.append(("compiled", folder, None))
        return types.SimpleNamespace(board=board, scores=scores)

    def interpreted(bundle_folder, board, folder, arena_bytes):
        made.append(("tflm", folder, arena_bytes))
        return types.SimpleNamespace(board=board, scores=scores + 1)

    def measure(bundle, image, clips):
        answer = types.SimpleNamespace(outputs=image.scores, labels=image.scores.argmax(1))
        cost = {**COST, "board": image.board}
        features = clips.features[..., 0] + np.array([[0, 1], [0, 1]], np.int8)
        return types.SimpleNamespace(from_features=answer, features=features, cost=cost)

    bundle = types.SimpleNamespace(folder=tmp_path, network=None, labels=("a", "b"))
    sounds = np.zeros((1, 4), np.int16)
    reference = Reference("silence", sounds, np.zeros((1, 2, 2, 1), np.int8), scores)
    monkeypatch.setattr(matrix, "why_no_emulation", lambda *_: "")
    monkeypatch.setattr(matrix, "make_reference", lambda *_: (bundle, reference))
    monkeypatch.setattr(matrix, "compiled_firmware", compiled)
    monkeypatch.setattr(matrix, "build_firmware", interpreted)
    monkeypatch.setattr(matrix, "tflm_arena", lambda _: types.SimpleNamespace(bytes=1_000))
    monkeypatch.setattr(matrix, "measure", measure)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "net.yaml").touch()
    return made


def test_each_engine_is_a_cell(builds, tmp_path):
    lines = []
    recipes, folder = tmp_path / "recipes", tmp_path / "matrix"
    cells = matrix.run_matrix(folder, recipes=recipes, boards=BOARDS, jobs=1, log=lines.append)
    assert [cell.place for cell in cells] == [
        Place(board, engine, "net") for board in BOARDS for engine in ("compiled", "tflm")
    ]
    assert [cell.bytes_equal for cell in cells] == [True, False, True, False]
    firmware = folder / "net" / "firmware"
    spare = 1_000 + matrix.ARENA_SLACK_BYTES
    assert builds[:2] == [
        ("compiled", firmware / "mps2_an386", None),
        ("tflm", firmware / "mps2_an386-tflm", spare),
    ]
    assert lines[0] == "mps2_an386, net, compiled: same bytes"
    assert lines[1] == "mps2_an386, net, tflm: OTHER BYTES"
    saved = json.loads((folder / "matrix.json").read_text())["cells"]
    assert [cell["engine"] for cell in saved] == ["compiled", "tflm"] * 2
    assert saved[0]["frontend_largest_lsb"] == 1 and saved[0]["frontend_equal"] == 0.5
    console = Console(record=True, width=200)
    console.print(matrix.matrix_table(cells))
    assert console.export_text().count("tflm") == 2


def test_what_is_not_possible_here_is_left_out_only_if_asked(builds, tmp_path, monkeypatch):
    monkeypatch.setattr(
        matrix, "why_no_emulation", lambda _, engine: "no sources" if engine == "tflm" else ""
    )
    recipes, lines = tmp_path / "recipes", []
    with refuses(FirmwareError, "--engine"):
        matrix.run_matrix(tmp_path / "matrix", recipes=recipes, boards=BOARDS)
    assert builds == []
    cells = matrix.run_matrix(
        tmp_path / "matrix", recipes=recipes, boards=BOARDS, if_possible=True, log=lines.append
    )
    assert [cell.engine for cell in cells] == ["compiled"] * 2
    assert lines[0] == (
        "not emulated here: mps2_an386 cannot be emulated with --engine tflm: no sources"
    )


def test_a_board_runs_the_engines_of_its_architecture(builds, tmp_path, monkeypatch):
    recipes, boards = tmp_path / "recipes", ("mps2_an386", "qemu_riscv32")
    cells = matrix.run_matrix(tmp_path / "matrix", recipes=recipes, boards=boards)
    places = [cell.place[:2] for cell in cells]
    both = [("mps2_an386", "compiled"), ("mps2_an386", "tflm")]
    assert places == [*both, ("qemu_riscv32", "compiled")]
    monkeypatch.setattr(matrix, "why_no_emulation", lambda *_: "no such engine")
    with refuses(FirmwareError, "qemu_riscv32"):
        matrix.run_matrix(tmp_path, recipes=recipes, boards=boards[1:], engines=["tflm"])
