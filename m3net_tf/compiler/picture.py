# SPDX-License-Identifier: Apache-2.0
"""A picture of the arena: its blocks over the calls."""

from __future__ import annotations

from html import escape

from m3net_tf.compiler.plan import Plan

_WIDTH, _HEIGHT, _LEFT, _TOP = 1000, 480, 60, 30
_COLOURS = ("#9ec5e8", "#f2c48d", "#a9d6a4", "#d3b3dd", "#efaaa6", "#c9c3a0")


def draw_arena(plan: Plan, title: str) -> str:
    """An SVG: calls from left to right, bytes of the arena from the bottom up."""
    calls = len(plan.calls)
    per_call = (_WIDTH - _LEFT - 10) / (calls + 2)
    per_byte = (_HEIGHT - _TOP - 30) / plan.arena_bytes
    bottom = _HEIGHT - 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13">{escape(title)}: {plan.arena_bytes} bytes, '
        f"lower bound {plan.lower_bound}</text>",
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{plan.arena_bytes}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_LEFT}" y="{bottom + 18}">calls 0 to {calls - 1}</text>',
    ]
    for number, life in enumerate(plan.lives):
        x = _LEFT + (life.first + 1) * per_call
        width = (life.last - life.first + 1) * per_call
        height = life.size * per_byte
        y = bottom - plan.places[life.block] * per_byte - height
        label = f"{life.block.label}: {life.block.size} bytes, calls {life.first} to {life.last}"
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{_COLOURS[number % len(_COLOURS)]}" fill-opacity="0.7" stroke="#555555" '
            f'stroke-width="0.5"><title>{escape(label)}</title></rect>'
        )
    return "\n".join([*parts, "</svg>", ""])
