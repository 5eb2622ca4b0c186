# SPDX-License-Identifier: Apache-2.0
"""Computing features in processes that are killed, or that compete."""

import json
import subprocess
import sys

import pytest

# Children are forked before TensorFlow computes anything, so that each needs no import.
SCRIPT = """
import json, os, random, signal, sys, time
import numpy as np
from m3net_tf.system import progress
from m3net_tf.audio.datasets import load_dataset
from m3net_tf.audio.frontend import FrontendConfig, store
from m3net_tf.training.features import compute_features, row_keys
from m3net_tf.training.sections import AugmentationSection

store.FILE_BYTES = 30_000  # 15 maps a file
progress.LINE_EVERY_S = 0.0
base, racing = sys.argv[1], sys.argv[2] == "race"
os.environ["M3NET_CACHE"] = base + "/cache"
dataset = load_dataset("synth", clips_per_class=45)
arguments = dataset, "train", FrontendConfig(), AugmentationSection(copies=2), 1

def child(log=lambda line: None):
    number = os.fork()
    if number == 0:
        compute_features(*arguments, log)
        os._exit(0)
    return number

def there():
    return len(list(store.RowStore("", (40, 49)).folder.glob("[!.]*.npy")))

result = {"progress": []}
if racing:
    children = [child(), child()]
    result["status"] = [os.waitpid(number, 0)[1] for number in children]
else:
    chance = random.Random(7)
    for _ in range(20):
        begun, say = os.pipe()
        number = child(lambda line: os.write(say, b"."))
        os.close(say)
        for _ in range(chance.randrange(3)):  # the work begins; a first part of it is done
            os.read(begun, 1)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        result["progress"].append(there())
lines = []
features = compute_features(*arguments, lines.append).features.copy()
result["log"] = lines
result["left"] = len(list(store.RowStore("", (40, 49)).folder.glob(".*")))
os.environ["M3NET_CACHE"] = base + "/fresh"
fresh = compute_features(*arguments).features.copy()
result["equal"] = bool(np.array_equal(features, fresh))
result["shape"] = features.shape
print(json.dumps(result))
"""


def play(folder, mode: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), mode],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill", "race"])
def test_features_are_those_of_an_undisturbed_run(mode, tmp_path):
    result = play(tmp_path, mode)
    assert result["shape"] == [3, 300, 40, 49]
    assert result["equal"]
    assert result["left"] == 0  # no half-written file
    if mode == "race":
        assert result["status"] == [0, 0]
        assert result["log"] == []  # both had finished: nothing left to compute
    else:
        progress = result["progress"]
        assert progress == sorted(progress)  # written data stay
        assert len(set(progress)) > 2  # the kills happened during the work
