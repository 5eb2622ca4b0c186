# SPDX-License-Identifier: Apache-2.0
"""Hours of speech and other sounds without labels, fetched into the user's cache."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from m3net_tf.audio.datasets.clips import SPLITS, Archive
from m3net_tf.audio.datasets.fetch import fetch_archives
from m3net_tf.audio.datasets.folder import sounds_below
from m3net_tf.audio.datasets.protocols import divide_in_order
from m3net_tf.audio.datasets.unpack import stem
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.progress import Log, silent

_OPENSLR = "https://www.openslr.org/resources/"


@dataclasses.dataclass(frozen=True)
class Part:
    """A folder of recordings.

    Attributes:
        folder: its place below the folders that have the archives' names.
        shares: of the splits; they sum to 1.
        most_hours: more than these are left out, evenly.
    """

    folder: str
    shares: Mapping[str, float]
    most_hours: float


@dataclasses.dataclass(frozen=True)
class Recordings:
    """Recordings that a publisher offers.

    Attributes:
        licence: by the publisher's words, with whom to name.
        about: what they are, for the user.
    """

    archives: tuple[Archive, ...]
    parts: tuple[Part, ...]
    licence: str
    about: str


# A test of seven hours without a false accept shows a rate below one in two hours (95 %).
_HELD_OUT = {"validation": 0.3, "test": 0.7}
_ALL_SPLITS = {"train": 0.5, "validation": 0.2, "test": 0.3}


def _librispeech(part: str, sha256: str) -> Archive:
    return Archive(f"{_OPENSLR}12/{part}.tar.gz", f"sha256:{sha256}")


RECORDINGS = {
    "librispeech": Recordings(
        archives=(
            _librispeech(
                "dev-other", "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"
            ),
            _librispeech(
                "test-clean", "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"
            ),
            _librispeech(
                "test-other", "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"
            ),
        ),
        # No speaker is in two of them.
        parts=(
            Part("dev-other/LibriSpeech/dev-other", {"train": 1.0}, 6.0),
            Part("test-clean/LibriSpeech/test-clean", _HELD_OUT, 6.0),
            Part("test-other/LibriSpeech/test-other", _HELD_OUT, 6.0),
        ),
        licence="CC BY 4.0, LibriSpeech by V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "
        "openslr.org/12",
        about="16 hours of read English of 106 speakers",
    ),
    "musan": Recordings(
        archives=(Archive(f"{_OPENSLR}17/musan.tar.gz", "md5:0c472d4fc0c5141eca47ad1ffeb2a7df"),),
        parts=(
            Part("musan/musan/noise", _ALL_SPLITS, 4.0),
            Part("musan/musan/music", _ALL_SPLITS, 2.0),
            Part("musan/musan/speech", _ALL_SPLITS, 2.0),
        ),
        licence="CC BY 4.0, MUSAN by D. Snyder, G. Chen and D. Povey, openslr.org/17",
        about="noise, music, and speech in twelve languages, of which m3net wake takes 8 hours",
    ),
}


def fetch_recordings(
    name: str, *, url: str | None = None, log: Log = silent, pause_s: float = 1.0
) -> Path:
    """Download and unpack recordings into the user's cache, unless they are there.

    Args:
        name: one of :data:`RECORDINGS`.
        url: a mirror; see :func:`.fetch.fetch`.
        pause_s: seconds before the first retry.

    Returns:
        The folder of the recordings.

    Raises:
        ConfigError: the mirror is one file, but there are several archives.
        DataError: server or disk fail, the checksum is wrong, or an archive is hostile.
        InUseError: another fetch is running.
    """
    archives = RECORDINGS[name].archives
    if url and not url.endswith("/") and len(archives) > 1:
        raise ConfigError(
            f"--url {url} is one file, but {name} has {len(archives)} archives: "
            "give the folder that contains them, ending in /"
        )
    for archive in archives:
        # In a folder of its own, because several contain a folder of the same name.
        folder = _place(name) / stem(archive.file_name)
        fetch_archives((archive,), folder, url=url, log=log, pause_s=pause_s)
    return _place(name)


def fetched_recordings() -> tuple[str, ...]:
    """Names of the recordings in the user's cache that are complete."""
    return tuple(
        name
        for name, recordings in RECORDINGS.items()
        if all((_place(name) / part.folder).is_dir() for part in recordings.parts)
    )


def divided_recordings(name: str) -> dict[str, list[Path]]:
    """The sound files of fetched recordings by split.

    The files of a part are divided in the order of their names, which begin with the speaker or
    the source.

    Raises:
        DataError: a part is missing, or a file is damaged.
    """
    divided: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for part in RECORDINGS[name].parts:
        folder = _place(name) / part.folder
        if not folder.is_dir():
            raise DataError(f"{folder}: is missing: run m3net data fetch {name}")
        files = _within(sounds_below(folder), part.most_hours)
        for split, paths in divide_in_order(files, part.shares).items():
            divided[split] += paths
    return divided


def _place(name: str) -> Path:
    return cache_folder() / "recordings" / name


def _within(files: Sequence[Path], most_hours: float) -> list[Path]:
    """As many of the files as last so many hours, spread evenly."""
    try:
        hours = sum(soundfile.info(path).duration for path in files) / 3600
    except soundfile.LibsndfileError as error:
        raise DataError(f"{error}: fetch the recordings again") from None
    kept = min(1.0, most_hours / hours)
    return [path for i, path in enumerate(files) if int((i + 1) * kept) > int(i * kept)]
