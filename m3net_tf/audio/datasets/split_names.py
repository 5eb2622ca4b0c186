# SPDX-License-Identifier: Apache-2.0
"""Names of folders and cells that mean training, validation, test or a fold."""

import re
from collections.abc import Iterable

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "validate"),
    "test": ("test", "testing"),
    "dev": ("dev", "devel", "development"),
    "eval": ("eval", "evaluation"),
}
_KIND = {word: kind for kind, words in _WORDS.items() for word in words}
_FILLERS = frozenset("audio clips data dataset files samples set sounds split wav wavs".split())
_FOLD = "fold"


def splits_named(names: Iterable[str]) -> dict[str, str]:
    """What each name means if all of them name splits: train, validation or test.

    Case, numbers and words such as "set" do not matter: ``Train``, ``test_set``, ``02-val``.
    ``dev`` validates beside a ``train`` and trains without one; ``eval`` tests, or validates beside
    a ``test`` if nothing else does. A validation without a test is the test: only one of the two is
    needed to measure, and training holds clips out to validate.

    Returns:
        The split of each name; empty if a name means something else, or if nothing trains.
    """
    kinds = {name: _kind(name) for name in names}
    found = set(kinds.values())
    meaning = {"train": "train", "validation": "validation", "test": "test"}
    meaning["dev"] = "validation" if "train" in found else "train"
    validates = "validation" in found or ("dev" in found and "train" in found)
    meaning["eval"] = "validation" if "test" in found and not validates else "test"
    splits = {name: meaning.get(kind, "") for name, kind in kinds.items()}
    used = set(splits.values())
    if "" in used or "train" not in used:
        return {}
    if "test" not in used:
        return {name: "train" if split == "train" else "test" for name, split in splits.items()}
    return splits


def _kind(name: str) -> str:
    """The key of :data:`_WORDS` that a name belongs to; '' for other names."""
    words = [word for word in re.findall(r"[^\W\d_]+", name.casefold()) if word not in _FILLERS]
    return _KIND.get(words[0].removesuffix("set"), "") if len(words) == 1 else ""


def fold_named(name: str) -> str:
    """The fold that a name means, as ``fold 3`` for ``Fold_03``; '' for other names."""
    match = re.search(r"(?:^|[\W_])fold[ _-]?0*([0-9]+)$", name.casefold())
    return f"{_FOLD} {match[1]}" if match else ""


def folds_named(names: Iterable[str]) -> dict[str, str]:
    """The fold of each name if all of them name folds, two or more; else empty."""
    folds = {name: fold_named(name) for name in names}
    return folds if all(folds.values()) and len(set(folds.values())) > 1 else {}


def is_fold(group: str) -> bool:
    """Whether a group of clips is a fold: the result of :func:`fold_named`."""
    return bool(group) and group == fold_named(group)
