# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from m3net_tf.datasets import checking, dataset_names, load_dataset, registry, report, statistics
from m3net_tf.errors import ConfigError, DataError


def test_list_names_every_data_set():
    table = report.list_table()
    assert [row[0] for row in table.rows] == list(dataset_names())
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert dict(zip(table.columns, table.rows[5], strict=True))["classes"] == "200, multi"


def test_info_of_every_data_set(make_layout):
    for name in dataset_names():
        text = "\n".join(report.info_lines(name))
        assert "Licence:" in text
        assert "Options:" in text
        assert ("Archive: " in text) == bool(registry.dataset_info(name).archives)
    here = report.info_lines("us8k", make_layout("us8k"))
    assert "Here: official-10fold (folds 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 of 10), fold 1 tests" in here
    assert "  test: 40 clips" in here
    with pytest.raises(ConfigError, match="'us9k' is unknown"):
        report.info_lines("us9k")


def test_info_of_a_broken_copy(make_layout, tmp_path):
    with pytest.raises(DataError, match="void: does not exist; correct DATA_DIR"):
        report.info_lines("us8k", tmp_path / "void")
    root = make_layout("us8k")
    (root / "UrbanSound8K/metadata/UrbanSound8K.csv").unlink()
    assert "metadata is missing; fetch" in report.info_lines("us8k", root)[-1]


def test_check_proves_protocols_and_names_the_leak(make_layout):
    root = make_layout("ravdess")
    for path in root.rglob("Actor_2*/*.wav"):
        path.unlink()
    checked = checking.check("ravdess", root)
    assert checked.passed
    assert checked.partial
    honest = [line for line in checked.protocols if not line.allowed]
    assert [line.fold for line in honest] == [*range(1, 6), *range(1, 11)]
    assert {(line.shared_groups, line.leak) for line in honest} == {(0, 0.0)}
    (leaking,) = (line for line in checked.protocols if line.allowed)
    assert (leaking.shared_groups, leaking.leak) == (17, 1.0)
    first = load_dataset("ravdess", root, fold=1)
    assert honest[0].clip_list == first.clip_list_digest()
    rows = report.check_table(checked).rows
    assert rows[0][5:7] == ("disjoint", "0.0 %")
    assert rows[-1][5:7] == ("17 shared", "100.0 %")
    assert rows[-1][0] == "paper-random\n(19 of 24 actors)\nLEAKS"
    lines = report.check_lines(checked)
    assert "partial copy: 19 of 24 actors, 152 of 1440 clips" in lines
    assert "speaker-independent: no fold 6" in lines
    assert lines[-1] == "passed, for the part that is there"


def test_check_finds_broken_files(make_layout):
    root = make_layout("esc10")
    paths = sorted(root.rglob("*.wav"))
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    paths[1].write_bytes(b"no sound")
    checked = checking.check("esc10", root)
    assert not checked.passed
    assert set(checked.broken) == {path.name for path in paths[:2]}
    assert report.check_lines(checked)[-1].startswith("NOT passed")
    assert set(checking.check("esc10", root, decode=True).broken) == set(checked.broken)
    assert checking.check("esc10", root, decode=True, skip_broken=True).passed


def test_check_finds_a_group_on_both_sides(make_layout):
    root = make_layout("esc10")
    table = root / "ESC-50-master/meta/esc50.csv"
    text = table.read_text()
    source = next(row.split(",")[5] for row in text.splitlines() if row.startswith("2-"))
    other = next(row for row in text.splitlines() if row.startswith("1-"))
    fields = other.split(",")
    table.write_text(text.replace(other, ",".join([*fields[:5], source, fields[6]])))
    checked = checking.check("esc10", root)
    assert not checked.passed
    assert any(f"group src_file {source} is in" in error for error in checked.errors)
    table.unlink()
    with pytest.raises(DataError, match="metadata is missing"):
        checking.check("esc10", root)


def test_stats(make_layout):
    facts = statistics.stats("nsynth", make_layout("nsynth"))
    assert json.loads(json.dumps(facts))["classes"]["synth_lead"]["train"] == 4
    assert facts["files"]["rates_hz"] == {16_000: 84}
    rows = {row[0]: row[1:] for row in report.stats_table(facts).rows}
    assert rows["synth_lead"] == ("4", "0", "0", "4")
    assert rows["clips"] == ("44", "20", "20", "84")
    assert rows["groups (instrument)"] == ("22", "10", "10", "32")
    text = "\n".join(report.stats_lines(facts))
    assert "rates: 16000 Hz (84); delivered 16000 Hz" in text
    assert "formats: WAV PCM_16 (84)" in text
    assert "length: 0.006 to 0.006 s" in text
    lines = report.stats_lines(statistics.stats("synth"))
    assert lines[-1] == "files: none, the clips are made by the program"


def test_stats_of_a_broken_file(make_layout):
    root = make_layout("esc10")
    path = next(root.rglob("*.wav"))
    path.write_bytes(b"no sound")
    lines = report.stats_lines(statistics.stats("esc10", root))
    assert any(line.startswith(f"broken: {path}") for line in lines)
    (reason,) = checking.check("esc10", root, decode=True).broken.values()
    assert reason.endswith("; replace the file or leave it out, or fetch the data again")


def test_options_in_words():
    assert report.parse_options(["clip_s=2.5", "table = clips.csv", "silence_test=false"]) == {
        "clip_s": 2.5,
        "table": "clips.csv",
        "silence_test": False,
    }
    for word in ("clip_s", "=3"):
        with pytest.raises(ConfigError, match=r"is not NAME=VALUE; write it like clip_s=2.5"):
            report.parse_options([word])
    with pytest.raises(ConfigError, match=r"option 'a=\[1' is not valid YAML: "):
        report.parse_options(["a=[1"])
