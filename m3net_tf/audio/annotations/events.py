# SPDX-License-Identifier: Apache-2.0
"""A sound in a recording: when it begins and ends, and what it is."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class SoundEvent:
    """A sound in a recording, annotated or detected; events sort by their start.

    Attributes:
        start_s: from the start of the recording.
        end_s: from the start of the recording, at least ``start_s``.
        score: score of a detected one, 0 to 1; None for an annotated one.
    """

    start_s: float
    end_s: float
    label: str
    score: float | None = None
