# SPDX-License-Identifier: Apache-2.0
"""What lies between a mouth and the samples: the vocal tract's length, a narrow band, a codec."""

import numpy as np
import soxr

from m3net_tf.training.augmentation.reverberation import Wave

_FRAME_S, _HOP_S = 0.032, 0.008
_ENVELOPE_S = 0.002  # longest quefrency of an envelope, below the period of the highest voices
_STEEPNESS = 4  # poles of a band's edges: 24 dB an octave
_TELEPHONE_HZ = 8000
_MU = 255.0


def change_vocal_tract(audio: Wave, length: float, sample_rate_hz: int) -> Wave:
    """Move the formants as a vocal tract of another length does; pitch and tempo stay.

    The spectral envelope (a cepstrum without its high quefrencies) of each frame is stretched, and
    the frame gets the quotient of both envelopes. Jaitly and Hinton, "Vocal tract length
    perturbation", 2013, stretch the whole spectrum, which moves the pitch, too.

    Args:
        audio: waveform, shape (samples,).
        length: length relative to the speaker's own; formants move by its inverse.

    Returns:
        A waveform of the same shape and RMS level.
    """
    import librosa

    size = 1 << round(np.log2(_FRAME_S * sample_rate_hz))
    hop = round(size * _HOP_S / _FRAME_S)
    frames = librosa.stft(audio, n_fft=size, hop_length=hop)  # (bins, frames)
    cepstrum = np.fft.irfft(np.log(np.abs(frames) + 1e-6), axis=0)
    kept = max(2, round(_ENVELOPE_S * sample_rate_hz))
    cepstrum[kept : size - kept + 1] = 0.0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    source = np.minimum(np.arange(len(envelope)) * length, len(envelope) - 1)
    low = source.astype(int)
    high = np.minimum(low + 1, len(envelope) - 1)
    share = (source - low)[:, None]
    moved = (1 - share) * envelope[low] + share * envelope[high]
    changed = librosa.istft(
        frames * np.exp(moved - envelope), n_fft=size, hop_length=hop, length=audio.size
    )
    power = np.mean(changed.astype(np.float64) ** 2)
    if power > 0:
        changed = changed * np.sqrt(np.mean(audio.astype(np.float64) ** 2) / power)
    return changed.astype(np.float32)


def limit_band(audio: Wave, low_hz: float, high_hz: float, sample_rate_hz: int) -> Wave:
    """Keep the frequencies between two, as small microphones and loudspeakers do.

    The edges fall by 24 dB an octave (Butterworth's magnitude, without phase), and the RMS level
    falls with what is lost.

    Args:
        audio: waveform, shape (samples,).
        low_hz: lower edge, where 3 dB are lost.
    """
    hz = np.fft.rfftfreq(2 * audio.size, 1 / sample_rate_hz)
    edges = np.sqrt(
        (1 + (low_hz / np.maximum(hz, 1e-3)) ** (2 * _STEEPNESS))
        * (1 + (hz / high_hz) ** (2 * _STEEPNESS))
    )
    spectrum = np.fft.rfft(audio, 2 * audio.size) / edges
    return np.fft.irfft(spectrum)[: audio.size].astype(np.float32)


def through_telephone(audio: Wave, sample_rate_hz: int) -> Wave:
    """Encode as 8-bit mu-law at 8 kHz (ITU-T G.711, as its continuous curve), and decode.

    Args:
        audio: waveform in [-1, 1), shape (samples,).
        sample_rate_hz: rate of the waveform, which the result has again.
    """
    narrow = np.clip(soxr.resample(audio, sample_rate_hz, _TELEPHONE_HZ), -1.0, 1.0)
    steps = np.round(127 * np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)) / 127
    decoded = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU
    wide = soxr.resample(decoded.astype(np.float32), _TELEPHONE_HZ, sample_rate_hz)
    return np.pad(wide, (0, max(0, audio.size - wide.size)))[: audio.size].astype(np.float32)
