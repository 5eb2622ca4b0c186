# SPDX-License-Identifier: Apache-2.0
"""PDM to samples in portable C, with sanitisers, compared with the same filter in SciPy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, SANITISERS, cmsis_dsp, compile_for_host, run_tool
from scipy import signal

from m3net_tf.boards.builds.pdm import (
    CIC_FACTOR,
    CIC_ORDER,
    FIR_FACTOR,
    PdmFilter,
    write_pdm_filter,
)
from m3net_tf.boards.builds.sources import FIRMWARE_DIR

DRIVERS = FIRMWARE_DIR / "drivers"
FILTER = PdmFilter()
FACTOR = CIC_FACTOR * FIR_FACTOR
BIT_RATE_HZ = FILTER.sample_rate_hz * FACTOR
BLOCK_BITS = 16 * FACTOR
#: Samples until the filters have settled, and the DC blocker nearly.
SETTLING = 2000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host program, with the decimating filter of the pinned CMSIS-DSP."""
    dsp = cmsis_dsp()
    folder = tmp_path_factory.mktemp("pdm")
    write_pdm_filter(folder)
    filtering = dsp / "Source" / "FilteringFunctions"
    cmsis = [
        "-D__GNUC_PYTHON__",
        *(f"-isystem{dsp / part}" for part in ("Include", "PrivateInclude")),
    ]
    objects = []
    for name in ("arm_fir_decimate_f32", "arm_fir_decimate_init_f32"):
        objects.append(folder / f"{name}.o")
        code = filtering / f"{name}.c"
        run_tool("gcc", "-O1", "-g", "-w", *SANITISERS, *cmsis, "-c", code, "-o", objects[-1])
    own = [APPS / "pdm_host" / "main.c", DRIVERS / "pdm.c", DRIVERS / "ping_pong.c"]
    sources = [*own, folder / "pdm_filter.c", *objects]
    return compile_for_host(
        folder / "pdm_host", sources, (DRIVERS.parent / "core", DRIVERS), *cmsis
    )


def filtered(program: Path, bits: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """Samples that the program makes of bits, twice with a reset between; the runs are equal."""
    said = run_tool(program, "pdm", gain, data=words_of(bits))
    samples, again = np.split(np.frombuffer(said, "<i2"), 2)
    np.testing.assert_array_equal(samples, again)
    return samples


def modulate(wave: np.ndarray) -> np.ndarray:
    """Bits (0 or 1) of a sigma-delta modulator of fourth order, out-of-band gain 1.5.

    Its noise transfer function is a Butterworth high pass, by error feedback: v = sign(y),
    y = u + (NTF - 1) e, e = v - y.
    """
    for corner in np.linspace(0.005, 0.2, 400):
        numerator, denominator = signal.butter(4, corner, "highpass")
        if 1 / numerator[0] >= 1.5:
            break
    ahead = (numerator / numerator[0] - denominator)[1:]
    behind = denominator[1:]
    errors = [0.0] * 4
    shaped = [0.0] * 4
    bits = np.empty(len(wave), np.uint8)
    a0, a1, a2, a3 = ahead
    b0, b1, b2, b3 = behind
    for index, value in enumerate(wave.tolist()):
        w = a0 * errors[0] + a1 * errors[1] + a2 * errors[2] + a3 * errors[3]
        w -= b0 * shaped[0] + b1 * shaped[1] + b2 * shaped[2] + b3 * shaped[3]
        y = value + w
        bit = y >= 0.0
        bits[index] = bit
        errors = [(1.0 if bit else -1.0) - y, errors[0], errors[1], errors[2]]
        shaped = [w, shaped[0], shaped[1], shaped[2]]
    return bits


def words_of(bits: np.ndarray) -> bytes:
    """Words as a serial port receives them, the first bit in the most significant place."""
    whole = bits[: len(bits) // BLOCK_BITS * BLOCK_BITS]
    return np.packbits(whole).view(">u2").astype("<u2").tobytes()


def reference(bits: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """The same filter in double precision, straight from its definition."""
    whole = bits[: len(bits) // BLOCK_BITS * BLOCK_BITS]
    boxes = np.ones(1)
    for _ in range(CIC_ORDER):
        boxes = np.convolve(boxes, np.ones(CIC_FACTOR))
    # The first value comes after sixteen bits: decimation keeps the last of each sixteen.
    values = signal.lfilter(boxes, 1.0, 2.0 * whole - 1.0)[CIC_FACTOR - 1 :: CIC_FACTOR]
    values *= gain * 32768.0 / CIC_FACTOR**CIC_ORDER
    taps = FILTER.fir().astype(np.float64)
    outputs = signal.lfilter(taps, 1.0, values)[::FIR_FACTOR]  # CMSIS-DSP keeps the first of four
    pole = float(np.float32(FILTER.dc_pole))
    return np.clip(signal.lfilter([1.0, -1.0], [1.0, -pole], outputs), -32768, 32767)


def in_band_snr_db(samples: np.ndarray, frequency_hz: float) -> float:
    """Ratio of a sine to the rest below the pass band's edge, by a fit and a spectrum."""
    time_s = np.arange(len(samples)) / FILTER.sample_rate_hz
    turns = 2 * np.pi * frequency_hz * time_s
    basis = np.stack([np.cos(turns), np.sin(turns), np.ones_like(turns)], axis=1)
    fit = basis @ np.linalg.lstsq(basis, samples, rcond=None)[0]
    rest = (samples - fit) * np.hanning(len(samples)) * np.sqrt(8 / 3)
    spectrum = np.abs(np.fft.rfft(rest)) ** 2 / len(rest) ** 2
    band = np.fft.rfftfreq(len(rest), 1 / FILTER.sample_rate_hz) <= FILTER.pass_hz
    noise = 2 * spectrum[band].sum()
    return 10 * np.log10(np.mean((fit - fit.mean()) ** 2) / noise)


def test_response_is_level_and_stops_what_would_fold():
    frequency_hz, response = signal.freqz(FILTER.fir().astype(float), worN=4096, fs=64_000)
    whole_db = 20 * np.log10(np.abs(response) * FILTER.cic_gain(frequency_hz) + 1e-9)
    assert np.abs(whole_db[frequency_hz <= FILTER.pass_hz]).max() < 0.01
    assert whole_db[frequency_hz >= FILTER.stop_hz].max() < -75
    assert len(FILTER.fir()) % 2 == 1 and np.array_equal(FILTER.fir(), FILTER.fir()[::-1])


def test_table_is_the_same_each_time(tmp_path: Path):
    first = write_pdm_filter(tmp_path).read_bytes()
    assert write_pdm_filter(tmp_path).read_bytes() == first
    taps = first.decode().partition("taps[161] = {")[2].partition("}")[0].replace("f", "")
    np.testing.assert_array_equal(
        np.array([float(tap) for tap in taps.split(",") if tap.strip()], np.float32), FILTER.fir()
    )


@pytest.mark.parametrize("frequency_hz", [217.0, 1003.0, 6011.0])
def test_sines_keep_80_db(program: Path, frequency_hz: float):
    """Half of full scale through the fourth-order modulator."""
    count = 12_000 // 16 * 16 * FACTOR
    time_s = np.arange(count) / BIT_RATE_HZ
    bits = modulate(0.5 * np.sin(2 * np.pi * frequency_hz * time_s))
    samples = filtered(program, bits)
    assert np.abs(samples - reference(bits)).max() <= 1.0
    assert in_band_snr_db(samples[SETTLING:].astype(float), frequency_hz) >= 80.0
    # Level: half of full scale, less what the DC blocker takes off.
    level = np.sqrt(2 * np.mean(samples[SETTLING:].astype(float) ** 2)) / 16_384
    assert abs(level - 1.0) < 0.01


@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_full_scale_saturates_and_never_wraps(program: Path, gain: float):
    rng = np.random.default_rng(1)
    square = np.repeat(np.tile([1, 0], 100), BIT_RATE_HZ // 1000)  # 500 Hz from rail to rail
    noise = rng.integers(0, 2, 64 * BLOCK_BITS)
    ones = np.ones(64 * BLOCK_BITS, np.int64)
    bits = np.concatenate([square, ones, 1 - ones, noise]).astype(np.uint8)
    samples = filtered(program, bits, gain).astype(float)
    assert np.abs(samples - reference(bits, gain)).max() <= 2.0
    assert samples.max() == 32767 and samples.min() == -32768


def test_values_of_a_chips_own_cic_give_the_same(program: Path):
    bits = np.random.default_rng(2).integers(0, 2, 40 * BLOCK_BITS).astype(np.uint8)
    boxes = np.ones(1, np.int64)
    for _ in range(CIC_ORDER):
        boxes = np.convolve(boxes, np.ones(CIC_FACTOR, np.int64))
    values = np.convolve(2 * bits.astype(np.int64) - 1, boxes)[: len(bits)]
    values = values[CIC_FACTOR - 1 :: CIC_FACTOR].astype("<i4")
    from_values = np.frombuffer(run_tool(program, "values", 4.0, data=values.tobytes()), "<i2")
    np.testing.assert_array_equal(from_values, filtered(program, bits, 4.0))


def test_bad_filters_are_refused(program: Path):
    statuses = run_tool(program, "refuse").decode().split()
    assert statuses[0] == "0" and all(status != "0" for status in statuses[1:])


@pytest.mark.parametrize(("half", "step"), [(320, 16), (320, 64), (7, 16), (16, 16), (5, 1)])
def test_ping_pong_loses_and_doubles_nothing(program: Path, half: int, step: int):
    samples = np.arange(1000, dtype="<i2")
    output = run_tool(program, "ping_pong", half, step, data=samples.tobytes())
    np.testing.assert_array_equal(np.frombuffer(output, "<i2"), samples[: 1000 // half * half])


def test_byte_ring_keeps_order_and_counts_what_it_loses(program: Path):
    def ring(capacity: int, pieces: list[bytes]) -> tuple[bytes, bytes]:
        data = b"".join(len(piece).to_bytes(2, "little") + piece for piece in pieces)
        done = subprocess.run([program, "ring", str(capacity)], input=data, capture_output=True)
        return done.stdout, done.stderr.strip()

    rng = np.random.default_rng(3)
    pieces = [rng.bytes(int(rng.integers(0, 300))) for _ in range(200)]
    assert ring(400, pieces) == (b"".join(pieces), b"0")
    flood = bytes(range(256)) * 5  # 1280 bytes for a ring of 1024
    assert ring(2000, [flood, b"later"]) == (flood[:1024] + b"later", b"256")
