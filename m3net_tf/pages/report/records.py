# SPDX-License-Identifier: Apache-2.0
"""What the page reads of a run's JSON files; other keys may be there, too."""

from typing import TypedDict

from m3net_tf.training.cross_validation import FoldsAccuracy


class Folded(FoldsAccuracy):
    """A cross-validation."""

    clips: int


class _Detected(TypedDict):
    true_events: int
    miss_rate: float
    miss_rate_95: list[float]
    false_accepts_per_hour: float
    false_accepts_per_hour_95: list[float]


class Live(TypedDict):
    """``streaming.json``: live detection of the network with this hash."""

    model_sha256: str
    hours: float
    all: _Detected


class _Stages(TypedDict, total=False):
    int8_desktop: float
    emulated: float | None


class Summary(TypedDict, total=False):
    """``summary.json`` of an emulation; the figures of a board are absent if only the host ran."""

    accuracy: _Stages
    mean_average_precision: _Stages
    clips: int
    board: str
    model_bytes: int
    arena_bytes: int
    flash_bytes: int
    ram_bytes: int
    instructions: int


class _UsedMemory(TypedDict):
    arena_bytes: int
    ram_bytes: int
    flash_bytes: int


class _BoardRequired(TypedDict):
    board: str
    cost: _UsedMemory | None
    arena_estimate_bytes: int | None
    ram_bytes: int
    flash_bytes: int


class BoardNeeds(_BoardRequired, total=False):
    """A board of :class:`Footprint`; the verdicts are absent where nothing was measured."""

    cpu_share: float | None
    fits: bool | None
    real_time: bool | None
    missing: str


class Footprint(TypedDict):
    """``footprint.json``."""

    boards: list[BoardNeeds]
    model_sha256: str


class _LayerCost(TypedDict):
    operator: str
    output: list[int]
    macs: int
    cost: int


class Profile(TypedDict):
    """The cost of each operator on a board, ``device/*.json``."""

    board: str
    model_sha256: str
    unit: str
    total: int
    macs: int
    layers: list[_LayerCost]


class _Accuracies(TypedDict):
    float: float
    quantized: float


class QuantizedSplit(TypedDict):
    """Clips of a split before and after quantisation."""

    clips: int
    accuracy: _Accuracies
    drop_points: float
    same_answer: float


class RankedLayer(TypedDict):
    """What a layer in int8 costs alone."""

    layer: str
    operator: str
    divergence: float
    accuracy_points: float


class QuantizedTensor(TypedDict):
    """What a layer's output loses, with all layers before it in int8."""

    layer: str
    operator: str
    sqnr_db: float | None
    clipped_share: float


class QuantizationReport(TypedDict):
    """``quantized/report.json``."""

    method: str
    validation: QuantizedSplit
    test: QuantizedSplit
    ranking: list[RankedLayer]
    tensors: list[QuantizedTensor]
