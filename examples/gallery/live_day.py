# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # A day of live detection
#
# This script trains a small network on generated sounds, plays it a day in fast motion (20 seconds
# for each hour) and shows what it detected, missed and invented. The accuracy on clips does not say
# that: the network has no class for the background, so it assigns one of the ten classes to it.

# %%
from pathlib import Path

import numpy as np

from m3net_tf import Classifier
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.evaluation.scenes import SceneSettings, make_scenes
from m3net_tf.evaluation.tuning import with_threshold
from m3net_tf.export import export_run
from m3net_tf.pages.plotting import new_figure
from m3net_tf.runtime import detect, event_time_s, listen
from m3net_tf.training import Run, train
from m3net_tf.training.recipe import Recipe

FOLDER = Path("build/gallery")
FOLDER.mkdir(parents=True, exist_ok=True)
recipe = Recipe.from_dict(
    {
        "dataset": {"name": "synth", "options": {"clips_per_class": 60}},
        "model": {"name": "m3net", "preset": "mcu"},
        "training": {"epochs": 16, "learning_rate": 4e-3},
        "augmentation": {"copies": 1, "shift_s": 0.3},
    }
)
train(recipe, FOLDER / "live_day")
export_run(Run(FOLDER / "live_day"), None)
classifier = Classifier(FOLDER / "live_day", fast=True)

# %% [markdown]
# A scene for each hour: clips of the test split over background noise, whose level changes from
# scene to scene.

# %%
sounds = load_dataset("synth", clips_per_class=60)
settings = SceneSettings(hours=24 * 20 / 3600, scene_s=20.0)
labels = frozenset(classifier.labels)
scenes = list(make_scenes(sounds, "test", labels, settings))
truth = [event for scene in scenes for event in scene.events]

# %% [markdown]
# The detector smooths the scores over several windows, compares them with a threshold, and reports
# each sound once. A higher threshold gives fewer false alarms and more misses;
# `m3net evaluate RUN --streaming --target-false-accepts-per-hour 1` finds the best ones.

# %%
frontend = classifier.metadata.frontend
detector = with_threshold(classifier.metadata.detector, 0.5)
tape = listen(frontend, classifier.run, detector, (scene.pcm for scene in scenes))
events = detect(detector, tape)
times_s = np.array([event_time_s(frontend, event.column) for event in events])

# %%
right = [
    any(
        event.label == sound.label and sound.start_s <= time_s <= sound.end_s + 1 for sound in truth
    )
    for event, time_s in zip(events, times_s, strict=True)
]
print(f"{len(truth)} sounds, {len(events)} events, {sum(right)} of them right")

# %%
figure = new_figure(10, 4)
axes = figure.subplots()
hours = 24 / (24 * 20)
axes.scatter(
    [sound.start_s * hours for sound in truth],
    [sound.label for sound in truth],
    marker="|",
    s=150,
    color="grey",
    label="sound",
)
for is_right, colour, marker, name in (
    (True, "tab:blue", "o", "detected"),
    (False, "tab:orange", "x", "false alarm"),
):
    chosen = [i for i, value in enumerate(right) if value == is_right]
    axes.scatter(
        times_s[chosen] * hours,
        [events[i].label for i in chosen],
        marker=marker,
        s=25,
        color=colour,
        label=name,
    )
axes.set_yticks(range(len(classifier.labels)), classifier.labels)
axes.set(xlabel="hour", xlim=(0, 24), xticks=range(0, 25, 3))
figure.legend(loc="outside upper center", ncols=3)
figure.savefig(FOLDER / "live_day.png", dpi=100)
