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

        Raises:
            FirmwareError: there is no such board, or no emulated one with its core.
        """
        facts = load_board(board)
        if facts.core not in self.costs:
            raise FirmwareError(f"{board}: no network was measured on its core, {facts.core}")
        one, two, frame = self.costs[facts.core]
        section = self.sections(sample_rate_hz).get("frontend", {})
        frontend = FrontendConfig.from_dict(named_frontend(section))
        # About proportional to the columns; the larger figure, where one window has a lucky size.
        run = round(max(one + (two - one) * (clip_s - 1), two * clip_s / 2))
        return pace_of(frontend, DetectorConfig.run_columns, facts.clock_hz, run, frame)


_ONE_ROW = {"hop_ms": 30.0, "mel_bins": 20}
_SHARES = {"time_mask_share": 0.2, "frequency_mask_share": 0.15}
PROPOSALS = (
    Proposal(
        "mcu",
        {},
        {},
        {
            "cortex-m3": (4_337_560, 8_365_200, 29_274),
            "cortex-m4f": (2_756_560, 5_224_280, 27_516),
            "cortex-m7": (2_760_520, 5_230_920, 27_589),
            "cortex-m33": (2_747_550, 5_207_250, 29_274),
            "cortex-m55": (713_594, 1_342_125, 11_434),
            "rv32imac": (6_452_861, 12_462_685, 57_699),
        },
    ),
    Proposal(
        "plain_xs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (1_534_240, 2_971_640, 28_319),
            "cortex-m4f": (1_246_040, 2_359_480, 26_776),
            "cortex-m7": (1_245_480, 2_358_000, 26_887),
            "cortex-m33": (1_241_200, 2_350_250, 28_319),
            "cortex-m55": (287_000, 546_937, 10_692),
            "rv32imac": (2_682_955, 5_183_777, 61_198),
        },
    ),
    Proposal(
        "plain_xxs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (720_320, 1_393_480, 28_319),
            "cortex-m4f": (570_880, 1_098_320, 26_776),
            "cortex-m7": (570_960, 1_098_240, 26_887),
            "cortex-m33": (567_800, 1_092_450, 28_319),
            "cortex-m55": (144_281, 272_719, 10_692),
            "rv32imac": (1_184_540, 2_285_601, 61_198),
        },
    ),
)
"""From the most to the least costly."""


def propose(clip_s: float, sample_rate_hz: int, board: str) -> tuple[Proposal, Pace]:
    """The most costly proposal that a board runs in real time; the last one if it runs none.

    Args:
        clip_s: window in seconds.

    Raises:
        FirmwareError: as :meth:`Proposal.pace`.
    """
    paced = [(proposal, proposal.pace(clip_s, sample_rate_hz, board)) for proposal in PROPOSALS]
    return next(((proposal, pace) for proposal, pace in paced if pace.real_time), paced[-1])
