# SPDX-License-Identifier: Apache-2.0
"""A picture of the arena: its blocks over the calls."""

from collections.abc import Collection
from html import escape

from m3net_tf.compiler.calls import Block
from m3net_tf.compiler.plan import Plan

_WIDTH, _HEIGHT, _LEFT, _TOP = 1000, 480, 60, 30
_COLOURS = ("#9ec5e8", "#f2c48d", "#a9d6a4", "#d3b3dd", "#efaaa6", "#c9c3a0")
_STATE_COLOUR = "#5b6b86"


def draw_arena(plan: Plan, title: str, states: Collection[Block] = ()) -> str:
    """An SVG: calls from left to right, bytes of the arena from the bottom up.

    ``states``, memory that outlasts a run, are dark.
    """
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
    if states:
        total = sum(block.size for block in states)
        parts.append(
            f'<text x="{_WIDTH - 10}" y="18" text-anchor="end" fill="{_STATE_COLOUR}" '
            f'font-size="13">dark: {total} bytes of state, which outlast a run</text>'
        )
    for number, life in enumerate(plan.lives):
        x = _LEFT + (life.first + 1) * per_call
        width = (life.last - life.first + 1) * per_call
        height = life.size * per_byte
        y = bottom - plan.places[life.block] * per_byte - height
        is_state = life.block in states
        when = "outlasts a run" if is_state else f"calls {life.first} to {life.last}"
        label = f"{life.block.label}: {life.block.size} bytes, {when}"
        colour = _STATE_COLOUR if is_state else _COLOURS[number % len(_COLOURS)]
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}" fill-opacity="0.7" stroke="#555555" '
            f'stroke-width="0.5"><title>{escape(label)}</title></rect>'
        )
    return "\n".join([*parts, "</svg>", ""])
