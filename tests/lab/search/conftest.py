# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of searches: a small space, and candidates that cost and train nothing."""

import sys
from types import SimpleNamespace

import pytest
from fake_search import FakeNetwork, key_of, width_of, write_epochs

from m3net_tf.lab.search import driver
from m3net_tf.lab.search.space import load_space
from m3net_tf.training.cluster.worker import Report

SPACE = """
network: m3net
options:
  width: [4, 8, 12]
  mels: {few: 20, many: 40}
  mirrors: {all: {}, none: {mirror_attention: false}}
  teaching: {none: {}, taught: {run: $teacher}}
recipe:
  - frontend: {mel_bins: $mels}
    distillation: $teaching
    model:
      arguments:
        sfp: [{filters: $width, kernel: [5, 5], strides: [4, 4]}]
        tail: [{filters: $width}]
  - model: {arguments: $mirrors}
start:
  - {width: 8, mels: many, mirrors: all, teaching: none}
"""


@pytest.fixture
def base(tiny_recipe):
    """The recipe that searches start from: nine epochs, so the rungs are 3 and 1."""
    return tiny_recipe(training={"epochs": 9})


@pytest.fixture
def space_file(tmp_path):
    """A file with twelve candidates."""
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def space(space_file, base):
    """The space in the file."""
    return load_space(space_file, base)


@pytest.fixture
def fake_networks(monkeypatch):
    """Replace the candidates' networks; returns the recipes that were measured."""
    measured: list = []
    monkeypatch.setattr(FakeNetwork, "measured", measured)
    fake = SimpleNamespace(candidate=FakeNetwork, network_key=lambda recipe, _: key_of(recipe))
    monkeypatch.setitem(sys.modules, "m3net_tf.lab.search.candidates", fake)
    # The commit takes longer to find than a trial here.
    monkeypatch.setattr(driver, "provenance", lambda: {"versions": {}, "git_commit": "c"})
    return measured


@pytest.fixture
def train_at_once():
    """A work function that trains nothing; returns it and the hashes of the trained recipes."""
    trained: list = []

    def work(order):
        trained.append(order.recipe.fingerprint())
        best = 0.5 + width_of(order.recipe) / 100
        write_epochs(order, [best * (1 - 0.5**epoch) for epoch in range(1, 10)])
        return Report("", 2.0)

    return work, trained
