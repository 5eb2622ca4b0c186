# SPDX-License-Identifier: Apache-2.0
"""ESC-10: the ten classes of ESC-50 that are easy to distinguish.

Classes: dog, rooster, rain, sea_waves, crackling_fire, crying_baby, sneezing, clock_tick,
    helicopter, chainsaw.
Clips: 400 of 5 s (40 per class), in ESC-50's five folds of 80.
Rate: 44.1 kHz, 16 bit, mono; delivered at 16 kHz (soxr).
Licence: CC BY 3.0 by its publisher, whose list of licences has 165 clips under CC BY, 233 under CC0
    and 2 under CC Sampling+; the subset ``esc10_cc_by`` leaves out the last two.
Citation: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
Size: about 600 MB compressed, as part of ESC-50.
Protocols: as :mod:`m3net_tf.audio.datasets.esc50`, ``official-5fold`` first.
Download: as ESC-50, one folder ``esc50`` for both.

Layout: as ESC-50; clips of other classes may be missing.
"""

import dataclasses
from pathlib import Path

from m3net_tf.audio.datasets import esc50
from m3net_tf.audio.datasets.clips import DatasetInfo
from m3net_tf.audio.datasets.dataset import AudioDataset
from m3net_tf.audio.datasets.registry import register

INFO = dataclasses.replace(
    esc50.INFO,
    name="esc10",
    labels=(
        *("dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing"),
        *("clock_tick", "helicopter", "chainsaw"),
    ),
    licence="CC BY 3.0",
    clips=10 * esc50.CLIPS_PER_CLASS,
    folder="esc50",
)


@register(INFO, adjustable=("fit", "sample_rate_hz", "clip_s"))
def build(info: DatasetInfo, root: Path, seed: int) -> AudioDataset:
    """List the clips."""
    return esc50.list_clips(info, root, seed)
