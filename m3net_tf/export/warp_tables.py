# SPDX-License-Identifier: Apache-2.0
"""C tables of DiffRes's warp: ``warp_config.h`` and ``warp_tables.c``."""

from pathlib import Path

from m3net_tf.export.c_files import NOTICE
from m3net_tf.runtime.warp import WarpConfig, log2_table
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.csource import array, blocks, c_linkage, defines, guarded, struct


def write_warp_tables(config: WarpConfig, folder: Path) -> None:
    """Write ``warp_config.h`` and ``warp_tables.c``; the same warp gives the same bytes."""
    write_text(folder / "warp_config.h", _header(config))
    write_text(folder / "warp_tables.c", _source(config))


def _header(config: WarpConfig) -> str:
    sizes: dict[str, int | str] = {
        "BINS": config.bins,
        "FRAMES_IN": config.frames_in,
        "FRAMES_OUT": config.frames_out,
    }
    return NOTICE + guarded(
        "M3NET_WARP_CONFIG_H_",
        '#include "warp.h"',
        defines("M3NET_WARP_", sizes),
        c_linkage(["extern const m3net_warp m3net_model_warp;"]),
        name_guard_at_end=True,
    )


def _source(config: WarpConfig) -> str:
    settings: dict[str, int | str] = {
        "bins": "M3NET_WARP_BINS",
        "frames_in": "M3NET_WARP_FRAMES_IN",
        "frames_out": "M3NET_WARP_FRAMES_OUT",
        "top_bits": config.top_bits,
        "gain": config.gain,
        "powers": "powers",
        "positions": "positions",
        "log2": "log2_table",
    }
    powers = (f"{int(value)}u" for value in config.powers)
    return NOTICE + blocks(
        '#include "warp_config.h"',
        array("static const uint64_t powers", powers, per_line=8),
        array("static const int16_t positions", map(str, config.positions.ravel()), per_line=8),
        array("static const uint32_t log2_table", map(str, log2_table()), per_line=8),
        struct("const m3net_warp m3net_model_warp", settings),
    )
