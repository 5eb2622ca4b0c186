# SPDX-License-Identifier: Apache-2.0
"""Draws docs/annotated.svg: which clips become of an annotated recording.

python docs/draw_annotated.py
"""

from __future__ import annotations

from pathlib import Path

from m3net_tf.audio.annotations.events import SoundEvent
from m3net_tf.audio.datasets.annotated import BACKGROUND, Recording, annotated_clips
from m3net_tf.system.artifacts import write_text

PICTURE = Path(__file__).parent / "annotated.svg"
EVENTS = (
    *(SoundEvent(1.0, 1.3, "dog"), SoundEvent(4.6, 6.9, "owl"), SoundEvent(6.5, 7.1, "dog")),
    SoundEvent(9.4, 10.4, "dog"),
)
SECONDS, CLIP_S = 14, 1.0
STEP, LEFT, ROW = 52, 150, 34
COLOURS = {"dog": "#d9822b", "owl": "#5b6b86", BACKGROUND: "#b9c7b0"}


def box(start_s: float, end_s: float, y: int, label: str) -> str:
    """A part of the recording."""
    x, width = LEFT + start_s * STEP, (end_s - start_s) * STEP
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="22" fill="{COLOURS[label]}" '
        'stroke="#444444" stroke-width="0.7"/>'
    )


def draw() -> str:
    """The picture."""
    recording = Recording(Path("field1.wav"), "field1.wav", SECONDS * 1000, 1000, EVENTS)
    rows = {"annotated": [(event.label, event.start_s, event.end_s) for event in EVENTS]}
    rows |= {f"clips: {label}": [] for label in COLOURS}
    for clip in annotated_clips([recording], CLIP_S, windows=True):
        assert clip.duration_s is not None
        span = (clip.label, clip.start_s, clip.start_s + clip.duration_s)
        rows[f"clips: {clip.label}"].append(span)
    parts = []
    for number, (name, spans) in enumerate(rows.items()):
        y = 12 + number * ROW
        parts.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
        parts.append(
            f'<line x1="{LEFT}" y1="{y + 22}" x2="{LEFT + SECONDS * STEP}" y2="{y + 22}" '
            'stroke="#888888" stroke-width="0.7"/>'
        )
        parts += [box(start_s, end_s, y, label) for label, start_s, end_s in spans]
    bottom = 12 + len(rows) * ROW + 8
    parts += [
        f'<text x="{LEFT + second * STEP}" y="{bottom}" text-anchor="middle">{second} s</text>'
        for second in range(0, SECONDS + 1, 2)
    ]
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {LEFT + SECONDS * STEP + 20} {bottom + 8}" font-family="sans-serif" '
            'font-size="12">',
            "<title>Annotated segments of a recording, and the clips that become of it</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    write_text(PICTURE, draw())
    print(PICTURE)
