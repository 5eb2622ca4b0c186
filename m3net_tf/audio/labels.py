# SPDX-License-Identifier: Apache-2.0
"""Class names for sounds that are not events."""

SILENCE_LABELS = frozenset({"silence", "background", "background_noise", "noise"})
OTHER_LABELS = frozenset({"unknown", "other"})


def label_word(label: str) -> str:
    """A class name without underscores at its ends: ``_silence_`` becomes ``silence``."""
    return label.strip("_").lower()


def is_event(label: str) -> bool:
    """Whether a class triggers events: silence, other sounds and ``_any_name_`` do not."""
    inner = label.startswith("_") and label.endswith("_")
    return not inner and label_word(label) not in SILENCE_LABELS | OTHER_LABELS


def is_silence(label: str) -> bool:
    """Whether a class is for silence."""
    return label_word(label) in SILENCE_LABELS
