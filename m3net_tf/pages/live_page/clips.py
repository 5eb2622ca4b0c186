# SPDX-License-Identifier: Apache-2.0
"""Sounds that can be labelled: near misses, detections, and recordings of the browser."""

import base64
import dataclasses
import datetime
import math
from collections import OrderedDict
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import from_pcm16, wav_bytes
from m3net_tf.audio.datasets.captured import CapturedClips
from m3net_tf.boards.device.messages import Message
from m3net_tf.boards.device.monitor import OpenStream
from m3net_tf.system.errors import ConfigError

Pcm = npt.NDArray[np.int16]

NO_EVENT = "false_alarm"
"""Label of a sound that is not one of the classes."""

_KEPT = 100  # clips without a label; the oldest give way
_RECENT_S = 20.0
_STEP_S = 0.1  # clips are a whole number of these long


class RecentSound:
    """The newest sound of a stream, by the number of its samples since the stream's start."""

    def __init__(self, most_samples: int) -> None:
        self._most = most_samples
        self._start = 0
        self._samples = np.zeros(0, np.int16)

    def add(self, start: int, samples: Pcm) -> None:
        """Add samples from number ``start`` on; if some are missing, drop those before."""
        if start != self._start + len(self._samples):
            self._start, self._samples = start, np.zeros(0, np.int16)
        joined = np.concatenate([self._samples, samples])
        surplus = max(0, len(joined) - self._most)
        self._start += surplus
        self._samples = joined[surplus:]

    def cut(self, start: int, end: int) -> Pcm | None:
        """Samples from ``start`` to ``end``; None if not all are there."""
        low, high = start - self._start, end - self._start
        return self._samples[low:high].copy() if 0 <= low < high <= len(self._samples) else None


class SoundFacts(TypedDict):
    """What a page shows of a sound.

    Attributes:
        kind: ``near_miss``, ``event`` or ``microphone``.
        time_s: time of its end in the stream.
    """

    kind: str
    detected: str | None
    time_s: float
    words: str


@dataclasses.dataclass
class _Sound:
    """A sound that can be labelled.

    Attributes:
        samples: int16, shape (samples,).
        facts: what a page shows of it.
        provenance: for :meth:`CapturedClips.add`, without the reason.
        path: its file, once it has a label.
    """

    samples: Pcm
    facts: SoundFacts
    provenance: dict[str, str | float]
    label: str | None = None
    path: Path | None = None


class Captures:
    """Sounds that pages can play and label.

    Args:
        stream: the board's stream, with its sound if there is any.
    """

    def __init__(self, folder: Path, stream: OpenStream) -> None:
        info, self._stream = stream.view.info, stream
        self.folder = folder
        self._labels = (*info.labels, NO_EVENT)
        self._rate_hz = info.frontend["rate_hz"]
        self._samples = round(
            math.ceil(round(stream.view.window_s / _STEP_S, 6)) * _STEP_S * self._rate_hz
        )
        self._recent = RecentSound(round(_RECENT_S * self._rate_hz))
        if stream.played is not None:
            self._recent = RecentSound(len(stream.played))
            self._recent.add(0, stream.played)
        self._clips = CapturedClips(folder)
        self._port = stream.device.port.name
        self._recording = f"{self._port} {_now()}"
        self._model = info.model.get("sha256", "")
        self._sounds: OrderedDict[int, _Sound] = OrderedDict()
        self._number = 0

    def facts(self) -> dict[str, object]:
        """What a page needs to start."""
        return {
            "folder": str(self.folder),
            "no_event": NO_EVENT,
            "samples": self._samples,
            "most": _KEPT,
            "board_sound": self._stream.audio or self._stream.played is not None,
            "clips": len(self._clips),
            "sounds": [self._shown(number) for number in self._sounds],
        }

    def feed(self, message: Message) -> None:
        """Take a line of the stream; only its audio matters."""
        if message.word == "audio":
            samples = np.frombuffer(message.data, "<i2").astype(np.int16)
            self._recent.add(message.number("offset"), samples)

    def keep(
        self, kind: str, column: int, detected: str, score: float, threshold: float, words: str
    ) -> dict[str, object] | None:
        """Keep the sound of the window that ends with a column.

        Args:
            kind: ``near_miss`` or ``event``.
            score: its smoothed score, 0 to 1.
            threshold: its threshold, same unit.

        Returns:
            The message for pages; None if not all of the sound has arrived.
        """
        time_s = self._stream.view.time_of(column)
        end = round(time_s * self._rate_hz)
        samples = self._recent.cut(max(0, end - self._samples), end)
        if samples is None:
            return None
        facts: SoundFacts = {"kind": kind, "detected": detected, "time_s": time_s, "words": words}
        provenance = self._provenance(self._port)
        provenance |= {"detected": detected, "score": score, "threshold": threshold}
        return self._add(_Sound(samples, facts, provenance))

    def take(self, data: bytes) -> dict[str, object]:
        """Keep a recording of the browser's microphone, at the board's rate.

        Args:
            data: little-endian int16 samples.

        Returns:
            The message for pages.

        Raises:
            ConfigError: it has another length than a clip.
        """
        if len(data) != 2 * self._samples:
            raise ConfigError(f"a recording has {self._samples} samples of 16 bits")
        facts: SoundFacts = {
            "kind": "microphone",
            "detected": None,
            "time_s": self._stream.view.audio_s,
            "words": "recorded with the browser's microphone",
        }
        samples = np.frombuffer(data, "<i2").astype(np.int16)
        return self._add(_Sound(samples, facts, self._provenance("browser")))

    def wav(self, number: int) -> dict[str, object]:
        """A sound as a WAV file in base64.

        Returns:
            The message for a page.

        Raises:
            ConfigError: there is no such sound.
        """
        wav = wav_bytes(self._sound(number).samples, self._rate_hz)
        return {"type": "wav", "clip": number, "wav": base64.b64encode(wav).decode()}

    def label(self, number: int, label: str) -> dict[str, object]:
        """Save a sound under a label, in place of an earlier one.

        Returns:
            The message for pages.

        Raises:
            ConfigError: there is no such sound, or no such class.
            DataError: the table of the clips is damaged.
            OSError: the file cannot be written.
        """
        sound = self._sound(number)
        if label not in self._labels:
            raise ConfigError(f"label {label!r}: choose one of {', '.join(self._labels)}")
        reason = {"near_miss": "near_miss", "event": "false_alarm"}.get(sound.facts["kind"], "")
        if sound.facts["kind"] == "event" and label == sound.facts["detected"]:
            reason = ""
        if sound.path is not None:
            self._clips.remove(sound.path)
            sound.path = sound.label = None  # if it cannot be written again
        sound.path = self._clips.add(
            from_pcm16(sound.samples), self._rate_hz, label, {**sound.provenance, "reason": reason}
        )
        sound.label = label
        return {**self._shown(number), "clips": len(self._clips)}

    def discard(self, number: int) -> dict[str, object]:
        """Forget a sound, and delete its file if it has one.

        Returns:
            The message for pages.

        Raises:
            ConfigError: there is no such sound.
            DataError: the table of the clips is damaged.
            OSError: the file cannot be deleted.
        """
        sound = self._sound(number)
        if sound.path is not None:
            self._clips.remove(sound.path)
        del self._sounds[number]
        return {"type": "discarded", "clip": number, "clips": len(self._clips)}

    def _provenance(self, source: str) -> dict[str, str | float]:
        recording = self._recording if source == self._port else f"{source} {_now()}"
        facts = {"time_utc": _now(), "source": source, "recording": recording}
        return {**facts, "model_sha256": self._model}

    def _shown(self, number: int) -> dict[str, object]:
        sound = self._sounds[number]
        return {"type": "sound", "clip": number, **sound.facts, "label": sound.label}

    def _add(self, sound: _Sound) -> dict[str, object]:
        self._number += 1
        self._sounds[self._number] = sound
        while len(self._sounds) > _KEPT:
            self._sounds.popitem(last=False)
        return self._shown(self._number)

    def _sound(self, number: int) -> _Sound:
        sound = self._sounds.get(number)
        if sound is None:
            raise ConfigError(f"sound {number} is no longer kept: choose a newer one")
        return sound


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
