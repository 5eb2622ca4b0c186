# SPDX-License-Identifier: Apache-2.0
"""A solution for BioDCASE-Tiny, used as the task's pipeline and its board do."""

from __future__ import annotations

import importlib
import re
import shutil
from types import ModuleType

import numpy as np
import pytest
import yaml
from exported_library import ESP_IDF, EXAMPLES
from firmware_helpers import compile_for_host, run_tool
from refusals import refuses

from m3net_tf.export.reference import read_vectors
from m3net_tf.system.artifacts import read_json, write_json
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import Run


@pytest.fixture
def maker(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES / "biodcase")
    return importlib.import_module("make_submission")


@pytest.fixture
def solution(maker, exported, tmp_path):
    maker.make_submission(Run(exported.folder.parent), tmp_path / "me_task3_1")
    return tmp_path / "me_task3_1"


def test_the_pipelines_calls_give_the_scores_of_the_export(solution, exported, monkeypatch):
    monkeypatch.chdir(solution)
    inference = yaml.safe_load((solution / "config_submission.yaml").read_text())
    inference = inference["inference_handler"]
    module = importlib.import_module(inference["model"]["module"])
    features = module.Features(**inference["feature_handler"]["kwargs"])
    network = module.Network(
        **inference["model"]["kwargs"], input_shape=[], num_classes=3, is_inference_model=True
    )
    (path,) = (solution / inference["model_dir"]).glob(f"*{inference['saved_model_extension']}")
    network.load(path)
    assert network.count_operations() > network.count_params() > 0
    stored = read_vectors(exported)
    for pcm, expected, scores in zip(stored.pcm, stored.features, stored.scores, strict=True):
        extracted = features.extract(pcm / 32768.0)
        assert np.abs(128 * extracted[0] - expected).max() <= 1
        given = expected[None].astype(np.float32) / 128
        np.testing.assert_array_equal(network.predict(given)[0], (scores + 128.0) / 256)
    labels = yaml.safe_load((solution / inference["label_dict_yaml_path"]).read_text())
    assert labels["label_dict"] == {name: i for i, name in enumerate(exported.labels)}


@pytest.mark.slow
def test_the_board_prints_what_the_pipeline_reads(solution, exported, tmp_path):
    code = solution / "your_generated_code/src"
    (library,) = (code / "components/esp-idf").iterdir()
    assert "components/esp-idf" in (code / "CMakeLists.txt").read_text()
    (tmp_path / "run.c").write_text("void app_main(void);\nint main(void) { app_main(); }\n")
    clock = "#include <esp_timer.h>\nint64_t esp_timer_get_time(void) { static int t; return ++t; }"
    (tmp_path / "clock.c").write_text(clock)
    sources = [*(library / "src/m3net").glob("*.c"), code / "main/main.c"]
    sources += [tmp_path / "run.c", tmp_path / "clock.c"]
    program = compile_for_host(tmp_path / "board", sources, (library / "src", ESP_IDF))
    printed = run_tool(program).decode()
    block = '"Unique Tag","Total microseconds across all events with that tag."\n.+, 1\n'
    block += r'"total number of microseconds", 1\n'
    assert len(re.findall(block, printed)) == 2  # a column of the front end takes less than 1 us
    assert re.search(r"^Total \* n_windows = 1$", printed, re.M)
    allocated = r"^\[RecordingMicroAllocator\] Arena allocation total (\d+) bytes$"
    assert int(re.search(allocated, printed, re.M)[1]) > exported.manifest.arena.bytes


def test_a_front_end_that_the_script_does_not_compute_is_refused(maker, exported, tmp_path):
    run = shutil.copytree(exported.folder.parent, tmp_path / "run")
    manifest = run / "export/manifest.json"
    values = read_json(manifest)
    values["frontend"]["feature_min"] -= 1.0  # any setting by which features differ
    write_json(manifest, values)
    with refuses(ConfigError, "export", "mel"):
        maker.make_submission(Run(run), tmp_path / "me_task3_1")
    with refuses(ConfigError, "me_task3_1", "new folder"):
        maker.make_submission(Run(run), tmp_path / "me_task3_1")
