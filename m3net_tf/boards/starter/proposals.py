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
from m3net_tf.networks.models import presets_of
from m3net_tf.system.errors import ConfigError, FirmwareError


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A network with its front end.

    Attributes:
        network: name of the network.
        preset: its preset, which also names the trained body if there is one.
        frontend: section of a recipe, apart from the sample rate.
        masks: augmentation keys that suit the size of its features.
        costs: for each core, instructions of a run with windows of one and of two seconds, and
            of the front end per frame. Compiled engine, 16 kHz, four classes.
        body: whether the trained network of the preset's name is the start. It takes sound at 16
            kHz, in windows of :data:`BODY_WINDOW_S`.
    """

    network: str
    preset: str
    frontend: Mapping[str, object]
    masks: Mapping[str, object]
    costs: Mapping[str, tuple[int, int, int]]
    body: bool = False

    def sections(self, sample_rate_hz: int) -> dict[str, Any]:
        """Sections of a recipe for sounds of this rate: front end, model, and where it starts."""
        if self.body:
            return {
                "frontend": dict(self.frontend),
                "model": {"name": self.network, "preset": self.preset},
                "fine_tuning": {"from": self.preset, "fit_head": True},
            }
        frontend = {"preset": "mcu", **self.frontend}
        usual = FrontendConfig()
        if sample_rate_hz != usual.sample_rate_hz:
            frontend["sample_rate_hz"] = sample_rate_hz
        if sample_rate_hz > usual.sample_rate_hz:  # the rate was chosen for what is above
            ratio = sample_rate_hz / usual.sample_rate_hz
            frontend["mel_max_hz"] = round(usual.mel_max_hz * ratio, 1)
        model = {"name": self.network, "preset": self.preset}
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
        columns = presets_of(self.network)[self.preset].run_columns
        return pace_of(frontend, columns, facts.clock_hz, run, frame)


_ONE_ROW = {"hop_ms": 30.0, "mel_bins": 20}
_SHARES = {"time_mask_share": 0.2, "frequency_mask_share": 0.15}
BODY_WINDOW_S = 0.975
"""What a body takes: 96 frames of 25 ms every 10 ms."""
FROM_NOTHING = (
    Proposal(
        "m3net",
        "mcu",
        {},
        {},
        {
            "cortex-m3": (4_325_280, 8_340_400, 29_283),
            "cortex-m4f": (2_391_320, 4_493_160, 28_454),
            "cortex-m7": (2_393_960, 4_496_880, 28_527),
            "cortex-m33": (2_390_400, 4_492_050, 29_282),
            "cortex-m55": (713_594, 1_342_125, 12_714),
            "rv32imac": (6_453_940, 12_471_668, 57_770),
        },
    ),
    Proposal(
        "m3net",
        "plain_xs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (1_528_920, 2_961_360, 28_336),
            "cortex-m4f": (1_205_600, 2_251_680, 27_682),
            "cortex-m7": (1_204_880, 2_249_560, 27_794),
            "cortex-m33": (1_203_450, 2_247_500, 28_336),
            "cortex-m55": (287_000, 546_969, 11_901),
            "rv32imac": (2_682_417, 5_182_499, 61_345),
        },
    ),
    Proposal(
        "m3net",
        "plain_xxs",
        _ONE_ROW,
        _SHARES,
        {
            "cortex-m3": (717_680, 1_388_360, 28_336),
            "cortex-m4f": (543_160, 1_043_840, 27_683),
            "cortex-m7": (542_880, 1_043_120, 27_794),
            "cortex-m33": (542_650, 1_042_800, 28_335),
            "cortex-m55": (144_281, 272_687, 11_901),
            "rv32imac": (1_183_823, 2_286_817, 61_345),
        },
    ),
)
"""Untrained networks, from the most to the least costly."""
BODIES = (
    Proposal(
        "mobilenet",
        "sounds_m",
        {"preset": "yamnet"},
        {},
        {
            "cortex-m3": (21_065_640, 21_065_640, 38_421),
            "cortex-m4f": (11_500_200, 11_500_200, 29_276),
            "cortex-m7": (11_520_080, 11_520_080, 29_287),
            "cortex-m33": (11_499_900, 11_499_900, 38_421),
            "cortex-m55": (3_232_000, 3_232_000, 15_497),
            "rv32imac": (33_542_018, 33_542_018, 76_066),
        },
        body=True,
    ),
    Proposal(
        "mobilenet",
        "sounds_s",
        {"preset": "yamnet", "hop_ms": 20.0},
        {},
        {
            "cortex-m3": (4_754_520, 4_754_520, 38_788),
            "cortex-m4f": (2_359_040, 2_359_040, 29_623),
            "cortex-m7": (2_329_360, 2_329_360, 29_633),
            "cortex-m33": (2_358_750, 2_358_750, 38_789),
            "cortex-m55": (891_750, 891_750, 15_864),
            "rv32imac": (6_590_140, 6_590_140, 79_983),
        },
        body=True,
    ),
)
"""Trained bodies that a board may choose, from the most to the least costly."""
LARGE = Proposal(
    "mobilenet",
    "sounds_l",
    {"preset": "yamnet"},
    {},
    {  # with the 521 classes of its card; the emulated board with a Cortex-M55 is too small for it
        "cortex-m3": (64_011_400, 64_011_400, 38_421),
        "cortex-m4f": (42_433_760, 42_433_760, 29_277),
        "cortex-m7": (42_454_000, 42_454_000, 29_287),
        "cortex-m33": (42_433_450, 42_433_450, 38_421),
        "rv32imac": (117_521_807, 117_521_807, 76_066),
    },
    body=True,
)
"""The body that only its name chooses: no board runs it in real time, and it takes 1.2 MB."""
NOTHING = "nothing"
STARTS = (NOTHING, LARGE.preset, *(proposal.preset for proposal in BODIES))
"""Where a training can start."""
ESC10_PERCENT: Mapping[str, Mapping[int, float]] = {
    NOTHING: {5: 61.1, 20: 78.2},
    "sounds_s": {5: 83.8, 20: 87.8},
    "sounds_m": {5: 89.1, 20: 93.8},
    "sounds_l": {5: 91.8, 20: 96.5},
}
"""Clips of ESC-10 that are recognised in % (docs/evidence/results/bodies.md), by start and clips of
each of the ten classes."""


def proposals_from(start: str | None) -> tuple[Proposal, ...]:
    """The proposals that start there, from the most to the least costly.

    Args:
        start: one of :data:`STARTS`; None lets the board choose among the bodies.

    Raises:
        ConfigError: there is no such start.
    """
    if start == NOTHING:
        return FROM_NOTHING
    if start not in (None, *STARTS):
        raise ConfigError(f"--from {start}: choose one of {', '.join(STARTS)}")
    if start == LARGE.preset:
        return (LARGE,)
    return tuple(body for body in BODIES if start in (None, body.preset))


def propose(
    clip_s: float, sample_rate_hz: int, board: str, start: str | None = None
) -> tuple[Proposal, Pace]:
    """The most costly proposal that a board runs in real time; the last one if it runs none.

    Args:
        start: see :func:`proposals_from`.

    Raises:
        ConfigError: as :func:`proposals_from`.
        FirmwareError: as :meth:`Proposal.pace`.
    """
    proposals = proposals_from(start)
    paced = [(proposal, proposal.pace(clip_s, sample_rate_hz, board)) for proposal in proposals]
    return next(((proposal, pace) for proposal, pace in paced if pace.real_time), paced[-1])
