# SPDX-License-Identifier: Apache-2.0
"""Small files that ask for much: refused by one line, or compiled with little time and memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_networks import ACCEPTED, REFUSED, chain, convolutions, fan
from refusals import refuses

from m3net_tf.compiler import limits
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.system.errors import ModelError

_MOST_S = 10  # seconds of a core for a file; each takes less than one
_MOST_C = 1 << 20
_MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(limits, "MOST_STEPS", 1 << 20)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind):
    name, make = REFUSED[kind]
    tflite = make()
    start = time.process_time()
    with refuses(ModelError, name) as caught:
        compile_network(tflite)
    assert len(str(caught.value)) < 500
    with refuses(ModelError):
        stream_network(tflite)
    assert time.process_time() - start < _MOST_S


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_is_compiled(kind):
    tflite = ACCEPTED[kind]()
    start = time.process_time()
    assert len(emit(compile_network(tflite), "some").source) < _MOST_C
    try:
        assert len(emit(stream_network(tflite), "some").source) < _MOST_C
    except ModelError as error:
        assert "\n" not in str(error)
    assert time.process_time() - start < _MOST_S


def test_operators(monkeypatch):
    monkeypatch.setattr("m3net_tf.compiler.read.MOST_OPERATORS", 50)
    with refuses(ModelError, "RELU", "50"):
        compile_network(chain("RELU", 51))
    assert compile_network(chain("RELU", 50)).calls


def test_tensors_at_a_time(monkeypatch):
    monkeypatch.setattr("m3net_tf.compiler.plan.MOST_TOGETHER", 1000)
    with refuses(ModelError, "ADD 'tensor45'", "45"):
        compile_network(fan(100))


def test_searches_end_with_what_they_have(monkeypatch):
    tflite = convolutions(12)
    monkeypatch.setattr(limits, "MOST_STEPS", 1000)
    first = compile_network(tflite).plan
    monkeypatch.undo()
    best = compile_network(tflite).plan
    assert best.arena_bytes <= first.arena_bytes < 4 * best.arena_bytes
    assert first.arena_bytes >= first.lower_bound


def test_the_memory_of_the_compiler():
    """In a process of its own, whose peak does not count the process that starts it."""
    code = (
        "import re, pathlib\n"
        "from hostile_networks import ACCEPTED\n"
        "from m3net_tf.compiler.emit import emit\n"
        "from m3net_tf.compiler.network import compile_network\n"
        "for make in ACCEPTED.values():\n"
        "    emit(compile_network(make()), 'some')\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < _MEMORY


def test_steps_are_counted_for_each_file():
    """A file after another one has all steps again."""
    with limits.counting_steps():
        assert not limits.may_search(limits.MOST_STEPS)
    with limits.counting_steps():
        assert limits.may_search(limits.MOST_STEPS - 1)
    assert limits.may_search(limits.MOST_STEPS)
