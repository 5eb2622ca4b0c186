# SPDX-License-Identifier: Apache-2.0
"""Networks that ``m3net init`` proposes, and which of them a board runs in real time.

An untrained network costs what the trained one does, but to measure it takes a compiler, an
emulator and half a minute. So each network was measured once on each core
(``pytest -m slow tests/lab/search/test_proposals.py`` measures them again on one core).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.presets import named_frontend
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.deployment.real_time import Pace, pace_of
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.system.errors import FirmwareError


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A network with its front end.

    Attributes:
        preset: of M3Net.
        frontend: section of a recipe, apart from the sample rate.
        masks: augmentation keys that suit the size of its features.
        costs: by core, instructions of a run with windows of one and of two seconds, and of the
            front end per frame. Compiled engine, 16 kHz, four classes.
    """

    preset: str
    frontend: Mapping[str, object]
    masks: Mapping[str, object]
    costs: Mapping[str, tuple[int, int, int]]

    def sections(self, sample_rate_hz: int) -> dict[str, Any]:
        """Sections ``frontend`` and ``model`` of a recipe for sounds of this rate."""
        frontend = {"preset": "mcu", **self.frontend}
        if sample_rate_hz != FrontendConfig().sample_rate_hz:
            frontend["sample_rate_hz"] = sample_rate_hz
        model = {"name": "m3net", "preset": self.preset}
        return {"frontend": frontend, "model": model} if len(frontend) > 1 else {"model": model}

    def pace(self, clip_s: float, sample_rate_hz: int, board: str) -> Pace:
        """Its pace on a board, with the default settings of live detection.

        Args:
            clip_s: window in seconds.
            sample_rate_hz: rate of the sounds.
            board: name of the board.

        Raises:
            FirmwareError: there is no such board, or no emulated one with its core.
        """
        facts = load_board(board)
        if facts.core not in self.costs:
            raise FirmwareError(f"{board}: no network was measured on its core, {facts.core}")
        one, two, frame = self.costs[facts.core]
        section = self.sections(sample_rate_hz).get("frontend", {})
        frontend = FrontendConfig.from_dict(named_frontend(section))
        run = round(one + (two - one) * (clip_s - 1))  # about proportional to the columns
        return pace_of(frontend, DetectorConfig.run_columns, facts.clock_hz, run, frame)


_ONE_ROW = {"hop_ms": 30.0, "mel_bins": 20}
_SHARES = {"time_mask_share": 0.2, "frequency_mask_share": 0.15}
PROPOSALS = (
    Proposal(
        "mcu",
        {},
        {},
        {
            "cortex-m3": (4_322_560, 8_325_880, 29_282),
            "cortex-m4f": (3_406_880, 6_547_120, 27_525),
            "cortex-m7": (3_416_440, 6_565_320, 27_596),
            "cortex-m33": (3_408_000, 6_549_400, 29_282),
            "cortex-m55": (1_029_406, 1_961_063, 11_443),
            "rv32imac": (6_467_108, 12_481_518, 57_771),
        },
    ),
    Proposal(
        "plain_xs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (1_528_680, 3_009_480, 28_336),
            "cortex-m4f": (1_234_760, 2_886_880, 26_792),
            "cortex-m7": (1_236_520, 2_899_720, 26_904),
            "cortex-m33": (1_235_350, 2_891_050, 28_336),
            "cortex-m55": (337_375, 733_688, 10_707),
            "rv32imac": (2_686_205, 5_817_672, 61_346),
        },
    ),
    Proposal(
        "plain_xxs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (718_880, 1_424_640, 28_336),
            "cortex-m4f": (582_040, 1_337_880, 26_792),
            "cortex-m7": (583_120, 1_344_920, 26_904),
            "cortex-m33": (582_400, 1_340_150, 28_335),
            "cortex-m55": (173_437, 389_937, 10_707),
            "rv32imac": (1_187_110, 2_573_037, 61_346),
        },
    ),
)
"""From the most to the least costly."""


def propose(clip_s: float, sample_rate_hz: int, board: str) -> tuple[Proposal, Pace]:
    """The most costly proposal that a board runs in real time; the last one if it runs none.

    Args:
        clip_s: window in seconds.
        sample_rate_hz: rate of the sounds.
        board: name of the board.

    Raises:
        FirmwareError: as :meth:`Proposal.pace`.
    """
    paced = [(proposal, proposal.pace(clip_s, sample_rate_hz, board)) for proposal in PROPOSALS]
    return next(((proposal, pace) for proposal, pace in paced if pace.real_time), paced[-1])
