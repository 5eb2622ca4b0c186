# SPDX-License-Identifier: Apache-2.0
"""C tables of the front end, written from the config: never typed by hand, no dates in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from m3net_tf.artifacts import write_text
from m3net_tf.frontend import reference
from m3net_tf.frontend.config import FrontendConfig
from m3net_tf.frontend.fixed import FixedTables, Int64, fixed_tables
from m3net_tf.frontend.waveform import column_count, is_rounded, waveform_levels, waveform_steps

_NOTICE = (
    "/* SPDX-License-Identifier: Apache-2.0 */\n"
    "/* Generated from the front-end config; change that, not this file. */\n"
)


def write_c_tables(config: FrontendConfig, folder: Path, *, frames: int) -> tuple[Path, Path]:
    """Write ``frontend_config.h`` and ``frontend_tables.c``.

    Args:
        config: front-end settings.
        folder: where the two files go; it must exist.
        frames: columns of the network's input; of a waveform its samples.

    Returns:
        The paths of the header and of the tables. The same config gives the same bytes.

    Raises:
        ConfigError: the config has a form that the device code lacks.
    """
    if config.kind == "waveform":
        return _write_waveform(config, folder, frames)
    fixed = fixed_tables(config)
    filters = _packed_filters(config, fixed)
    header = [
        *_header_start(_mel_defines(config, fixed, frames, len(filters.weights))),
        "extern const float m3net_frontend_window[M3NET_FRONTEND_FRAME_SAMPLES];",
        "/* Filter b weighs the FFT bins first_bin[b] .. first_bin[b] + bin_count[b] - 1. */",
        "extern const uint16_t m3net_frontend_mel_first_bin[M3NET_FRONTEND_MEL_BINS];",
        "extern const uint16_t m3net_frontend_mel_bin_count[M3NET_FRONTEND_MEL_BINS];",
        "extern const float m3net_frontend_mel_weights[M3NET_FRONTEND_MEL_WEIGHT_COUNT];",
    ]
    tables = [
        _NOTICE,
        '#include "frontend_config.h"',
        "",
        _array("float", "m3net_frontend_window", map(_literal, reference.window(config))),
        _array("uint16_t", "m3net_frontend_mel_first_bin", map(str, filters.first_bin)),
        _array("uint16_t", "m3net_frontend_mel_bin_count", map(str, filters.bin_count)),
        _array("float", "m3net_frontend_mel_weights", map(_literal, filters.weights)),
    ]
    if config.mfcc_coefficients:
        header.append("/* Row by row: one row of MEL_BINS values a coefficient. */")
        size = "M3NET_FRONTEND_MFCC_COEFFICIENTS * M3NET_FRONTEND_MEL_BINS"
        header.append(f"extern const float m3net_frontend_dct[{size}];")
        rows = reference.dct_matrix(config).ravel()
        tables.append(_array("float", "m3net_frontend_dct", map(_literal, rows)))
    _add_fixed(header, tables, fixed, np.array(filters.fixed_weights))
    return _write(folder, header, tables)


class _PackedFilters(NamedTuple):
    """Mel filters without their zeros, one behind the other."""

    first_bin: list[int]
    bin_count: list[int]
    weights: list[np.float32]
    fixed_weights: list[np.int64]


def _packed_filters(config: FrontendConfig, fixed: FixedTables) -> _PackedFilters:
    filters = _PackedFilters([], [], [], [])
    weights = reference.mel_filterbank(config).astype(np.float32)
    for row, fixed_row in zip(weights, fixed.mel_weights, strict=True):
        used = np.flatnonzero(row)
        start = int(used[0]) if used.size else 0
        stop = int(used[-1]) + 1 if used.size else 0
        filters.first_bin.append(start)
        filters.bin_count.append(stop - start)
        filters.weights.extend(row[start:stop])
        filters.fixed_weights.extend(fixed_row[start:stop])
    return filters


def _mel_defines(
    config: FrontendConfig, fixed: FixedTables, frames: int, mel_weights: int
) -> dict[str, int | str]:
    return {
        "SAMPLE_RATE_HZ": config.sample_rate_hz,
        "FRAME_SAMPLES": config.frame_samples,
        "HOP_SAMPLES": config.hop_samples,
        "FFT_SAMPLES": config.fft_samples,
        "MEL_BINS": config.mel_bins,
        "MFCC_COEFFICIENTS": config.mfcc_coefficients,
        "FEATURE_BINS": config.feature_bins,
        "FRAMES": frames,
        "MEL_WEIGHT_COUNT": mel_weights,
        "LOG_FLOOR": _literal(config.log_floor),
        "QUANT_GAIN": _literal(1.0 / config.feature_step),
        "QUANT_OFFSET": _literal(-128.0 - config.feature_min / config.feature_step),
        "FIXED_SAMPLE_SHIFT": fixed.sample_shift,
        "FIXED_LOG2_FLOOR": f"({fixed.log2_floor})",
        "FIXED_QUANT_GAIN": fixed.quant_gain,
        "FIXED_QUANT_OFFSET": f"({fixed.quant_offset}LL)",
    }


def _write_waveform(config: FrontendConfig, folder: Path, samples: int) -> tuple[Path, Path]:
    """What ``frontend_waveform.h`` needs: a column is a hop of samples."""
    levels = waveform_levels(config)
    defines: dict[str, int | str] = {
        "WAVEFORM": 1,
        "SAMPLE_RATE_HZ": config.sample_rate_hz,
        "FRAME_SAMPLES": config.hop_samples,
        "HOP_SAMPLES": config.hop_samples,
        "FEATURE_BINS": config.hop_samples,
        "FRAMES": column_count(config, samples),
    }
    tables = [_NOTICE, '#include "frontend_config.h"', ""]
    if is_rounded(levels):
        defines["WAVEFORM_ROUNDED"] = 1
        return _write(folder, _header_start(defines), tables)
    defines["WAVEFORM_LOWEST"] = f"({levels[0]})"
    steps = waveform_steps(levels)
    header = [
        *_header_start(defines),
        "/* The last sample of each level from WAVEFORM_LOWEST on, but for the highest one. */",
        f"extern const int16_t m3net_frontend_waveform_last[{steps.size}];",
    ]
    tables.append(_array("int16_t", "m3net_frontend_waveform_last", map(str, steps)))
    return _write(folder, header, tables)


def _header_start(defines: dict[str, int | str]) -> list[str]:
    return [
        _NOTICE,
        "#ifndef M3NET_FRONTEND_CONFIG_H_",
        "#define M3NET_FRONTEND_CONFIG_H_",
        "",
        "#include <stdint.h>",
        "",
        *(f"#define M3NET_FRONTEND_{name} {value}" for name, value in defines.items()),
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
    ]


def _write(folder: Path, header: list[str], tables: list[str]) -> tuple[Path, Path]:
    end = ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    paths = folder / "frontend_config.h", folder / "frontend_tables.c"
    write_text(paths[0], "\n".join([*header, *end]))
    write_text(paths[1], "\n".join(tables))
    return paths


def _add_fixed(
    header: list[str], tables: list[str], fixed: FixedTables, mel_weights: Int64
) -> None:
    """Declare and define the arrays of ``frontend_fixed.h``; who does not use them links none."""
    twiddles = np.concatenate([stage.ravel() for stage in fixed.stages])
    arrays = {
        # Even in length: the device takes pairs.
        "int32_t m3net_frontend_fixed_window": np.pad(fixed.window, (0, fixed.window.size % 2)),
        "uint16_t m3net_frontend_fixed_order": fixed.order,
        "int32_t m3net_frontend_fixed_twiddles": twiddles,
        "int32_t m3net_frontend_fixed_unpack": fixed.unpack.ravel(),
        "uint16_t m3net_frontend_fixed_mel_weights": mel_weights,
        "uint8_t m3net_frontend_fixed_mel_exponent": fixed.mel_exponents,
        "int32_t m3net_frontend_fixed_log2": fixed.log2,
    }
    if fixed.dct.size:
        arrays["int16_t m3net_frontend_fixed_dct"] = fixed.dct.ravel()
    header.append(
        "/* The same in whole numbers, and the FFT's own: see m3net_tf/frontend/fixed.py. */"
    )
    for declaration, values in arrays.items():
        kind, name = declaration.split()
        header.append(f"extern const {kind} {name}[{len(values)}];")
        tables.append(_array(kind, name, map(str, values)))


def _literal(value: float | np.float32) -> str:
    """A float32 as the shortest C literal that reads back to the same bits."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def _array(kind: str, name: str, literals: Iterable[str]) -> str:
    items = list(literals)
    rows = [", ".join(items[i : i + 6]) for i in range(0, len(items), 6)]
    return f"const {kind} {name}[{len(items)}] = {{\n    " + ",\n    ".join(rows) + ",\n};\n"
