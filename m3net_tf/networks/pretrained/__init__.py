# SPDX-License-Identifier: Apache-2.0
"""Trained networks that the package contains, found by name.

A folder per network, with the files of a finished run that fine-tuning needs (``recipe.yaml``,
``metrics.json``, ``model.keras``), the exported ``model.tflite`` with its metadata, and the model
card: ``card.json``, and ``card.md`` for reading. ``about.yaml`` has the card's words on use and
limits. ``m3net model pack`` writes such a folder from a run.
"""

from pathlib import Path
from typing import TypedDict

from m3net_tf.system.artifacts import read_json
from m3net_tf.system.errors import ModelError

FOLDER = Path(__file__).parent
CARD, CARD_TEXT = "card.json", "card.md"
#: Files that make a finished run.
RUN_FILES = ("recipe.yaml", "metrics.json", "model.keras")


class _Files(TypedDict("_Files", {"model.keras": str})):
    """SHA-256 of the packed files."""


class _Packed(TypedDict):
    """What every card has."""

    files: _Files


def pretrained_names() -> tuple[str, ...]:
    """Names of the networks, sorted."""
    return tuple(sorted(card.parent.name for card in FOLDER.glob(f"*/{CARD}")))


def packed_tflite(folder: Path, trained_sha256: str) -> Path | None:
    """The ``.tflite`` that was packed with a trained network: in its folder or in the package.

    Args:
        folder: folder of the trained network.
        trained_sha256: SHA-256 of its ``model.keras``.

    Raises:
        DataError: the folder's card is damaged.
    """
    for place in (folder, *(FOLDER / name for name in pretrained_names())):
        card = place / CARD
        if card.is_file() and read_json(card, _Packed)["files"]["model.keras"] == trained_sha256:
            return place / "model.tflite"
    return None


def find_pretrained(path: Path) -> Path:
    """Folder of the network of that name; any other path unchanged.

    A file or folder of the user comes before a network of the same name.

    Args:
        path: what a user gave as a model: a name, a file or a folder.

    Raises:
        ModelError: it is a single word, but neither a name nor an existing file or folder.
    """
    if path.exists():
        return path
    names = pretrained_names()
    if str(path) in names:
        return FOLDER / path
    if path.parent == Path() and not path.suffix:
        raise ModelError(
            f"{path} is not a file, a folder or a trained network: correct the path, or choose "
            f"from the networks {', '.join(names)}"
        )
    return path
