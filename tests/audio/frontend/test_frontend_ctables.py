# SPDX-License-Identifier: Apache-2.0
"""C tables are refused for what the device lacks; tests/firmware/host compiles the others."""

from pathlib import Path

import pytest

from m3net_tf.audio.frontend import (
    FrontendConfig,
    write_c_tables,
)
from m3net_tf.system.errors import ConfigError


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FrontendConfig(kind="spectrogram"), r"frontend\.kind is 'spectrogram': .* needs 'mel'"),
        (FrontendConfig(kind="waveform", level_db=-20.0), r"frontend\.level_db is -20\.0: .* None"),
        (FrontendConfig(kind="waveform"), r"hop_samples is 320,.* 49 samples .* hop_samples 49 or"),
        (FrontendConfig(level_db=-20.0), r"frontend\.level_db is -20\.0: .* needs None"),
        (FrontendConfig(remove_mean=True), r"frontend\.remove_mean is True: .* needs False"),
        (FrontendConfig(preemphasis=0.97), r"frontend\.preemphasis is 0\.97: .* needs 0\.0"),
        (
            FrontendConfig(log_offset=1e9),
            r"log_offset is 1000000000\.0: .* needs at most 1\.34e\+08",
        ),
        (FrontendConfig(log="db", clip_range_db=80.0), r"the firmware needs"),
        (FrontendConfig(centred=True), r"frontend\.centred is True: the firmware needs False"),
        (FrontendConfig(log="db"), r"frontend\.log is 'db': the firmware needs 'ln'"),
        (FrontendConfig(log="none"), r"frontend\.log is 'none': the firmware needs 'ln'"),
        (FrontendConfig(fft_samples=8192), "fft_samples is 8192: the firmware needs 32 to 4096"),
    ],
)
def test_a_form_that_the_device_lacks(config, message, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        write_c_tables(config, tmp_path, frames=49)
    assert not list(tmp_path.iterdir())
