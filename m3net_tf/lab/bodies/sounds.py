# SPDX-License-Identifier: Apache-2.0
"""Unlabelled sound: folders of recordings as patches of the length that the teacher takes.

The first folders below a given folder are its sources, such as a package or a collection. Patches
of one source resemble each other, so a source is held out as a whole, and a large one gives at most
:data:`MOST_PATCHES`.
"""

import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from m3net_tf.audio.datasets.audio import header_of, read_audio, to_pcm16
from m3net_tf.audio.datasets.files import SUFFIXES, USUAL, files_below
from m3net_tf.audio.datasets.protocols import rank
from m3net_tf.audio.frontend.store import content_hashes
from m3net_tf.system.artifacts import cache_folder, sha256_of, write_bytes
from m3net_tf.system.errors import DataError
from m3net_tf.system.progress import Log, track
from m3net_tf.system.threads import WORKERS
from m3net_tf.system.words import counted

RATE_HZ, PATCH_SAMPLES = 16_000, 15_600
MOST_PATCHES = 900
"""Of a source: a quarter of an hour."""
HELD_OUT_SHARE = 0.05
"""Of the sources, once for validation and once for test."""

_LAYOUT = 1  # incremented when the same files give other patches
_EXCERPT_S = 60.0  # of a longer recording, at a random place
_LEAST_S = 0.1
_LEAST_RATE_HZ = 11_025
_LEAST_RMS = 60.0  # of 32 768
_LEAST_SOURCES = 3

Pcm = npt.NDArray[np.int16]


@dataclasses.dataclass(frozen=True)
class Source:
    """Sounds of one origin.

    Attributes:
        patches: int16 samples at 16 kHz, shape (patches, 15 600); they may lie in a mapped file.
        sha256: hash of what the patches were made from.
    """

    name: str
    patches: Pcm
    sha256: str


@dataclasses.dataclass(frozen=True)
class Sources:
    """All sources by the split that they belong to: ``train``, ``validation`` and ``test``."""

    splits: Mapping[str, tuple[Source, ...]]


def read_sources(folders: Sequence[Path], seed: int, log: Log) -> Sources:
    """Cut the recordings of folders into patches, which are kept in the cache.

    Files that cannot be decoded are left out, and the log says how many.

    Args:
        folders: folders whose subfolders are sources; sounds outside subfolders are a source, too.
        seed: chooses excerpts, patches and the sources that are held out.

    Raises:
        DataError: a folder is missing, or there are fewer than three sources with sound.
    """
    files = _files_by_source(folders)
    sources = []
    with track(log, "sounds", len(files), "folders") as task:
        for name, paths in files.items():
            source = _source(name, paths, seed, log)
            if len(source.patches):
                sources.append(source)
            task.advance()
    if len(sources) < _LEAST_SOURCES:
        raise DataError(
            f"{', '.join(map(str, folders))}: {counted(len(sources), 'folder')} with sound, but "
            f"{_LEAST_SOURCES} are needed to hold some out: name folders with more subfolders of "
            f"{USUAL}"
        )
    return Sources(_split(sources, seed))


def _files_by_source(folders: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Sound files by source and by their names in it; both are sorted."""
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: is not a folder; correct --sounds")
        for path in files_below(folder, SUFFIXES):
            parts = path.relative_to(folder).parts
            source = parts[0] if len(parts) > 1 else folder.resolve().name
            found.setdefault(source, {})["/".join(parts)] = path
    return {name: dict(sorted(found[name].items())) for name in sorted(found)}


def _split(sources: Sequence[Source], seed: int) -> dict[str, tuple[Source, ...]]:
    ordered = sorted(sources, key=lambda source: rank((seed, source.name)))
    count = max(1, math.floor(HELD_OUT_SHARE * len(ordered)))
    parts = {
        "test": ordered[:count],
        "validation": ordered[count : 2 * count],
        "train": ordered[2 * count :],
    }
    return {
        split: tuple(sorted(part, key=lambda source: source.name)) for split, part in parts.items()
    }


def _source(name: str, files: Mapping[str, Path], seed: int, log: Log) -> Source:
    hashes = content_hashes(files.values(), WORKERS)
    unique = {hashes[path]: path for path in reversed([*files.values()])}
    sha256 = sha256_of(f"{_LAYOUT} {seed} {sorted(unique)}".encode())

    def make() -> Pcm:
        rng = np.random.default_rng(int(sha256[:16], 16))
        return _patches([unique[key] for key in sorted(unique)], name, rng, log)

    return Source(name, kept_array("patches", sha256, make), sha256)


def kept_array(
    kind: str, sha256: str, make: Callable[[], npt.NDArray[np.int16]]
) -> npt.NDArray[np.int16]:
    """An array of the cache, mapped into memory; it is made where it is missing or damaged.

    Args:
        kind: folder of the cache.
        sha256: hash of what the array depends on.
    """
    path = cache_folder() / kind / f"{sha256[:32]}.npy"
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError):  # not made yet, or damaged
        pass
    array = make()
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())
    return array


def _patches(paths: Sequence[Path], name: str, rng: np.random.Generator, log: Log) -> Pcm:
    """At most :data:`MOST_PATCHES` patches with sound of some files in random order."""
    parts: list[Pcm] = []
    found = broken = 0
    for index in rng.permutation(len(paths)):
        try:
            part = _patches_of_file(paths[index], rng)
        except (DataError, RuntimeError, soundfile.LibsndfileError):
            broken += 1
            continue
        parts.append(part)
        found += len(part)
        if found >= MOST_PATCHES:
            break
    if broken:
        log(f"{name}: {counted(broken, 'file')} left out, which cannot be decoded")
    patches = np.concatenate(parts or [np.zeros((0, PATCH_SAMPLES), np.int16)])
    return patches[:MOST_PATCHES]


def _patches_of_file(path: Path, rng: np.random.Generator) -> Pcm:
    header = header_of(path)
    if header.samplerate < _LEAST_RATE_HZ or header.duration < _LEAST_S:
        return np.zeros((0, PATCH_SAMPLES), np.int16)
    start_s = 0.0
    duration_s = None
    if header.duration > _EXCERPT_S:
        start_s = rng.uniform(0.0, header.duration - _EXCERPT_S - 1.0 / header.samplerate)
        duration_s = _EXCERPT_S
    audio = read_audio(path, sample_rate_hz=RATE_HZ, start_s=start_s, duration_s=duration_s)
    pcm = to_pcm16(audio)
    if len(pcm) < PATCH_SAMPLES:  # a short sound is somewhere in silence
        before = int(rng.integers(0, PATCH_SAMPLES - len(pcm) + 1))
        pcm = np.pad(pcm, (before, PATCH_SAMPLES - len(pcm) - before))
    count = len(pcm) // PATCH_SAMPLES
    patches = pcm[: count * PATCH_SAMPLES].reshape(count, PATCH_SAMPLES)
    level = np.sqrt(np.mean(patches.astype(np.float32) ** 2, axis=1))
    return np.asarray(patches[level > _LEAST_RMS])
