# SPDX-License-Identifier: Apache-2.0
"""Networks that ``m3net init`` proposes, and which of them a board runs in real time.

An untrained network costs what the trained one does, but to measure it takes a compiler, an
emulator and half a minute. So each network was measured once on each core
(``pytest -m slow tests/boards/deployment/test_real_time.py`` measures them again on one core).
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
    frontend: Mapping[str, Any]
    masks: Mapping[str, Any]
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
            "cortex-m3": (4_291_760, 8_266_160, 29_282),
            "cortex-m4f": (3_263_720, 6_275_360, 27_525),
            "cortex-m7": (3_304_600, 6_352_920, 27_597),
            "cortex-m33": (3_249_750, 6_249_050, 29_282),
            "cortex-m55": (1_067_187, 2_047_437, 11_443),
            "rv32imac": (6_761_889, 13_052_421, 57_771),
        },
    ),
    Proposal(
        "plain_xs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (1_506_160, 2_955_920, 28_336),
            "cortex-m4f": (1_532_480, 2_677_320, 26_791),
            "cortex-m7": (1_545_800, 2_702_640, 26_904),
            "cortex-m33": (1_100_450, 2_169_300, 28_335),
            "cortex-m55": (345_219, 745_187, 10_707),
            "rv32imac": (2_789_574, 5_984_648, 61_346),
        },
    ),
    Proposal(
        "plain_xxs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (709_320, 1_398_400, 28_336),
            "cortex-m4f": (694_720, 1_040_440, 26_792),
            "cortex-m7": (701_720, 1_053_120, 26_904),
            "cortex-m33": (522_500, 1_036_300, 28_336),
            "cortex-m55": (180_156, 402_125, 10_707),
            "rv32imac": (1_240_427, 2_660_741, 61_346),
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
