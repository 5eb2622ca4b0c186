# SPDX-License-Identifier: Apache-2.0
"""Level and gain in C compared with Python: the same integers after every hop."""

import dataclasses
import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, compile_for_host
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3net_tf.audio.frontend import FrontendConfig, write_c_tables
from m3net_tf.audio.frontend.level import Microphone, Verdict
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.runtime import ClassSettings, DetectorConfig, write_c_header

CORE = FIRMWARE_DIR / "core"
FRONTENDS = (FrontendConfig(), FrontendConfig(sample_rate_hz=8000, hop_samples=77, mel_max_hz=3800))
GAINS = ({}, {"automatic_gain": True}, {"gain_db": 12.5}, {"gain_db": 30, "automatic_gain": True})
VERDICTS = (Verdict.OK, Verdict.QUIET, Verdict.CLIPS)


QUICK = ((0, 0), (0, 1), (1, 3))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in itertools.product(range(2), range(4))
    ],
    ids=str,
)
def driver(request, tmp_path_factory) -> tuple[FrontendConfig, DetectorConfig, Path]:
    frontend = FRONTENDS[request.param[0]]
    config = DetectorConfig(20, 40, (ClassSettings("yes"),), **GAINS[request.param[1]])
    folder = tmp_path_factory.mktemp("level")
    write_c_tables(frontend, folder, frames=20)
    write_c_header(config, folder)
    sources = (CORE / "level.c", APPS / "level_host" / "main.c")
    return frontend, config, compile_for_host(folder / "driver", sources, (CORE, folder))


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 90), st.integers(0, 96), st.sampled_from([0, 0, 40, -9000])),
        min_size=1,
        max_size=12,
    ),
    seed=st.integers(0, 999),
)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_hop_gives_the_same_integers(driver, parts, seed):
    """Parts of noise: length in hops, level in dB above one step, offset."""
    frontend, config, program = driver
    rng = np.random.default_rng(seed)
    hop = frontend.hop_samples
    sound = [
        rng.standard_normal(count * hop) * 10 ** (level_db / 20) + offset
        for count, level_db, offset in parts
    ]
    pcm = np.clip(np.round(np.concatenate(sound)), -32768, 32767).astype(np.int16)
    answer = subprocess.run([program], input=pcm.tobytes(), capture_output=True, check=True).stdout
    record = np.dtype([("pcm", "<i2", hop), ("state", "<u4", 7)])
    microphone = Microphone(frontend, config.gain)
    seconds = 0
    for row, samples in zip(np.frombuffer(answer, record), pcm.reshape(-1, hop), strict=True):
        np.testing.assert_array_equal(row["pcm"], microphone.push(samples))
        expected = (
            *(microphone.missing, microphone.gain, microphone.peak, microphone.clipped),
            *(VERDICTS.index(microphone.verdict), microphone.reading.gain_db),
            microphone.seconds - seconds,
        )
        assert tuple(row["state"]) == expected
        seconds = microphone.seconds


def test_an_export_without_a_gain_has_no_trace_of_it(tmp_path):
    """So that the generated file, and a board's saved thresholds, stay as they were."""
    config = DetectorConfig(20, 40, (ClassSettings("yes"),))
    assert "GAIN" not in write_c_header(config, tmp_path).read_text()
    assert not {"gain_db", "automatic_gain"} & set(config.to_dict())
    loud = dataclasses.replace(config, gain_db=6.0, automatic_gain=True)
    assert DetectorConfig.from_dict(loud.to_dict()) == loud
