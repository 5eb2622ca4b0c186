# SPDX-License-Identifier: Apache-2.0
"""Candidates that cost and train nothing."""

from typing import ClassVar

from m3net_tf.boards.measure.cost import BoardCost
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.errors import ModelError
from m3net_tf.training.loop.stopping import TrainingStoppedError


def width_of(recipe):
    """Filters of the first convolution."""
    return recipe.model.arguments["sfp"][0]["filters"]


def costs_of(recipe):
    """Costs that grow with width and mel bins."""
    size = width_of(recipe) * recipe.frontend.mel_bins
    return {"instructions": 1000 * size, "arena_bytes": 10 * size, "flash_bytes": 100 * size}


def board_cost(board, figures):
    """A record of costs in which all other figures are zero."""
    nothing = {**dict.fromkeys(BoardCost.__required_keys__, 0), "sections": {}}
    return {**nothing, "board": board, **figures}


class FakeNetwork:
    """A candidate whose costs are calculated."""

    measured: ClassVar[list] = []

    def __init__(self, recipe, info):
        self.recipe = recipe
        self.work = {"size": width_of(recipe) * recipe.frontend.mel_bins}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def measure(self, board, log=None):
        if board == "none":
            raise ModelError("the board is too small")
        self.measured.append(self.recipe)
        return board_cost(board, costs_of(self.recipe))


def key_of(recipe):
    """Hash of the network: the tiny recipe has no mirror option."""
    facts = (width_of(recipe), recipe.frontend, recipe.model.arguments.get("mirror_attention"))
    return repr(facts)


def write_epochs(order, accuracies):
    """Do what a training does: a line of history for each epoch, then the hook."""
    rows = []
    for number, accuracy in enumerate(accuracies, start=1):
        rows.append({"epoch": number, "validation_accuracy": accuracy})
        lines = [f"{row['epoch']},{row['validation_accuracy']}" for row in rows]
        write_text(order.folder / "history.csv", "\n".join(["epoch,validation_accuracy", *lines]))
        try:
            order.after_epoch(rows, number == len(accuracies))
        except TrainingStoppedError:
            break
