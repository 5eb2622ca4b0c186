# SPDX-License-Identifier: Apache-2.0
"""Clips and descriptions of data sets: metadata without sound."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from m3net_tf.audio.datasets.audio import FitRule

SPLITS = ("train", "validation", "test")
_NO_LABEL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, surrogates, line breaks


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """One file of a data set's download.

    Attributes:
        checksum: ``md5:...`` or ``sha256:...`` as published; empty if none is published: then the
            first download is trusted and its SHA-256 recorded.
        size_bytes: published size; 0 if unknown.
        unpack: False for the volumes ``.z01`` ... of a split zip, which are read together with
            their ``.zip``.
    """

    url: str
    checksum: str = ""
    size_bytes: int = 0
    unpack: bool = True

    @property
    def file_name(self) -> str:
        """Name of the file on disk: the last part of the URL without its query."""
        return self.url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One labelled sound.

    Attributes:
        clip_id: name, unique in the data set and equal on every machine.
        label: class name, one of ``DatasetInfo.labels``; the first if there are several.
        split: ``train``, ``validation`` or ``test``.
        group: speaker, recording or the like, which must not be in several splits.
        path: sound file; None if the data set synthesises the clip.
        duration_s: length of the clip; None means to the end of the file.
        synthetic: created by this package (such as silence cut from noise), not listed by the
            publisher.
        labels: all class names of a multi-label clip; empty if ``label`` is the only one.
        whole: name of the longer clip of which this one is a window; empty if it is whole.
    """

    clip_id: str
    label: str
    split: str
    group: str
    path: Path | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    gain: float = 1.0
    synthetic: bool = False
    labels: tuple[str, ...] = ()
    whole: str = ""

    def __post_init__(self) -> None:
        """Escape bytes of the name that are not UTF-8: it is printed, hashed and stored."""
        if not self.clip_id.isascii():
            name = self.clip_id.encode("utf-8", "surrogateescape")
            object.__setattr__(self, "clip_id", name.decode("utf-8", "backslashreplace"))

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The clip's class names, one or more."""
        return self.labels or (self.label,)


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set, printed with its results.

    Attributes:
        labels: class names in the order of the network's outputs. Empty in the registry if the
            data define them.
        sample_rate_hz: rate at which clips are delivered.
        clip_s: length at which clips are delivered.
        protocols: names that ``load_dataset(protocol=...)`` accepts; the first is the default.
        clips: number of clips of the complete set; 0 if not defined.
        untrained: classes that only test, such as anomalies.
        protocol: the protocol in use; it names the missing part of a partial copy.
        leaking_protocols: protocols that put a group into several splits by construction.
        fit: how a clip is fitted to ``clip_s``; see
            :func:`m3net_tf.audio.datasets.audio.fit_length`.
        resample: whether files with another rate or several channels are converted; if not, they
            are errors.
        notes: remarks to print with every figure.
        group: meaning of ``Clip.group``, in words.
        groups_known: whether ``Clip.group`` identifies related clips; if not, each clip is its own
            group, and leaks cannot be measured.
        group_guess: the pattern by which groups were guessed, with examples; empty if the user or
            the publisher gives them.
        group_exceptions: clips without a group, in words; empty if all have one.
        multi_label: whether a clip may have several labels (scored by mean average precision).
        held_out_may_share: whether validation and test may share groups, as published; training
            never shares groups with them.
        class_count: number of classes of the complete set if the data define ``labels``.
        archives: files that ``m3net data fetch`` downloads; empty for a download by hand.
        folder: folder that ``fetch`` creates; empty for the name.
        subset: name of the subset that the folder is; empty for none. See :mod:`.subset_lists`.
        subset_sha256: hash of the lines of the subset's list, without the comments.
    """

    name: str
    labels: tuple[str, ...]
    sample_rate_hz: int
    clip_s: float
    protocols: tuple[str, ...]
    licence: str
    citation: str
    url: str
    clips: int = 0
    untrained: tuple[str, ...] = ()
    protocol: str = ""
    fold: int | None = None
    folds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    leaking_protocols: tuple[str, ...] = ()
    fit: FitRule = "pad"
    resample: bool = True
    needs_folder: bool = True
    notes: tuple[str, ...] = ()
    group: str = "clip"
    groups_known: bool = True
    group_guess: str = ""
    group_exceptions: str = ""
    multi_label: bool = False
    held_out_may_share: bool = False
    class_count: int = 0
    archives: tuple[Archive, ...] = ()
    fetch_hint: str = ""
    folder: str = ""
    subset: str = ""
    subset_sha256: str = ""

    @property
    def classes(self) -> int:
        """Number of classes; 0 if only the data define it."""
        return len(self.labels) or self.class_count

    @property
    def clip_samples(self) -> int:
        """Samples of a delivered clip."""
        return round(self.clip_s * self.sample_rate_hz)

    @property
    def protocol_name(self) -> str:
        """The protocol in use, as in ``protocols``."""
        return self.protocol.split(" (")[0]

    @property
    def leaking(self) -> bool:
        """Whether the protocol in use puts a group into several splits by construction."""
        return self.protocol_name in self.leaking_protocols


DELIVERY = {
    "fit": FitRule,
    "sample_rate_hz": Annotated[int, Meta(ge=4_000, le=192_000)],
    "clip_s": Annotated[float, Meta(ge=0.01, le=3600)],
}
"""Fields of :class:`DatasetInfo` that an option of the same name may change, with their values."""


def counted_copy(info: DatasetInfo, clips: int, total: int, part: str = "") -> DatasetInfo:
    """The description of a copy; the name of its protocol states whether clips are missing.

    Args:
        part: what an incomplete copy has, such as ``3 of 24 actors``; default: its clips.
    """
    if clips == total:
        return info
    count = f"{clips} of {total} clips"
    note = f"partial copy: {part}, {count}" if part else f"partial copy: {count}"
    protocol = f"{info.protocol} ({part or count})"
    return dataclasses.replace(info, protocol=protocol, notes=(*info.notes, note))


def is_label(text: str) -> bool:
    """Whether a text can be a class name: one line of printable characters."""
    return bool(text) and not any(
        unicodedata.category(character) in _NO_LABEL for character in text
    )
