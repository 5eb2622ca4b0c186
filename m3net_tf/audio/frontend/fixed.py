# SPDX-License-Identifier: Apache-2.0
"""The fixed-point front end, bit-exact with ``firmware/core/frontend_fixed.h``.

Cores without FPU use it. It differs from :mod:`.reference` only by the rounding of its tables and
of the 32-bit FFT:

- windowed samples are words with as many fraction bits as the window's sum allows;
- a radix-4 FFT takes the even and odd samples as real and imaginary parts; a product with a
  twiddle (Q31) keeps the high word of 64 bits, so each stage with twiddles halves its values;
- 64-bit squared magnitudes, 16-bit mel weights and 80-bit sums are exact;
- a magnitude is a square root by linear interpolation in a table (3e-5 of its value);
- the base-2 logarithm has 16 fraction bits and interpolates linearly in a table.
"""

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import reference
from m3net_tf.audio.frontend.config import FrontendConfig
from m3net_tf.system.errors import ConfigError, DataError

Int64 = npt.NDArray[np.int64]
Whole = npt.NDArray[np.int64] | npt.NDArray[np.uint64]

_LOG2_FRACTION_BITS = 16
_LOG2_TABLE_BITS = 5
_TABLE_BITS = 31
_SAMPLE_BITS = 15
_WORD_LIMIT_BITS = 30
_DCT_BITS = 15
_SQRT_TABLE_BITS = 7
_SQRT_BITS = 23
_MAGNITUDE_BITS = 2
"""Fraction bits that magnitudes have beyond the spectrum's."""

_DEVICE_FORM = {
    "kind": "mel",
    "centred": False,
    "level_db": None,
    "remove_mean": False,
    "preemphasis": 0.0,
    "log": "ln",
    "clip_range_db": 0.0,
}
"""Settings that ``firmware/core`` requires; windows and mel banks are tables, so any will do."""


def require_device_form(config: FrontendConfig) -> None:
    """Check that the firmware supports this front end.

    Raises:
        ConfigError: the config has a form that the device code lacks.
    """
    remedy = "train with a front end made for the device"
    config.require(_DEVICE_FORM, "the firmware", f"; {remedy}")
    if not 32 <= config.fft_samples <= 4096:
        raise ConfigError(
            f"frontend.fft_samples is {config.fft_samples}: the firmware needs 32 to 4096; {remedy}"
        )


@dataclasses.dataclass(frozen=True)
class FixedTables:
    """The numbers of the fixed-point front end.

    Attributes:
        window: shape (frame_samples,), Q31.
        sample_shift: bits by which a sample is shifted left before the window; the high word of
            the product enters the FFT.
        order: shape (fft_samples // 2,), the FFT's input position of each pair of samples.
        stages: per FFT stage with twiddles, shape (quarter, 3, 2): cosine and sine, Q31, of one,
            two and three times the angle, in their order of use (2, 1, 3).
        unpack: shape (fft_samples // 4, 2), cosine and sine, Q31, that separate the spectra of the
            even and odd samples.
        mel_weights: shape (mel_bins, fft_samples // 2 + 1), 16 bits.
        mel_exponents: shape (mel_bins,); the sum of filter b is its mel power times
            2**mel_exponents[b].
        log2: shape (33,), logarithms of 1 to 2, 16 fraction bits.
        log2_floor: lower limit of the logarithm, 16 fraction bits.
        mel_offsets: shape (mel_bins,), uint64: ``log_offset`` in the sums of magnitudes, or in the
            high part of the sums of powers, which starts at 2**32.
        sqrt: shape (97,), square roots of 1/4 to 1, 23 fraction bits; empty for powers.
        dct: shape (mfcc_coefficients, mel_bins), Q15.
        quant_gain, quant_offset: int8 = (logarithm * gain + offset) >> 32.
    """

    window: Int64
    sample_shift: int
    order: Int64
    stages: tuple[Int64, ...]
    unpack: Int64
    mel_weights: Int64
    mel_exponents: Int64
    log2: Int64
    log2_floor: int
    mel_offsets: npt.NDArray[np.uint64]
    sqrt: Int64
    dct: Int64
    quant_gain: int
    quant_offset: int


def _rounded(values: npt.ArrayLike, bits: int) -> Int64:
    return np.floor(np.asarray(values, np.float64) * 2.0**bits + 0.5).astype(np.int64)


def _rounded_q31(values: npt.ArrayLike) -> Int64:
    return np.asarray(np.minimum(_rounded(values, _TABLE_BITS), 2**_TABLE_BITS - 1), np.int64)


def _turns(angles: npt.NDArray[np.float64]) -> Int64:
    """Cosine and sine of angles in turns, Q31, on a new last axis."""
    pair = np.stack([np.cos(2 * np.pi * angles), np.sin(2 * np.pi * angles)], axis=-1)
    return _rounded_q31(pair)


def _quarters(points: int) -> list[int]:
    """Lengths of the four parts that each radix-4 stage with twiddles combines."""
    first = 4 if points.bit_length() % 2 else 2  # points combined by the stage without twiddles
    return [first * 4**stage for stage in range((points // first).bit_length() // 2)]


@functools.lru_cache(maxsize=16)
def fixed_tables(config: FrontendConfig) -> FixedTables:
    """The tables of a config.

    Raises:
        ConfigError: the config has a form that the device code lacks.
    """
    require_device_form(config)
    points = config.fft_samples // 2  # complex
    digits = points.bit_length() - 1
    order = np.array([int(f"{n:0{digits}b}"[::-1], 2) for n in range(points)])
    quarters = _quarters(points)
    stages = []
    for quarter in quarters:
        angles = np.arange(quarter)[:, None] * np.array([2, 1, 3]) / (4 * quarter)
        stages.append(_turns(angles))

    # A stage's largest values are sums over the inputs that it has combined. They must stay below
    # 2^30 because the last step adds two of them.
    taper = reference.window(config)
    padded = np.pad(np.abs(taper), (0, config.fft_samples - config.frame_samples))
    sizes = np.zeros(points)
    sizes[order] = padded.reshape(points, 2).sum(axis=1)
    largest = max(
        sizes.reshape(-1, 4 * quarter).sum(axis=1).max() / 2.0 ** (stage + 1)
        for stage, quarter in enumerate(quarters)
    )
    headroom = _WORD_LIMIT_BITS - _SAMPLE_BITS - (math.floor(math.log2(largest)) + 1)
    fraction_bits = min(headroom, _SAMPLE_BITS)

    bank = reference.mel_filterbank(config).astype(np.float32).astype(np.float64)
    peaks = bank.max(axis=1)
    shifts = np.array([16 - math.frexp(peak)[1] if peak > 0 else 0 for peak in peaks])
    weights = np.minimum(np.floor(bank * 2.0 ** shifts[:, None] + 0.5), 65535).astype(np.int64)
    spectrum_bits = fraction_bits - len(quarters)

    exponents = config.power * (_SAMPLE_BITS + spectrum_bits) + shifts
    sqrt = np.zeros(0, np.int64)
    if config.power == 1:
        exponents += _MAGNITUDE_BITS
        parts = np.arange(2 ** (_SQRT_TABLE_BITS - 2), 2**_SQRT_TABLE_BITS + 1)
        sqrt = _rounded(np.sqrt(parts / 2**_SQRT_TABLE_BITS), _SQRT_BITS)
    points_log2 = 1 + np.arange(2**_LOG2_TABLE_BITS + 1) / 2**_LOG2_TABLE_BITS
    gain = math.log(2.0) / config.feature_step / 2**_LOG2_FRACTION_BITS
    offset = -128.0 - config.feature_min / config.feature_step + 0.5
    dct = np.zeros((0, config.mel_bins), np.int64)
    if config.mfcc_coefficients:
        dct = np.minimum(_rounded(reference.dct_matrix(config), _DCT_BITS), 2**_DCT_BITS - 1)
    return FixedTables(
        window=_rounded_q31(taper),
        sample_shift=fraction_bits + 1,
        order=order,
        stages=tuple(stages),
        unpack=_turns(np.arange(points // 2) / config.fft_samples),
        mel_weights=weights,
        mel_exponents=exponents,
        log2=_rounded(np.log2(points_log2), _LOG2_FRACTION_BITS),
        log2_floor=int(_rounded(math.log2(config.log_floor), _LOG2_FRACTION_BITS)),
        mel_offsets=_mel_offsets(config, exponents),
        sqrt=sqrt,
        dct=dct,
        quant_gain=math.floor(gain * 2.0**32 + 0.5),
        quant_offset=math.floor(offset * 2.0**32 + 0.5),
    )


def _mel_offsets(config: FrontendConfig, exponents: Int64) -> npt.NDArray[np.uint64]:
    ones = 2.0 ** (exponents - (32 if config.power == 2 else 0))
    largest = 2.0**62 / ones.max()
    if config.log_offset > largest:
        raise ConfigError(
            f"frontend.log_offset is {config.log_offset}: the firmware needs at most {largest:.3g}"
        )
    return np.asarray(np.floor(config.log_offset * ones + 0.5), np.uint64)


def _rotated(re: Int64, im: Int64, twiddle: Int64) -> tuple[Int64, Int64]:
    """Half the product with cos - j sin, rounded down."""
    cos, sin = twiddle[..., 0], twiddle[..., 1]
    return (re * cos + im * sin) >> 32, (im * cos - re * sin) >> 32


def _combined(re: Int64, im: Int64, twiddles: Int64 | None, quarter: int) -> tuple[Int64, Int64]:
    """One radix-4 stage over (frames, points); the parts are stored in the order 0, 2, 1, 3."""
    shape = (len(re), -1, 4, quarter)
    parts = [(re.reshape(shape)[:, :, i], im.reshape(shape)[:, :, i]) for i in range(4)]
    if twiddles is not None:
        parts[0] = parts[0][0] >> 1, parts[0][1] >> 1
        parts[1:] = [_rotated(*parts[1 + i], twiddles[:, i]) for i in range(3)]
    (ar, ai), (cr, ci), (br, bi), (dr, di) = parts
    even_re, even_im, odd_re, odd_im = ar + cr, ai + ci, ar - cr, ai - ci
    sum_re, sum_im, gap_re, gap_im = br + dr, bi + di, br - dr, bi - di
    combined_re = np.stack(
        [even_re + sum_re, odd_re + gap_im, even_re - sum_re, odd_re - gap_im], 2
    )
    combined_im = np.stack(
        [even_im + sum_im, odd_im - gap_re, even_im - sum_im, odd_im + gap_re], 2
    )
    return combined_re.reshape(re.shape), combined_im.reshape(im.shape)


def spectral_powers(config: FrontendConfig, tables: FixedTables, pcm: Int64) -> Int64:
    """Squared magnitudes, shape (frames, fft_samples // 2 + 1)."""
    frames = config.frame_count(pcm.size)
    cut = np.lib.stride_tricks.sliding_window_view(pcm, config.frame_samples)
    cut = cut[:: config.hop_samples][:frames]
    tapered = np.zeros((frames, config.fft_samples), np.int64)
    tapered[:, : config.frame_samples] = ((cut << tables.sample_shift) * tables.window) >> 32

    points = config.fft_samples // 2
    re, im = np.empty((2, frames, points), np.int64)
    re[:, tables.order], im[:, tables.order] = tapered[:, 0::2], tapered[:, 1::2]
    first = tables.stages[0].shape[0]
    if first == 2:
        pairs = re.reshape(frames, -1, 2), im.reshape(frames, -1, 2)
        re, im = (
            np.stack([p[..., 0] + p[..., 1], p[..., 0] - p[..., 1]], -1).reshape(frames, points)
            for p in pairs
        )
    else:
        re, im = _combined(re, im, None, 1)
    for twiddles in tables.stages:
        re, im = _combined(re, im, twiddles, len(twiddles))

    power = np.empty((frames, points + 1), np.int64)
    power[:, 0] = (re[:, 0] + im[:, 0]) ** 2
    power[:, points] = (re[:, 0] - im[:, 0]) ** 2
    half = points // 2
    power[:, half] = re[:, half] ** 2 + im[:, half] ** 2
    low = np.arange(1, half)
    high = points - np.arange(1, half)
    even_re, even_im = (re[:, low] + re[:, high]) >> 1, (im[:, low] - im[:, high]) >> 1
    # The odd samples' spectrum: -j (Z[k] - conj Z[N - k]) / 2.
    odd_re, odd_im = _rotated(im[:, low] + im[:, high], re[:, high] - re[:, low], tables.unpack[1:])
    power[:, low] = (even_re + odd_re) ** 2 + (even_im + odd_im) ** 2
    power[:, high] = (even_re - odd_re) ** 2 + (even_im - odd_im) ** 2
    return power


def _magnitudes(power: npt.NDArray[np.uint64], tables: FixedTables) -> npt.NDArray[np.uint64]:
    """Square roots with :data:`_MAGNITUDE_BITS` fraction bits; powers are below 2**60."""
    zeros = (63 - _highest_bit(power)) & ~1
    top = ((power << zeros.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
    index = np.maximum((top >> (32 - _SQRT_TABLE_BITS)) - 2 ** (_SQRT_TABLE_BITS - 2), 0)
    fraction = (top >> (16 - _SQRT_TABLE_BITS)) & 0xFFFF
    start = tables.sqrt[index]
    root = start + (((tables.sqrt[index + 1] - start) * fraction) >> 16)
    root = (root << (32 - _SQRT_BITS)) >> (zeros // 2 - _MAGNITUDE_BITS)
    return np.where(power > 0, root, 0).astype(np.uint64)


def _highest_bit(value: npt.NDArray[np.uint64]) -> Int64:
    """Position of the highest 1; 0 for 0."""
    bits = np.zeros(value.shape, np.int64)
    remaining = value.copy()
    for step in (32, 16, 8, 4, 2, 1):
        above = remaining >= np.uint64(1) << np.uint64(step)
        bits += np.where(above, step, 0)
        remaining = np.where(above, remaining >> np.uint64(step), remaining)
    return bits


def _log2(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], tables: FixedTables) -> Int64:
    """Logarithm of ``high * 2**32 + low``, 16 fraction bits; the int32 minimum for 0."""
    high = high + (low >> np.uint64(32))
    large = high >> np.uint64(32) > 0
    whole = (high << np.uint64(32)) | (low & np.uint64(0xFFFFFFFF))
    value = np.where(large, high, whole)
    bits = _highest_bit(value)
    mantissa = ((value << (63 - bits).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
    index = (mantissa >> (31 - _LOG2_TABLE_BITS)) & (2**_LOG2_TABLE_BITS - 1)
    fraction = (mantissa >> (15 - _LOG2_TABLE_BITS)) & 0xFFFF
    start = tables.log2[index]
    interpolated = start + (((tables.log2[index + 1] - start) * fraction) >> 16)
    whole_bits = (bits + np.where(large, 32, 0)) << _LOG2_FRACTION_BITS
    return np.where(value > 0, whole_bits + interpolated, np.iinfo(np.int32).min)


def fixed_features_int8(config: FrontendConfig, pcm: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Features of a clip, bit-exact with a core without FPU.

    Args:
        pcm: int16 samples, shape (samples,).

    Returns:
        int8 features, shape (feature_bins, frames).

    Raises:
        ConfigError: the config has a form that the device code lacks.
        DataError: the samples are not int16, not mono, or shorter than a frame.
    """
    samples = np.asarray(pcm)
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise DataError(
            f"audio is {samples.dtype} of shape {samples.shape}: give int16 of shape (samples,)"
        )
    tables = fixed_tables(config)
    if config.frame_count(samples.size) == 0:
        raise DataError(
            f"audio has {samples.size} samples, less than one frame of {config.frame_samples}: "
            "pad it or leave it out"
        )
    power = spectral_powers(config, tables, samples.astype(np.int64)).astype(np.uint64)
    if config.power == 1:
        power = _magnitudes(power, tables)
    weights = tables.mel_weights.T.astype(np.uint64)  # (bins, mel)
    high = (power >> np.uint64(32)) @ weights
    low = (power & np.uint64(0xFFFFFFFF)) @ weights
    if config.power == 1:
        low += tables.mel_offsets
    else:
        high += tables.mel_offsets
    log2 = _log2(high, low, tables) - (tables.mel_exponents << _LOG2_FRACTION_BITS)
    values = np.maximum(log2, tables.log2_floor)  # (frames, mel)
    if config.mfcc_coefficients:
        values = (values @ tables.dct.T) >> _DCT_BITS
    steps = (values * tables.quant_gain + tables.quant_offset) >> 32
    return np.asarray(np.clip(steps, -128, 127).T, np.int8)
