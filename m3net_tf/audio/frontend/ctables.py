# SPDX-License-Identifier: Apache-2.0
"""Generates the front end's C tables from the config; they contain no dates."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import reference
from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.audio.frontend.fixed import FixedTables, Int64, Whole, fixed_tables
from m3net_tf.audio.frontend.level import level_settings
from m3net_tf.audio.frontend.waveform import (
    column_count,
    is_rounded,
    waveform_levels,
    waveform_steps,
)
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.csource import (
    array,
    blocks,
    c_linkage,
    defines,
    float_literal,
    guarded,
    notice,
)

_NOTICE = notice("from the front-end config; change that, not this file") + "\n"


def write_c_tables(config: FrontendConfig, folder: Path, *, frames: int) -> tuple[Path, Path]:
    """Write ``frontend_config.h`` and ``frontend_tables.c``.

    Args:
        frames: columns of the network's input; for a waveform, its samples.

    Returns:
        The paths of the header and of the tables. Equal configs give equal bytes.

    Raises:
        ConfigError: the device code does not support the config.
    """
    if config.kind == "waveform":
        return _write_waveform(config, folder, frames)
    fixed = fixed_tables(config)
    filters = _packed_filters(config, fixed)
    window = reference.window(config)[: _mirror(config) // 2 + 1]
    declarations = [
        "/* Its first half: value i is also value WINDOW_MIRROR - i. */",
        f"extern const float m3net_frontend_window[{window.size}];",
        "/* Sines and cosines of the angles of bins 1 .. FFT/4, by bin. */",
        "extern const float m3net_frontend_fft_turns[M3NET_FRONTEND_FFT_POINTS];",
        "/* Where CMSIS-DSP's FFT leaves the bins, by bin: index of the real part. */",
        "extern const uint16_t m3net_frontend_fft_places[M3NET_FRONTEND_FFT_POINTS + 1];",
        "/* Filter b weighs the FFT bins first_bin[b] .. first_bin[b] + bin_count[b] - 1. */",
        "extern const uint16_t m3net_frontend_mel_first_bin[M3NET_FRONTEND_MEL_BINS];",
        "extern const uint16_t m3net_frontend_mel_bin_count[M3NET_FRONTEND_MEL_BINS];",
        "extern const float m3net_frontend_mel_weights[M3NET_FRONTEND_MEL_WEIGHT_COUNT];",
    ]
    tables = [
        _floats("window", window),
        _floats("fft_turns", _turns(config)),
        array("const uint16_t m3net_frontend_fft_places", map(str, _places(config))),
        array("const uint16_t m3net_frontend_mel_first_bin", map(str, filters.first_bin)),
        array("const uint16_t m3net_frontend_mel_bin_count", map(str, filters.bin_count)),
        _floats("mel_weights", filters.weights),
    ]
    if config.mfcc_coefficients:
        declarations.append("/* Row by row: one row of MEL_BINS values a coefficient. */")
        size = "M3NET_FRONTEND_MFCC_COEFFICIENTS * M3NET_FRONTEND_MEL_BINS"
        declarations.append(f"extern const float m3net_frontend_dct[{size}];")
        tables.append(_floats("dct", reference.dct_matrix(config).ravel()))
    declarations.append(
        "/* The same in whole numbers, and the FFT's own: see m3net_tf/audio/frontend/fixed.py. */"
    )
    for declaration, values in _fixed_arrays(fixed, np.array(filters.fixed_weights)).items():
        declarations.append(f"extern {declaration}[{len(values)}];")
        tables.append(array(declaration, map(str, values)))
    settings = _mel_settings(config, fixed, frames, len(filters.weights))
    return _write(folder, settings, declarations, tables)


def _mirror(config: FrontendConfig) -> int:
    """The sum of the places of equal values of the window; Kaldi's also ends with a zero."""
    return config.frame_samples - (config.window == "povey")


def _turns(config: FrontendConfig) -> npt.NDArray[np.float64]:
    """Sines and cosines that separate the spectra of the even and odd samples, bin by bin."""
    angles = 2 * np.pi * np.arange(1, config.fft_samples // 4 + 1) / config.fft_samples
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).ravel()


def _places(config: FrontendConfig) -> list[int]:
    """Index of each bin in the complex FFT of half the samples; of the last bin, its power's.

    CMSIS-DSP leaves the points in the order of their reversed octal digits; the bits that are left
    over are the lowest digit.
    """
    points = config.fft_samples // 2
    lowest = 2 ** ((points.bit_length() - 1) % 3)
    places = []
    for bin_ in range(points):
        digits, place = divmod(bin_, lowest)
        left = points // lowest
        while left > 1:
            digits, digit = divmod(digits, 8)
            place = 8 * place + digit
            left //= 8
        places.append(2 * place)
    return [*places, 1]


class _PackedFilters(NamedTuple):
    """Mel filters without their zeros, concatenated."""

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


def _mel_settings(
    config: FrontendConfig, fixed: FixedTables, frames: int, mel_weights: int
) -> dict[str, int | str]:
    settings: dict[str, int | str] = {
        "SAMPLE_RATE_HZ": config.sample_rate_hz,
        "FRAME_SAMPLES": config.frame_samples,
        "HOP_SAMPLES": config.hop_samples,
        "FFT_SAMPLES": config.fft_samples,
        "FFT_POINTS": config.fft_samples // 2,
        "WINDOW_MIRROR": _mirror(config),
        "MEL_BINS": config.mel_bins,
        "MFCC_COEFFICIENTS": config.mfcc_coefficients,
        "FEATURE_BINS": config.feature_bins,
        "FRAMES": frames,
        "MEL_WEIGHT_COUNT": mel_weights,
        "LOG_FLOOR": float_literal(config.log_floor),
        "QUANT_GAIN": float_literal(1.0 / config.feature_step),
        "QUANT_OFFSET": float_literal(-128.0 - config.feature_min / config.feature_step),
        "FIXED_SAMPLE_SHIFT": fixed.sample_shift,
        "FIXED_LOG2_FLOOR": f"({fixed.log2_floor})",
        "FIXED_QUANT_GAIN": fixed.quant_gain,
        "FIXED_QUANT_OFFSET": f"({fixed.quant_offset}LL)",
    }
    if config.power == 1:
        settings["MAGNITUDES"] = 1
    if config.log_offset:
        settings["LOG_OFFSET"] = float_literal(config.log_offset)
    return settings | _level_settings(config)


def _level_settings(config: FrontendConfig) -> dict[str, int | str]:
    return {f"LEVEL_{name}": value for name, value in level_settings(config).items()}


def _write_waveform(config: FrontendConfig, folder: Path, samples: int) -> tuple[Path, Path]:
    """Write the tables of ``frontend_waveform.h``, where a column is one hop of samples."""
    levels = waveform_levels(config)
    settings = _level_settings(config) | {
        "WAVEFORM": 1,
        "SAMPLE_RATE_HZ": config.sample_rate_hz,
        "FRAME_SAMPLES": config.hop_samples,
        "HOP_SAMPLES": config.hop_samples,
        "FEATURE_BINS": config.hop_samples,
        "FRAMES": column_count(config, samples),
    }
    if is_rounded(levels):
        return _write(folder, settings | {"WAVEFORM_ROUNDED": 1}, [], [])
    settings["WAVEFORM_LOWEST"] = f"({levels[0]})"
    steps = waveform_steps(levels)
    declarations = [
        "/* The last sample of each level from WAVEFORM_LOWEST on, but for the highest one. */",
        f"extern const int16_t m3net_frontend_waveform_last[{steps.size}];",
    ]
    table = array("const int16_t m3net_frontend_waveform_last", map(str, steps))
    return _write(folder, settings, declarations, [table])


def _fixed_arrays(fixed: FixedTables, mel_weights: Int64) -> dict[str, Whole]:
    """The arrays of ``frontend_fixed.h`` by declaration; the linker drops unused ones."""
    twiddles = np.concatenate([stage.ravel() for stage in fixed.stages])
    arrays: dict[str, Whole] = {
        # Padded to an even length: the device reads pairs.
        "int32_t m3net_frontend_fixed_window": np.pad(fixed.window, (0, fixed.window.size % 2)),
        "uint16_t m3net_frontend_fixed_order": fixed.order,
        "int32_t m3net_frontend_fixed_twiddles": twiddles,
        "int32_t m3net_frontend_fixed_unpack": fixed.unpack.ravel(),
        "uint16_t m3net_frontend_fixed_mel_weights": mel_weights,
        "uint8_t m3net_frontend_fixed_mel_exponent": fixed.mel_exponents,
        "int32_t m3net_frontend_fixed_log2": fixed.log2,
    }
    if fixed.mel_offsets.any():
        arrays["uint64_t m3net_frontend_fixed_mel_offset"] = fixed.mel_offsets
    if fixed.sqrt.size:
        arrays["uint32_t m3net_frontend_fixed_sqrt"] = fixed.sqrt
    if fixed.dct.size:
        arrays["int16_t m3net_frontend_fixed_dct"] = fixed.dct.ravel()
    return {f"const {declaration}": values for declaration, values in arrays.items()}


def _floats(name: str, values: Iterable[np.float32 | float]) -> str:
    return array(f"const float m3net_frontend_{name}", map(float_literal, values))


def _write(
    folder: Path,
    settings: Mapping[str, int | str],
    declarations: Sequence[str],
    tables: Sequence[str],
) -> tuple[Path, Path]:
    header = guarded(
        "M3NET_FRONTEND_CONFIG_H_",
        "#include <stdint.h>",
        defines("M3NET_FRONTEND_", settings),
        c_linkage(declarations),
    )
    paths = folder / "frontend_config.h", folder / "frontend_tables.c"
    write_text(paths[0], _NOTICE + header)
    write_text(paths[1], _NOTICE + blocks('#include "frontend_config.h"', *tables))
    return paths
