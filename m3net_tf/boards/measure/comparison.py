# SPDX-License-Identifier: Apache-2.0
"""Python compared with the compiled C: each feature value, each output byte, each label.

The comparison uses the export's front-end settings and network on real clips: each feature value of
the board's C code with Python's, and each output byte with the desktop's.
"""

import dataclasses
from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.streaming import StreamCost
from m3net_tf.boards.measure.cost import BoardCost, Measurement
from m3net_tf.compiler.engines import COMPILED, TFLM, Engine
from m3net_tf.export.bundle import Bundle
from m3net_tf.export.reference import Reference
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.system.artifacts import Provenance, provenance, sha256_of

FORMAT = 4  # raised when a key of the JSON changes
#: Single precision against double: so many values may be a step apart, and none further.
WITHIN_1_LSB_SHARE = 0.999
LARGEST_LSB = 2


class OutputFigures(TypedDict):
    """Output bytes that differ from the desktop's.

    Attributes:
        different_in_tflm_on_the_host: different in TFLite Micro; None if it is missing.
        different_in_compiled_on_the_host: different in the compiled engine; None if this machine
            has no C compiler, or if the engine does not support the network.
        different_on_the_board: different on the emulated board; None without an emulator.
    """

    bytes: int
    different_in_tflm_on_the_host: int | None
    different_in_compiled_on_the_host: int | None
    different_on_the_board: int | None


class FeatureFigures(TypedDict):
    """The board's features compared with Python's.

    Attributes:
        equal_share: share of values that are equal.
        within_1_lsb_share: share of values that differ by at most 1 LSB.
        allowed: least ``within_1_lsb_share`` and most ``largest_lsb``.
        different_from_python_in_whole_numbers: values that differ from Python's front end in
            integer arithmetic; only for a board that uses it.
    """

    values: int
    equal_share: float
    within_1_lsb_share: float
    largest_lsb: int
    allowed: dict[str, float]
    arithmetic: str
    different_from_python_in_whole_numbers: NotRequired[int]


class BoardFigures(TypedDict):
    """The emulated board: its name, emulator, firmware and cost."""

    name: str
    emulator: str
    firmware_sha256: str
    cost: BoardCost


class Certificate(Provenance):
    """Content of ``certificate.json``.

    Attributes:
        scope: ``emulated board`` or ``host only``.
        network: its ``name``, and ``sha256`` of its ``.tflite``.
        frontend_sha256: fingerprint of the settings of the front end.
        clips: ``count`` of the compared clips, ``source``, and ``sha256`` of their samples.
        engine: one of :data:`m3net_tf.compiler.engines.ENGINES`, which runs the network on the
            board.
        arena: ``bytes`` of the tensor arena, and the ``source`` of this size.
        features: comparison of the features; None without an emulator.
        labels_equal_share: share of the clips whose label from sound is the desktop's; None
            as ``features``.
        missing: why the board cannot be emulated.
        board: the board; absent if it cannot be emulated.
        stream: the network that takes frames as they come: its hops on the board, each compared
            with the whole window; absent if the network does not stream.
        drift: figures out of bounds, in words.
    """

    format: int
    scope: str
    network: dict[str, str]
    frontend: Mapping[str, object]
    frontend_sha256: str
    clips: dict[str, str | int]
    engine: Engine
    arena: dict[str, str | int]
    outputs: OutputFigures
    features: FeatureFigures | None
    labels_equal_share: float | None
    missing: NotRequired[str]
    board: NotRequired[BoardFigures]
    stream: NotRequired[StreamCost]
    drift: list[str]
    holds: bool


def compare(
    bundle: Bundle, reference: Reference, measured: Measurement | None, missing: str = ""
) -> Certificate:
    """Compare engines and board with Python.

    Args:
        reference: clips, with the scores of the engines on this computer.
        measured: the board's results for them; None if it cannot be emulated.
        missing: why it cannot.

    Returns:
        Contents of ``certificate.json``; ``drift`` lists the figures out of bounds.
    """
    drift: list[str] = []
    manifest = bundle.manifest
    scores = reference.scores
    host = reference.by_engine
    made_with = provenance()
    found: Certificate = {
        "format": FORMAT,
        "scope": "emulated board" if measured else "host only",
        "network": {"name": manifest.model.name, "sha256": manifest.model.sha256},
        "frontend": bundle.frontend.to_dict(),
        "frontend_sha256": bundle.frontend.fingerprint(),
        "clips": {
            "count": len(reference.pcm),
            "source": reference.source,
            "sha256": sha256_of(reference.pcm.astype("<i2").tobytes()),
        },
        "engine": manifest.engine,
        "arena": dataclasses.asdict(manifest.arena),
        "outputs": {
            "bytes": scores.size,
            "different_in_tflm_on_the_host": _differences(
                "TFLite Micro on the host", host.get(TFLM), scores, drift
            ),
            "different_in_compiled_on_the_host": _differences(
                "the compiled engine on the host", host.get(COMPILED), scores, drift
            ),
            "different_on_the_board": None,
        },
        "features": None,
        "labels_equal_share": None,
        "drift": drift,
        "holds": False,
        "versions": made_with["versions"],
        "git_commit": made_with["git_commit"],
    }
    if measured is None:
        found["missing"] = missing
    else:
        _compare_board(found, bundle.frontend, reference, measured)
    found["holds"] = not drift
    return found


def _compare_board(
    found: Certificate, frontend: FrontendConfig, reference: Reference, measured: Measurement
) -> None:
    """Add the board's figures."""
    board = measured.image.board
    drift = found["drift"]
    found["outputs"]["different_on_the_board"] = _differences(
        board, measured.from_features.outputs, reference.scores, drift
    )
    found["board"] = {
        "name": board,
        "emulator": measured.emulator,
        "firmware_sha256": measured.image.sha256,
        "cost": measured.cost,
    }
    if "live" in measured.cost and not measured.cost["live"]["equal"]:
        drift.append("the board's live detection gives other scores or events than whole windows")
    if measured.stream is not None:
        found["stream"] = measured.stream
        if not measured.stream["bytes_equal"]:
            drift.append("network: a hop on the board gives other bytes than the whole window")
    features = compare_features(measured, reference)
    found["features"] = features
    if features["within_1_lsb_share"] < WITHIN_1_LSB_SHARE or features["largest_lsb"] > LARGEST_LSB:
        drift.append(_feature_drift(measured.features, reference.features[..., 0]))
    fixed = _fixed_features(frontend, measured.image, reference)
    if fixed is not None:
        different = int((measured.features != fixed).sum())
        features["arithmetic"] = "whole numbers"
        features["different_from_python_in_whole_numbers"] = different
        if different:
            drift.append(
                f"front end: {different} of {fixed.size} features are not those that Python "
                "computes in whole numbers"
            )
    same = measured.from_sound.labels == reference.scores.argmax(1)
    found["labels_equal_share"] = float(same.mean())


def compare_features(measured: Measurement, reference: Reference) -> FeatureFigures:
    """The features that a board computed from sound, compared with Python's.

    Raises:
        FirmwareError: the board reported no features.
    """
    apart = np.abs(measured.features.astype(int) - reference.features[..., 0])
    return {
        "values": apart.size,
        "equal_share": float((apart == 0).mean()),
        "within_1_lsb_share": float((apart <= 1).mean()),
        "largest_lsb": int(apart.max()),
        "allowed": {"within_1_lsb_share": WITHIN_1_LSB_SHARE, "largest_lsb": LARGEST_LSB},
        "arithmetic": "single precision",
    }


def _differences(where: str, outputs: Int8 | None, expected: Int8, drift: list[str]) -> int | None:
    """Number of output bytes that differ; None without bytes to compare."""
    if outputs is None:
        return None
    different = outputs != expected
    count = int(different.sum())
    if count:
        first = int(different.any(1).argmax())
        drift.append(
            f"network: {count} of {expected.size} output bytes of {where} are not the desktop's, "
            f"first in clip {first}"
        )
    return count


def _feature_drift(values: Int8, expected: Int8) -> str:
    apart = np.abs(values.astype(int) - expected)
    beyond = float((apart > 1).mean())
    clip, row, column = np.unravel_index(int(apart.argmax()), apart.shape)
    return (
        f"front end: {100 * beyond:.2f} % of {apart.size} features are more than 1 LSB "
        f"from Python's, the furthest {apart.max()} (clip {clip}, bin {row}, frame {column}); "
        f"{100 * (1 - WITHIN_1_LSB_SHARE):.1f} % and {LARGEST_LSB} are allowed"
    )


def _fixed_features(
    frontend: FrontendConfig, image: FirmwareImage, reference: Reference
) -> Int8 | None:
    """Python's features in whole numbers, where the firmware computes so; waveforms always are."""
    if frontend.kind == "waveform":
        return reference.features[..., 0]
    if not (load_board(image.board).fixed_frontend or image.dsp_missing):
        return None
    return np.stack([fixed_features_int8(frontend, wave) for wave in reference.pcm])
