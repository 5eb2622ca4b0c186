# SPDX-License-Identifier: Apache-2.0
"""The filter from the bits of a PDM microphone to 16-bit samples, and its C table.

``firmware/drivers/pdm.c`` decimates by 64: a CIC filter of order 5 by 16, then the FIR filter
designed here by 4. The FIR filter passes the band that the samples can represent, stops the
frequencies that would alias into it, and compensates for the CIC filter's droop.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.system.artifacts import write_text
from m3net_tf.system.csource import array, blocks, float_literal, notice

CIC_ORDER = 5
CIC_FACTOR = 16
FIR_FACTOR = 4

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PdmFilter:
    """Settings of the filter.

    Attributes:
        sample_rate_hz: rate of the samples; the other rates are multiples of it.
        pass_hz: end of the pass band.
        stop_hz: start of the stop band; what is below it aliases only to above ``pass_hz``.
        stop_weight: weight of errors in the stop band; in the pass band it is 1.
        taps: length of the FIR filter, odd.
        dc_hz: corner frequency of the DC blocker.
    """

    sample_rate_hz: int = 16_000
    pass_hz: float = 7000.0
    stop_hz: float = 9000.0
    stop_weight: float = 30.0
    taps: int = 161
    dc_hz: float = 20.0

    @property
    def fir_rate_hz(self) -> int:
        """Rate of the FIR filter's input."""
        return self.sample_rate_hz * FIR_FACTOR

    @property
    def dc_pole(self) -> float:
        """Pole of the DC blocker, y[n] = x[n] - x[n-1] + pole * y[n-1]."""
        return 1.0 - 2.0 * np.pi * self.dc_hz / self.sample_rate_hz

    def cic_gain(self, frequency_hz: Values) -> Values:
        """Magnitude of the CIC, 1 at zero frequency."""
        turns = np.maximum(frequency_hz, 1e-9) / (self.fir_rate_hz * CIC_FACTOR)
        gain = np.sin(np.pi * CIC_FACTOR * turns) / (CIC_FACTOR * np.sin(np.pi * turns))
        magnitude: Values = np.abs(gain) ** CIC_ORDER
        return magnitude

    def fir(self) -> npt.NDArray[np.float32]:
        """Taps as float32, shape (taps,), by least squares over pass and stop band.

        Their sum, the gain at zero frequency, is 1.
        """
        from scipy import signal  # takes half a second to import

        edges_hz = np.linspace(0.0, self.pass_hz, 33)
        levels = 1.0 / self.cic_gain(edges_hz)
        bands_hz = [*np.repeat(edges_hz, 2)[1:-1], self.stop_hz, self.fir_rate_hz / 2]
        gains = [*np.repeat(levels, 2)[1:-1], 0.0, 0.0]
        weights = [1.0] * (len(edges_hz) - 1) + [self.stop_weight]
        taps = signal.firls(self.taps, bands_hz, gains, weight=weights, fs=self.fir_rate_hz)
        return np.asarray(taps / taps.sum(), np.float32)


def write_pdm_filter(folder: Path, settings: PdmFilter | None = None) -> Path:
    """Write ``pdm_filter.c``, the table of ``firmware/drivers/pdm.h``; return its path.

    The same settings give the same bytes.
    """
    settings = settings or PdmFilter()
    taps = settings.fir()
    check = (
        f"_Static_assert(M3NET_PDM_CIC_ORDER == {CIC_ORDER} && "
        f"M3NET_PDM_CIC_FACTOR == {CIC_FACTOR} && M3NET_PDM_FIR_FACTOR == {FIR_FACTOR},\n"
        '               "the filter was designed for another CIC");'
    )
    tables = (
        f"{array('static const float taps', map(float_literal, taps))}\n"
        "const m3net_pdm_filter m3net_pdm_default_filter = {\n"
        f"    .taps = taps, .tap_count = {taps.size}, .dc_pole = {settings.dc_pole:.9g}f}};"
    )
    origin = notice("by m3net_tf.boards.builds.pdm; change that, not this file")
    path = folder / "pdm_filter.c"
    write_text(path, origin + blocks('#include "pdm.h"', check, tables))
    return path
