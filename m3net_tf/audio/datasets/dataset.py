# SPDX-License-Identifier: Apache-2.0
"""A data set: its clips under a protocol, their sound, and the checks of their splits."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import Audio, audio_chunks, fit_length, from_pcm16, to_pcm16
from m3net_tf.audio.datasets.clips import SPLITS, Clip, DatasetInfo, is_label
from m3net_tf.audio.labels import is_silence
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.words import counted

LONGEST_S = 600.0
"""Most of a clip that is read at once, unless ``clip_s`` is longer; windows take all of it."""
READERS = 4  # threads that decode files; libsndfile releases Python's global lock


@dataclasses.dataclass(frozen=True)
class AudioDataset:
    """Clips with their splits; sound is read or synthesised on demand.

    Attributes:
        synthesise: computes the float samples of a clip without a file.
        noise: background noise that training may mix in (never noise of the test split).
        silent: names of listed clips that are left out because they are digital zero.
    """

    info: DatasetInfo
    clips: tuple[Clip, ...]
    synthesise: Callable[[Clip], Audio] | None = None
    noise: tuple[Clip, ...] = ()
    silent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse repeated clips and unknown labels or splits."""
        name = self.info.name
        labels = set(self.info.labels)
        for label in self.info.labels:
            if not is_label(label):
                raise DataError(
                    f"{name}: class {label!r} has a line break or control character, or is not "
                    "UTF-8; rename its folder, or correct the table"
                )
        repeated = [
            clip_id for clip_id, n in Counter(c.clip_id for c in self.clips).items() if n > 1
        ]
        if repeated:
            raise DataError(f"{name}: clip {repeated[0]} is listed twice; correct the clip list")
        for clip in self.clips:
            unknown = [label for label in clip.all_labels if label not in labels]
            if unknown or clip.split not in SPLITS:
                raise DataError(
                    f"{name}: clip {clip.clip_id} has the unknown label or split "
                    f"{(unknown or [clip.label])[0]!r}/{clip.split!r}; correct the clip list"
                )

    def split(self, name: str) -> tuple[Clip, ...]:
        """The clips of ``train``, ``validation`` or ``test``."""
        if name not in SPLITS:
            raise ConfigError(f"split {name!r} is unknown; choose from {', '.join(SPLITS)}")
        return tuple(clip for clip in self.clips if clip.split == name)

    def label_ids(self, clips: Iterable[Clip]) -> npt.NDArray[np.int32]:
        """Class indices of clips, shape (clips,).

        Raises:
            ConfigError: a clip may have several labels; use :meth:`label_matrix`.
        """
        if self.info.multi_label:
            raise ConfigError(
                f"data set {self.info.name} has several labels per clip, so there is no single "
                "class index; choose a single-label data set or use label_matrix"
            )
        index = {label: i for i, label in enumerate(self.info.labels)}
        return np.array([index[clip.label] for clip in clips], np.int32)

    def label_matrix(self, clips: Iterable[Clip]) -> npt.NDArray[np.float32]:
        """1 if a clip has a class, else 0, shape (clips, classes); for any data set."""
        clips = tuple(clips)
        index = {label: i for i, label in enumerate(self.info.labels)}
        matrix = np.zeros((len(clips), len(index)), np.float32)
        for row, clip in zip(matrix, clips, strict=True):
            row[[index[label] for label in clip.all_labels]] = 1.0
        return matrix

    def read(self, clip: Clip) -> Audio:
        """Samples of a clip at ``info.sample_rate_hz`` in their original length, (samples,).

        Of a clip that is longer than ten minutes and than ``info.clip_s``, only that much is read.
        """
        longest = round(LONGEST_S * self.info.sample_rate_hz)
        return self._read(clip, max(longest, self.info.clip_samples))

    def load(self, clip: Clip) -> Audio:
        """Samples of a clip, float32 of shape (info.clip_samples,)."""
        samples, rule = self.info.clip_samples, self.info.fit
        sound = self.read(clip) if rule == "crop" else self._read(clip, samples)
        return fit_length(sound, samples, rule)

    def _read(self, clip: Clip, most: int) -> Audio:
        """At most so many samples of a clip."""
        if clip.path is None:
            if self.synthesise is None:
                raise DataError(f"{self.info.name}: clip {clip.clip_id} has no file; fetch it")
            audio = self.synthesise(clip)
        else:
            audio = np.concatenate([*self._chunks(clip, most)])
        return audio if clip.gain == 1.0 else from_pcm16(to_pcm16(audio * clip.gain))

    def _chunks(self, clip: Clip, most: int | None = None) -> Iterator[Audio]:
        """Samples of a clip's file in chunks."""
        assert clip.path is not None
        try:
            yield from audio_chunks(
                clip.path,
                sample_rate_hz=self.info.sample_rate_hz,
                resample=self.info.resample,
                mix=self.info.resample,
                start_s=clip.start_s,
                duration_s=clip.duration_s,
                most=most,
            )
        except DataError as error:
            remedy = ", or fetch the data again" if self.info.archives else ""
            raise DataError(f"{error}{remedy}") from error

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips per split and class; a clip counts in each of its classes."""
        counts = Counter((clip.split, label) for clip in self.clips for label in clip.all_labels)
        return {s: {label: counts[s, label] for label in self.info.labels} for s in SPLITS}

    def clip_list_hash(self) -> dict[str, str]:
        """SHA-256 of each split's sorted ``clip_id TAB labels`` lines."""
        return {
            name: hashlib.sha256(
                "".join(
                    sorted(f"{c.clip_id}\t{','.join(c.all_labels)}\n" for c in self.split(name))
                ).encode()
            ).hexdigest()
            for name in SPLITS
        }

    def clip_list_digest(self) -> str:
        """SHA-256 of the three splits' clip lists."""
        lists = "".join(f"{name} {value}\n" for name, value in self.clip_list_hash().items())
        return hashlib.sha256(lists.encode()).hexdigest()

    def shared_groups(self) -> dict[str, tuple[str, ...]]:
        """Groups that are in more splits than allowed, with those splits."""
        where: dict[str, set[str]] = {}
        for clip in self.clips:
            where.setdefault(clip.group, set()).add(clip.split)
        allowed = {"validation", "test"} if self.info.held_out_may_share else set()
        return {
            g: tuple(s for s in SPLITS if s in w)
            for g, w in where.items()
            if len(w) > 1 and w != allowed
        }

    def leak(self) -> float:
        """Share of the test clips whose group is also in training (0 without leaks)."""
        trained = {clip.group for clip in self.clips if clip.split == "train"}
        test = self.split("test")
        return sum(clip.group in trained for clip in test) / max(1, len(test))

    def check_classes(self, folder: Path | None = None) -> None:
        """Require training clips, and in a single-label data set some of each class.

        Raises:
            DataError: a class has no training clip; the message names it and the folder.
        """
        trained = {
            label for clip in self.clips if clip.split == "train" for label in clip.all_labels
        }
        if not trained:
            raise DataError(
                f"{folder or self.info.name}: has no training clip; "
                "add files, fetch the data again or choose another protocol or fold"
            )
        for label in self.info.labels:
            if label not in (*trained, *self.info.untrained) and not self.info.multi_label:
                raise DataError(
                    f"{folder or self.info.name}: class {label!r} has no training clip; "
                    "add its files, fetch the data again or choose another protocol or fold"
                )

    def check_trainable(self) -> None:
        """Require two classes or more that somebody has recorded, and clips in each split.

        Raises:
            DataError: there is only one class, or a split has no clips.
        """
        name = self.info.name
        labels = [label for label in self.info.labels if label not in self.info.untrained]
        recorded = {clip.label for clip in self.clips if clip.path}
        # Anything is told from silence that this package has made.
        sounds = [label for label in labels if label in recorded or not is_silence(label)]
        if len(sounds) < 2:
            clips = sum(clip.label == sounds[0] for clip in self.clips)
            raise DataError(
                f"{name}: there is only one class, {sounds[0]!r} ({counted(clips, 'clip')}), "
                "and nothing to tell it from: add a folder of other sounds from the same place, "
                "such as 'other', or recordings without it in _background_noise_; or report what "
                "is not like it, by m3net normal"
            )
        counts = {split: len(self.split(split)) for split in SPLITS}
        for split, count in counts.items():
            if not count:
                numbers = ", ".join(f"{n} {part}" for part, n in counts.items())
                raise DataError(
                    f"{name} has no {split} clips under protocol {self.info.protocol} ({numbers}): "
                    "choose another protocol or fold, or add clips"
                )

    def broken(self) -> dict[str, str]:
        """Decode every file and return the clips that cannot be read, with the reasons."""

        def reason(clip: Clip) -> str:
            try:
                if clip.path is None:
                    self.read(clip)
                else:
                    for _ in self._chunks(clip):
                        pass
            except DataError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(READERS) as pool:
            reasons = pool.map(reason, self.clips)
            return {c.clip_id: r for c, r in zip(self.clips, reasons, strict=True) if r}

    def without_broken(self) -> "AudioDataset":
        """The data set without unreadable clips, which its protocol and notes report."""
        broken = self.broken()
        if not broken:
            return self
        info = dataclasses.replace(
            self.info,
            protocol=f"{self.info.protocol} (without {len(broken)} broken clips)",
            notes=(*self.info.notes, *(f"skipped: {reason}" for reason in broken.values())),
        )
        clips = tuple(clip for clip in self.clips if clip.clip_id not in broken)
        return dataclasses.replace(self, info=info, clips=clips)

    def check_disjoint(self) -> None:
        """Require that no group is in several splits.

        Raises:
            DataError: the message names a shared group and its splits.
        """
        for group, splits in self.shared_groups().items():
            raise DataError(
                f"{self.info.name}: group {group} is in {' and '.join(splits)} under protocol "
                f"{self.info.protocol}; correct the split lists or choose another protocol"
            )
