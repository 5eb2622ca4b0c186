# SPDX-License-Identifier: Apache-2.0
"""What this package's layers and conversion save on a device: operators and cost.

Before: the network in stock Keras layers (:mod:`m3net_tf.lab.bench.naive`), converted to int8 by
the plain TFLite converter. After: this package's network of the same preset, converted as the
export does. The weights are untrained: operators and cost do not depend on them.
"""

from __future__ import annotations

import collections
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from rich.table import Table

from m3net_tf.audio.frontend import dequantize_features
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_firmware
from m3net_tf.boards.device.layers import operators_in_order
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import TFLM
from m3net_tf.export.operators import TFLM_OPERATORS
from m3net_tf.lab.bench.training import Case, build_pair
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.quantization.diffres import quantize_network
from m3net_tf.quantization.ptq import converter_of
from m3net_tf.runtime.interpreter import Int8, host_arena_bytes, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError, M3NetError, ModelError, one_line
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.native import native_stderr
from m3net_tf.system.progress import Log, silent

CASES = tuple(Case(name, "s", 1) for name in ("m3net", "spectromasknet", "bilateral", "diffres"))
LABELS = tuple(case.label for case in CASES)
_CALIBRATION_CLIPS = 4
_COSTS = {
    "operators": "operators",
    "macs": "MACs",
    "model_bytes": "network, bytes",
    "arena_bytes": "arena, bytes",
    "instructions": "instructions per run",
}
"""Figure -> its name in the table."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """A network after conversion.

    Attributes:
        network: the ``.tflite``, or DiffRes's two with the warp between them; None if the
            converter failed.
        problem: why the network is not int8 throughout; '' if it is.
    """

    network: Int8Network | None
    problem: str = ""


class FormCost(TypedDict):
    """Cost of a network from one form; all figures are None if the converter failed.

    Attributes:
        operators: number of operators.
        macs: multiplications of one run.
        model_bytes: all ``.tflite`` files of the network.
        arena_bytes: tensor arena; None if no device can run the network.
        instructions: of one run on the board; None as ``arena_bytes``, or without a board.
        problem: the reason; '' if there is none.
    """

    operators: int | None
    macs: int | None
    model_bytes: int | None
    arena_bytes: int | None
    instructions: int | None
    problem: str


class Forms(TypedDict):
    """A network from both forms; ``operators`` has the numbers before and after by kind."""

    operators: dict[str, list[int]]
    before: FormCost
    after: FormCost


class ConversionResult(Provenance):
    """Networks from both forms by label; ``board`` is the emulated one."""

    board: str | None
    networks: dict[str, Forms]


def run_bench_conversion(
    labels: Sequence[str] = (),
    board: str | None = None,
    log: Log = silent,
) -> ConversionResult:
    """Convert networks from both forms and count operators and costs.

    Args:
        labels: some of :data:`LABELS`; all by default.
        board: emulated board that counts instructions; None counts none.
        log: receives lines of progress.

    Raises:
        ConfigError: an unknown label, or the board cannot be emulated.
        FirmwareError: there is no such emulated board.
    """
    for label in labels:
        if label not in LABELS:
            raise ConfigError(
                f"there is no case {label!r} to convert: choose from {', '.join(LABELS)}"
            )
    if board and (reason := why_no_emulation(board, TFLM)):
        raise ConfigError(f"{board} cannot be emulated ({reason}): leave --board out")
    networks: dict[str, Forms] = {}
    for case in CASES:
        if not labels or case.label in labels:
            log(f"converting {case.label} from both forms")
            networks[case.label] = compare_forms(case, board, log)
    return {"board": board, "networks": networks, **provenance()}


def compare_forms(case: Case, board: str | None, log: Log = silent) -> Forms:
    """Operators and cost of one network from both forms."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    ours, plain = build_pair(case)
    calibration = np.random.default_rng(0).integers(
        -128, 128, (_CALIBRATION_CLIPS, *ours.input_shape[1:]), np.int8
    )
    before = convert_plainly(plain, calibration)
    after = Converted(quantize_network(ours, calibration))
    kinds = [collections.Counter(_kinds(form.network)) for form in (before, after)]
    classes = ours.output_shape[1]
    return {
        "operators": {
            kind: [counts[kind] for counts in kinds] for kind in sorted(kinds[0] | kinds[1])
        },
        "before": _cost(before, calibration[:1], classes, board, log),
        "after": _cost(after, calibration[:1], classes, board, log),
    }


def convert_plainly(model: keras.Model, calibration: Int8) -> Converted:
    """Convert a network to int8 by TFLite's converter with the settings in its manual.

    Operators without an int8 form stay float, which is the manual's next step.

    Args:
        model: network from (batch, bins, frames, channels) to (batch, classes).
        calibration: int8 features, shape (clips, bins, frames, channels).
    """
    problem = ""
    for whole in (True, False):
        try:
            return Converted(Int8Network(_convert(model, calibration, whole=whole)), problem)
        except ModelError as error:
            problem = str(error)
    return Converted(None, problem)


def _convert(model: keras.Model, calibration: Int8, *, whole: bool) -> bytes:
    # Like TFLiteConverter.from_keras_model, without a fixed batch size.
    converter = converter_of(model, (None, *model.input_shape[1:]))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [dequantize_features(clip)[None]] for clip in calibration
    )
    if whole:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with native_stderr():
            return bytes(converter.convert())
    except Exception as error:  # the converter raises bare Exceptions of several kinds
        text = one_line(error) or type(error).__name__
        raise ModelError(f"{model.name} has no int8 form by the plain converter ({text})") from None


def _kinds(network: Int8Network | None) -> list[str]:
    """Operators in order, including the warp between two networks."""
    if network is None:
        return []
    kinds = [[step.name for step in operators_in_order(part)] for part in network.parts]
    return [*kinds[0], *(kind for part in kinds[1:] for kind in ("WARP", *part))]


def _cost(converted: Converted, clip: Int8, classes: int, board: str | None, log: Log) -> FormCost:
    network, problem = converted.network, converted.problem
    cost: FormCost = {
        "operators": None,
        "macs": None,
        "model_bytes": None,
        "arena_bytes": None,
        "instructions": None,
        "problem": problem,
    }
    if network is None:
        return cost
    operators = [step for part in network.parts for step in operators_in_order(part)]
    cost["operators"] = len(_kinds(network))
    cost["macs"] = sum(step.macs for step in operators)
    cost["model_bytes"] = network.size_bytes
    if lacking := sorted({step.name for step in operators} - TFLM_OPERATORS):
        problem = f"TFLite Micro lacks {', '.join(lacking)}"
    if not problem and not (problem := tflm_unavailable_reason()):
        try:
            cost["arena_bytes"] = sum(map(host_arena_bytes, network.parts))
            if board:
                log(f"{len(operators)} operators on {board}")
                cost["instructions"] = _instructions(network, clip, classes, board)
        except M3NetError as error:
            problem = str(error)
    return {**cost, "problem": problem}


def _instructions(network: Int8Network, clip: Int8, classes: int, board: str) -> int:
    """Instructions of a run on an emulated board."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        _, columns = write_untrained(network, clip, classes, folder)
        image = build_firmware(folder, board, Path(scratch) / "build")
        return run_job(image.elf, find_machine(board), columns).model_instructions


def conversion_table(label: str, network: Forms) -> Table:
    """One network's figures for the terminal."""
    table = Table(title=f"{label}: stock layers and the plain converter, and ours")
    table.add_column("operator")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    for kind, counts in network["operators"].items():
        table.add_row(kind, *(str(count or "") for count in counts))
    table.add_section()
    sides: Mapping[str, Mapping[str, Any]] = {
        "before": network["before"],
        "after": network["after"],
    }
    for key, name in _COSTS.items():
        figures = [cost[key] for cost in sides.values()]
        table.add_row(name, *("" if figure is None else f"{figure:,}" for figure in figures))
    problems = [f"{side}: {text}" for side, cost in sides.items() if (text := cost["problem"])]
    table.caption = "; ".join(problems) or None
    return table
