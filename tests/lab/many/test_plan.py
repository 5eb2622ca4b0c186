# SPDX-License-Identifier: Apache-2.0
"""The identity of a training, and the pool for the options of a command."""

from m3net_tf.lab.commands.options import pool_options
from m3net_tf.lab.many.plan import linked_key
from m3net_tf.networks.pretrained import pretrained_names
from m3net_tf.training.cluster.fetching import RemoteFolder
from m3net_tf.training.cluster.resources import Resources
from m3net_tf.training.recipe import Recipe


def test_recipes_that_start_from_different_networks_are_different_trainings():
    values = {"dataset": {"name": "synth"}, "model": {"name": "m3net", "preset": "s"}}
    names = pretrained_names()
    recipes = [Recipe.from_dict({**values, "fine_tuning": {"from": name}}) for name in names]
    assert len({linked_key(recipe) for recipe in recipes} - {"outdated"}) == len(names)


def test_options_become_a_pool():
    options = pool_options(2, "", 1, None, "1GB", 3, "s3://bucket/features")
    assert options.features == RemoteFolder("s3://bucket/features") and not options.in_process
    assert options.resources == Resources(1, None, 10**9)
    assert pool_options(0, "", None, None, None, 3, None).in_process
    assert pool_options(1, "auto", None, None, None, 3, "cache").features is None
