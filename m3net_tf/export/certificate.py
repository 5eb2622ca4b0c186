# SPDX-License-Identifier: Apache-2.0
"""``certificate.json`` and ``certificate.md``: Python compared with the compiled C, in figures.

The comparison uses the export's front-end settings and network on real clips: each feature value of
the board's C code with Python's, and each output byte with the desktop's.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.engines import Engine
from m3net_tf.export.bundle import Bundle, VectorIndex
from m3net_tf.system.artifacts import (
    Provenance,
    provenance,
    read_json,
    sha256_of,
    write_json,
    write_text,
)
from m3net_tf.system.errors import FirmwareError, M3NetError, ModelError
from m3net_tf.system.markdown import markdown_table

Int8 = npt.NDArray[np.int8]
_Item = TypeVar("_Item", np.int8, np.int16)
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
    """The emulated board: its name, emulator, firmware and cost by name."""

    name: str
    emulator: str
    firmware_sha256: str
    cost: Mapping[str, object]


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
        features: comparison of the features; None if the board computed none.
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
    stream: NotRequired[Mapping[str, Any]]
    drift: list[str]
    holds: bool


@dataclasses.dataclass(frozen=True)
class Expected:
    """Results of Python for the clips.

    Attributes:
        pcm: int16 samples, shape (clips, samples).
        features: int8 features, shape (clips, bins, frames, 1).
        scores: int8 scores by TFLite's reference kernels, shape (clips, classes).
        host_scores: scores by TFLite Micro on the host; None if it is missing.
        compiled_scores: scores by the compiled engine on the host; None if it is not available.
        fixed_features: features in integer arithmetic, for a board that uses it.
    """

    source: str
    pcm: npt.NDArray[np.int16]
    features: Int8
    scores: Int8
    host_scores: Int8 | None = None
    compiled_scores: Int8 | None = None
    fixed_features: Int8 | None = None


@dataclasses.dataclass(frozen=True)
class BoardAnswer:
    """The emulated board's results for the same clips.

    Attributes:
        outputs: int8 scores of Python's features, shape (clips, classes).
        features: int8 features of the samples, shape (clips, bins, frames); None if the network
            takes samples as they are.
        labels: classes from the samples, shape (clips,); None as ``features``.
        cost: memory and instructions, by name; ``sections``: bytes of each by name; ``live``: live
            detection of an export that streams.
        stream: for a network that streams, its hops and their cost by name.
    """

    board: str
    emulator: str
    firmware_sha256: str
    outputs: Int8
    features: Int8 | None
    labels: npt.NDArray[np.int64] | None
    cost: Mapping[str, Any]
    stream: Mapping[str, object] | None = None


def read_vectors(bundle: Bundle) -> Expected:
    """The export's test vectors."""
    folder = bundle.folder / "vectors"
    index = read_json(folder / "vectors.json", VectorIndex)

    def load(name: str, kind: type[_Item]) -> npt.NDArray[_Item]:
        try:
            data = np.frombuffer((folder / name).read_bytes(), index[name]["dtype"])
            return data.reshape(index[name]["shape"]).astype(kind, copy=False)
        except ValueError as error:
            raise ModelError(f"{folder / name} is damaged ({error}): export again") from None

    sounds = index.get("source", f"held-out clips of {bundle.manifest.dataset.name}")
    return Expected(
        source=f"the export's test vectors, {sounds}",
        pcm=load("pcm_int16.bin", np.int16),
        features=load("features_int8.bin", np.int8),
        scores=load("outputs_int8.bin", np.int8),
    )


def write_certificate(
    bundle: Bundle, expected: Expected, answer: BoardAnswer | None, missing: str = ""
) -> Certificate:
    """Compare the results as :func:`compare` does, and write both files into the bundle."""
    certificate = compare(bundle, expected, answer, missing)
    write_json(bundle.folder / "certificate.json", certificate)
    write_text(bundle.folder / "certificate.md", _markdown(certificate))
    return certificate


def compare(
    bundle: Bundle, expected: Expected, answer: BoardAnswer | None, missing: str = ""
) -> Certificate:
    """Compare the results.

    Args:
        answer: the board's results for them; None if it cannot be emulated.

    Returns:
        Contents of ``certificate.json``; ``drift`` lists the figures out of bounds.
    """
    drift: list[str] = []
    manifest, made_with = bundle.manifest, provenance()
    scores = expected.scores
    certificate: Certificate = {
        "format": FORMAT,
        "scope": "emulated board" if answer else "host only",
        "network": {"name": manifest.model.name, "sha256": manifest.model.sha256},
        "frontend": bundle.frontend.to_dict(),
        "frontend_sha256": bundle.frontend.fingerprint(),
        "clips": {
            "count": len(expected.pcm),
            "source": expected.source,
            "sha256": sha256_of(expected.pcm.astype("<i2").tobytes()),
        },
        "engine": manifest.engine,
        "arena": dataclasses.asdict(manifest.arena),
        "outputs": {
            "bytes": scores.size,
            "different_in_tflm_on_the_host": _differences(
                "TFLite Micro on the host", expected.host_scores, scores, drift
            ),
            "different_in_compiled_on_the_host": _differences(
                "the compiled engine on the host", expected.compiled_scores, scores, drift
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
    if answer is None:
        certificate["missing"] = missing
    else:
        certificate["outputs"]["different_on_the_board"] = _differences(
            answer.board, answer.outputs, scores, drift
        )
        certificate["board"] = {
            "name": answer.board,
            "emulator": answer.emulator,
            "firmware_sha256": answer.firmware_sha256,
            "cost": answer.cost,
        }
        if not answer.cost.get("live", {"equal": True})["equal"]:
            drift.append(
                "the board's live detection gives other scores or events than whole windows"
            )
        if answer.stream is not None:
            certificate["stream"] = answer.stream
            if not answer.stream["bytes_equal"]:
                drift.append("network: a hop on the board gives other bytes than the whole window")
        if answer.features is not None and answer.labels is not None:
            certificate["features"] = _features(answer.features, expected, drift)
            same = answer.labels == scores.argmax(1)
            certificate["labels_equal_share"] = float(same.mean())
    certificate["holds"] = not drift
    return certificate


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


def _features(values: Int8, expected: Expected, drift: list[str]) -> FeatureFigures:
    reference = expected.features[..., 0]
    apart = np.abs(values.astype(int) - reference)
    within = float((apart <= 1).mean())
    if within < WITHIN_1_LSB_SHARE or apart.max() > LARGEST_LSB:
        clip, row, column = np.unravel_index(int(apart.argmax()), apart.shape)
        drift.append(
            f"front end: {100 * (1 - within):.2f} % of {apart.size} features are more than 1 LSB "
            f"from Python's, the furthest {apart.max()} (clip {clip}, bin {row}, frame {column}); "
            f"{100 * (1 - WITHIN_1_LSB_SHARE):.1f} % and {LARGEST_LSB} are allowed"
        )
    figures: FeatureFigures = {
        "values": apart.size,
        "equal_share": float((apart == 0).mean()),
        "within_1_lsb_share": within,
        "largest_lsb": int(apart.max()),
        "allowed": {"within_1_lsb_share": WITHIN_1_LSB_SHARE, "largest_lsb": LARGEST_LSB},
        "arithmetic": "single precision",
    }
    if expected.fixed_features is not None:
        count = int((values != expected.fixed_features).sum())
        figures["arithmetic"] = "whole numbers"
        figures["different_from_python_in_whole_numbers"] = count
        if count:
            drift.append(
                f"front end: {count} of {apart.size} features are not those that Python computes "
                "in whole numbers"
            )
    return figures


def valid_certificate(bundle: Bundle, board: str, firmware_sha256: str) -> Certificate | None:
    """The bundle's certificate, if it holds for this network and firmware; otherwise None."""
    try:
        certificate = read_json(bundle.folder / "certificate.json")
        same = (
            certificate["format"] == FORMAT
            and certificate["holds"]
            and certificate["network"]["sha256"] == bundle.manifest.model.sha256
            and certificate["engine"] == bundle.manifest.engine
            and certificate["frontend_sha256"] == bundle.frontend.fingerprint()
            and certificate["board"]["name"] == board
            and certificate["board"]["firmware_sha256"] == firmware_sha256
        )
    except (M3NetError, KeyError, TypeError):
        return None
    return certificate if same else None


def require_parity(bundle: Bundle, certificate: Certificate) -> None:
    """Refuse an export whose certificate does not hold.

    Raises:
        FirmwareError: the certificate does not hold; the message names the drift.
    """
    if certificate["drift"]:
        raise FirmwareError(
            f"{bundle.folder / 'certificate.md'}: {'; '.join(certificate['drift'])}: do not use "
            "this export; use the pinned compiler and sources, and export again"
        )


def _markdown(certificate: Certificate) -> str:
    network, clips, outputs = certificate["network"], certificate["clips"], certificate["outputs"]
    board = certificate.get("board")
    rows: list[tuple[str, str | int | None]] = [
        ("network", f"{network['name']}, SHA-256 {network['sha256']}"),
        ("engine", certificate["engine"]),
        ("front end, SHA-256 of its settings", certificate["frontend_sha256"]),
        ("clips", f"{clips['count']}: {clips['source']}"),
        ("board", f"{board['name']}, {board['emulator']}" if board else certificate["missing"]),
    ]
    features, same_label_share = certificate["features"], certificate["labels_equal_share"]
    if features and same_label_share is not None:
        rows += [
            ("front end in C", features["arithmetic"]),
            ("features compared with Python's", features["values"]),
            ("equal", _share(features["equal_share"])),
            ("within 1 LSB", _share(features["within_1_lsb_share"])),
            ("largest difference, LSB", features["largest_lsb"]),
            ("same label from sound as on the desktop", _share(same_label_share)),
        ]
    rows += [
        ("output bytes compared with the desktop's", outputs["bytes"]),
        ("different in TFLite Micro on the host", outputs["different_in_tflm_on_the_host"]),
        (
            "different in the compiled engine on the host",
            outputs["different_in_compiled_on_the_host"],
        ),
        ("different on the board", outputs["different_on_the_board"]),
    ]
    if stream := certificate.get("stream"):
        rows += [
            ("hops on the board compared with the whole window", stream["hops"]),
            ("computed on the host by", ", ".join(stream["references"])),
            ("equal bytes in all of them", "yes" if stream["bytes_equal"] else "NO"),
            ("instructions per hop, streamed", stream["hop_instructions"]),
        ]
    arena = certificate["arena"]
    rows.append((f"tensor arena, bytes ({arena['source']})", arena["bytes"]))
    if board:
        rows += [*_live_rows(board["cost"]), *_cost_rows(board["cost"])]
    verdict = "holds" if certificate["holds"] else "DOES NOT HOLD"
    lines = [f"# Parity certificate: {verdict} ({certificate['scope']})", ""]
    if drift := certificate["drift"]:
        lines += [*(f"- DRIFT: {text}" for text in drift), ""]
    lines += markdown_table(("what", "figure"), [(name, _shown(value)) for name, value in rows])
    return "\n".join(lines)


def _live_rows(cost: Mapping[str, Any]) -> list[tuple[str, str | int]]:
    """Live detection of an export that streams."""
    if "live" not in cost:
        return []
    live = cost["live"]
    return [
        ("runs of live detection on the board compared with whole windows", live["runs"]),
        ("computed on the host by", ", ".join(live["references"])),
        ("events", live["events"]),
        ("equal scores and events", "yes" if live["equal"] else "NO"),
        (f"instructions of a run, {live['push_columns']} new columns", live["instructions"]),
        ("of a run that begins a stream", live["start_instructions"]),
    ]


def _cost_rows(cost: Mapping[str, Any]) -> list[tuple[str, int]]:
    figures = {name: value for name, value in sorted(cost.items()) if isinstance(value, int)}
    sections = {f"section {name} bytes": size for name, size in cost.get("sections", {}).items()}
    return [(name.replace("_", " "), value) for name, value in {**figures, **sections}.items()]


def _share(value: float) -> str:
    return f"{100 * value:.3f} %"


def _shown(value: str | int | None) -> str:
    if value is None:
        return "not compared"
    return f"{value:,}" if isinstance(value, int) else value
