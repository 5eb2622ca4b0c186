# SPDX-License-Identifier: Apache-2.0
"""Files that a power cut left unfinished, odd headers, and files much longer than a clip."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import riff
from m3net_tf.audio.datasets.audio import audio_chunks, header_of, read_audio, to_pcm16
from m3net_tf.audio.datasets.checking import check
from m3net_tf.runtime.sound import pcm_chunks
from m3net_tf.system.errors import DataError

RATE_HZ = 16_000
PCM = np.random.default_rng(0).integers(-9000, 9000, 4001).astype("<i2")
FORMAT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
ODD = struct.pack("<4sI7s", b"LIST", 7, b"INFOabc")
LARGE = 0xFFFFFFFF


def wave(*chunks: bytes, form: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body) if size is None else size) + body


def data(promised: int = 2 * PCM.size, pcm: np.ndarray = PCM) -> bytes:
    return struct.pack("<4sI", b"data", promised) + pcm.tobytes()


def ds64(size: int = 2 * PCM.size) -> bytes:
    return struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        wave(FORMAT, data(0)),
        wave(FORMAT, data(0), size=0),
        wave(FORMAT, data(LARGE), size=LARGE),
        wave(FORMAT, data(0x7FFFF024)),
        wave(ODD, FORMAT, data()),  # without the pad byte
        wave(FORMAT, ODD, b"\0", data()),
        *(wave(ds64(), FORMAT, data(LARGE), form=form, size=LARGE) for form in (b"RF64", b"BW64")),
        wave(ds64(0), FORMAT, data(LARGE), form=b"BW64", size=LARGE),
        wave(FORMAT, data(LARGE), form=b"RF64", size=LARGE),
    ],
)
def test_samples_behind_an_unfinished_or_odd_header(content: bytes, tmp_path: Path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for largest in (riff.LARGEST_RIFF, 0):  # 0: as with files of more than 4 GB
        monkeypatch.setattr(riff, "LARGEST_RIFF", largest)
        np.testing.assert_array_equal(to_pcm16(read_audio(path, sample_rate_hz=RATE_HZ)), PCM)
        assert header_of(path).frames == PCM.size
    excerpt = read_audio(path, sample_rate_hz=RATE_HZ, start_s=0.1, duration_s=0.1)
    np.testing.assert_array_equal(to_pcm16(excerpt), PCM[1600:3200])


@pytest.mark.parametrize("promised", [0, LARGE])
def test_the_last_sample_may_be_cut_in_two(promised: int, tmp_path: Path):
    stereo = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE_HZ, 4 * RATE_HZ, 4, 16)
    path = tmp_path / "a.wav"
    path.write_bytes(wave(stereo, data(promised, PCM[:-1])) + b"x")
    assert len(read_audio(path, sample_rate_hz=RATE_HZ)) == PCM.size // 2


def test_no_samples_and_missing_samples_are_named(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(wave(FORMAT, data(0, PCM[:0]), ODD))
    with refuses(DataError, path, "no samples"):
        read_audio(path, sample_rate_hz=RATE_HZ)
    path.write_bytes(wave(ds64(), FORMAT, data(LARGE), form=b"BW64", size=LARGE)[:-100])
    with refuses(DataError, path, "is truncated", "8002 bytes, 7902 follow"):
        read_audio(path, sample_rate_hz=RATE_HZ)


def test_an_unfinished_file_in_a_pipe_and_in_a_data_set(tmp_path: Path):
    for label, number in itertools.product("ab", range(4)):
        path = tmp_path / label / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wave(FORMAT, data(0)))
    assert not check("folder", tmp_path, decode=True).broken
    script = (
        "import sys; from pathlib import Path; from m3net_tf.runtime.sound import pcm_chunks;"
        f"print(sum(map(len, pcm_chunks(Path('-'), {RATE_HZ}))))"
    )
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", script], stdin=file, capture_output=True)
    assert int(done.stdout) == PCM.size == sum(map(len, pcm_chunks(path, RATE_HZ)))


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_part_is_the_same_as_of_the_whole(rate_hz: int, channels: int, tmp_path: Path):
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (20 * rate_hz, channels))
    soundfile.write(path, noise, rate_hz)
    whole = np.concatenate([*audio_chunks(path, sample_rate_hz=RATE_HZ)])
    np.testing.assert_array_equal(whole, read_audio(path, sample_rate_hz=RATE_HZ))
    for most in (1, 1000, 100_000, len(whole), len(whole) + 1):
        part = read_audio(path, sample_rate_hz=RATE_HZ, most=most)
        np.testing.assert_array_equal(part, whole[:most])


def test_a_long_file_needs_little_memory(tmp_path: Path):
    """In a process of its own, whose peak comes from reading."""
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype="PCM_16") as file:
        for _ in range(30):
            file.write(np.zeros(60 * RATE_HZ, np.int16))
        file.write(np.full(RATE_HZ, 9000, np.int16))
    script = f"""if True:
        import dataclasses, resource
        from pathlib import Path
        from m3net_tf.audio.datasets.clips import Clip, DatasetInfo
        from m3net_tf.audio.datasets.dataset import AudioDataset
        from m3net_tf.audio.datasets.windows import in_windows, silent_files
        path = Path({str(path)!r})
        clip = Clip("a", "a", "train", "a", path)
        info = DatasetInfo("x", ("a",), {RATE_HZ}, 1.0, ("p",), "", "", "", protocol="p")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert silent_files([path]) == set()
        assert [c.start_s for c in in_windows([clip], 1.0)] == [1799.5, 1800.0]
        for rate_hz in ({RATE_HZ}, 8000):
            dataset = AudioDataset(dataclasses.replace(info, sample_rate_hz=rate_hz), (clip,))
            assert len(dataset.load(clip)) == rate_hz and not dataset.broken()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60  # MB; the samples alone are 115 MB
