# SPDX-License-Identifier: Apache-2.0
"""Networks that ``m3net init`` proposes, and which of them a board runs in real time.

An untrained network costs what the trained one does, but to measure it takes a compiler, an
emulator and half a minute. So each network was measured once on each core
(``pytest -m slow tests/lab/search/test_proposals.py`` measures them again on one core).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.presets import named_frontend
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.measure.real_time import Pace, pace_of
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.system.errors import FirmwareError


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A network with its front end.

    Attributes:
        preset: preset of M3Net.
        frontend: section of a recipe, apart from the sample rate.
        masks: augmentation keys that suit the size of its features.
        costs: for each core, instructions of a run with windows of one and of two seconds, and
            of the front end per frame. Compiled engine, 16 kHz, four classes.
    """

    preset: str
    frontend: Mapping[str, object]
    masks: Mapping[str, object]
    costs: Mapping[str, tuple[int, int, int]]

    def sections(self, sample_rate_hz: int) -> dict[str, Any]:
        """Sections ``frontend`` and ``model`` of a recipe for sounds of this rate."""
        frontend = {"preset": "mcu", **self.frontend}
        usual = FrontendConfig()
        if sample_rate_hz != usual.sample_rate_hz:
            frontend["sample_rate_hz"] = sample_rate_hz
        if sample_rate_hz > usual.sample_rate_hz:  # the rate was chosen for what is above
            ratio = sample_rate_hz / usual.sample_rate_hz
            frontend["mel_max_hz"] = round(usual.mel_max_hz * ratio, 1)
        model = {"name": "m3net", "preset": self.preset}
        return {"frontend": frontend, "model": model} if len(frontend) > 1 else {"model": model}

    def pace(self, clip_s: float, sample_rate_hz: int, board: str) -> Pace:
        """Its pace on a board, with the default settings of live detection.

        Raises:
            FirmwareError: there is no such board, or no emulated one with its core.
        """
        facts = load_board(board)
        if facts.core not in self.costs:
            raise FirmwareError(f"{board}: no network was measured on its core, {facts.core}")
        one, two, frame = self.costs[facts.core]
        section = self.sections(sample_rate_hz).get("frontend", {})
        frontend = FrontendConfig.from_dict(named_frontend(section))
        # Measured at 16 kHz. A frame takes about as long as its FFT; at lower rates this is more.
        frame *= max(1, frontend.fft_samples // FrontendConfig().fft_samples)
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
            "cortex-m3": (4_325_280, 8_340_400, 29_283),
            "cortex-m4f": (2_578_000, 4_883_120, 28_535),
            "cortex-m7": (2_580_600, 4_887_000, 28_607),
            "cortex-m33": (2_576_200, 4_880_550, 29_283),
            "cortex-m55": (713_594, 1_342_125, 12_714),
            "rv32imac": (6_453_940, 12_471_668, 57_770),
        },
    ),
    Proposal(
        "plain_xs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (1_528_920, 2_961_360, 28_336),
            "cortex-m4f": (1_218_400, 2_310_640, 27_724),
            "cortex-m7": (1_217_560, 2_308_600, 27_836),
            "cortex-m33": (1_216_050, 2_306_250, 28_336),
            "cortex-m55": (287_000, 546_969, 11_901),
            "rv32imac": (2_682_417, 5_182_499, 61_345),
        },
    ),
    Proposal(
        "plain_xxs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (717_680, 1_388_360, 28_336),
            "cortex-m4f": (561_360, 1_078_200, 27_724),
            "cortex-m7": (561_200, 1_077_560, 27_836),
            "cortex-m33": (560_750, 1_077_000, 28_336),
            "cortex-m55": (144_281, 272_687, 11_901),
            "rv32imac": (1_183_823, 2_286_817, 61_345),
        },
    ),
)
"""From the most to the least costly."""


def propose(clip_s: float, sample_rate_hz: int, board: str) -> tuple[Proposal, Pace]:
    """The most costly proposal that a board runs in real time; the last one if it runs none.

    Raises:
        FirmwareError: as :meth:`Proposal.pace`.
    """
    paced = [(proposal, proposal.pace(clip_s, sample_rate_hz, board)) for proposal in PROPOSALS]
    return next(((proposal, pace) for proposal, pace in paced if pace.real_time), paced[-1])
