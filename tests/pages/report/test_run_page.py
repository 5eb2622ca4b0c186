# SPDX-License-Identifier: Apache-2.0
"""The page of finished runs: right figures, escaped names, and nothing loaded in Chromium."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf import cli
from m3net_tf.audio.datasets.clips import Clip
from m3net_tf.boards.measure.layers import LayerCost, Profile, save_profile
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.export import Bundle
from m3net_tf.pages.report import (
    boards,
    classes,
    clips,
    networks,
    overview,
    page,
    reliability,
    trial,
)
from m3net_tf.pages.report.content import Chart, Gallery, Note, Playlist, Section, Table, Tiles
from m3net_tf.pages.report.gather import HeldOutClips, RunData, gather, hits
from m3net_tf.pages.report.origin import leak_warnings, origin
from m3net_tf.system.artifacts import read_json, write_json, write_text
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.system.keras import keras
from m3net_tf.system.processor import in_words, machine
from m3net_tf.training.run import Run

pytestmark = pytest.mark.usefixtures("private_cache")

HOSTILE = "<script>alert(1)</script>"
BOARD = "mps2_an386"


def rename_class(folder: Path, index: int, name: str) -> None:
    """Give a class of a run another name, in all files that the page reads."""
    metrics = read_json(folder / "metrics.json")
    old = metrics["dataset"]["labels"][index]
    metrics["dataset"]["labels"][index] = name
    metrics["test"]["recall"][name] = metrics["test"]["recall"].pop(old)
    write_json(folder / "metrics.json", metrics)
    matrix = folder / "confusion_matrix.csv"
    write_text(matrix, re.sub(rf"\b{old}\b", name, matrix.read_text()))


def quantisation_report() -> dict:
    """The part of ``quantized/report.json`` that the page reads."""
    split = {
        "clips": 10,
        "accuracy": {"float": 0.5, "quantized": 0.4},
        "drop_points": 10.0,
        "same_answer": 0.8,
    }
    layers = [("conv", "CONV_2D", 0.25, 31.0), ("pool", "AVERAGE_POOL_2D", 0.5, None)]
    return {
        "method": "ptq",
        "validation": split,
        "test": split,
        "ranking": [
            {"layer": name, "operator": operator, "accuracy_points": 1.0, "divergence": loss}
            for name, operator, loss, _ in layers
        ],
        "tensors": [
            {"layer": name, "operator": operator, "sqnr_db": sqnr_db, "clipped_share": 0.0}
            for name, operator, _, sqnr_db in layers
        ],
    }


def footprint_result(model_sha256: str) -> dict:
    """The part of ``footprint.json`` that the page reads: a board with figures, and one without."""
    costs = {"arena_bytes": 1000, "ram_bytes": 5000, "flash_bytes": 9000}
    board = {"board": BOARD, "ram_bytes": 10_000, "flash_bytes": 90_000, "arena_estimate_bytes": 9}
    measured = {**board, "cost": costs, "cpu_share": 0.25, "fits": True, "real_time": True}
    missing = {**board, "board": "other", "cost": None, "missing": "no compiler"}
    return {"model_sha256": model_sha256, "boards": [measured, missing]}


@pytest.fixture(scope="module")
def complete(exported_run: Path, tmp_path_factory) -> Path:
    """A run with an export and all files of later commands, and a class with a hostile name."""
    folder = tmp_path_factory.mktemp("runs") / "full <b>run<b>"
    shutil.copytree(exported_run, folder)
    sha256 = Bundle.load(folder / "export").manifest.model.sha256
    layer: LayerCost = {
        "operator": "CONV_2D",
        "layer": "",
        "output": [1, 4, 4, 8],
        "macs": 100,
        "cost": 900,
    }
    profile: Profile = {
        "board": BOARD,
        "engine": COMPILED,
        "unit": "instructions",
        "total": 950,
        "macs": 100,
        "layers": [layer],
    }
    save_profile(profile, sha256, folder)
    write_json(folder / "quantized" / "report.json", quantisation_report())
    write_json(folder / "footprint.json", footprint_result(sha256))
    rename_class(folder, 3, HOSTILE)
    return folder


@pytest.fixture(autouse=True, scope="module")
def quick_pages() -> Iterator[None]:
    """Three worst clips instead of twelve, and no module for browsers, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "WORST", 3)
        patch.setattr(trial, "missing_tools", lambda: {"wasm-ld": "lld"})
        yield


@pytest.fixture(scope="module")
def gathered(complete: Path, tiny_run: Path) -> list[RunData]:
    return gather([complete, tiny_run])


def blocks(section: Section, kind: type) -> list:
    return [block for part in section.parts for block in part.blocks if isinstance(block, kind)]


def values(chart: Chart) -> list[dict]:
    specs = [chart.spec, *chart.spec.get("layer", ())]
    return next(spec["data"]["values"] for spec in specs if "data" in spec)


def test_the_overview_has_the_runs_own_figures(gathered):
    figures = {figure.name: figure for figure in overview.figures_of(gathered[1])}
    test = gathered[1].metrics.test
    low, high = 100 * test["accuracy_95_low"], 100 * test["accuracy_95_high"]
    accuracy = f"{100 * test['accuracy']:.2f} % ({low:.1f} to {high:.1f})"
    assert figures["test accuracy"].text == accuracy
    assert figures["parameters"].text == f"{gathered[1].metrics.parameters:,}"
    assert figures["instructions per inference"].text == "-"
    section = overview.overview(gathered)
    (alone,) = blocks(overview.overview(gathered[1:]), Tiles)
    assert " ".join(alone.figures[0]) == f"test accuracy {accuracy}"
    table = blocks(section, Table)[0]
    assert table.rows[0] == ("test accuracy", accuracy, accuracy, "0 points")
    assert [note.command for note in blocks(section, Note) if note.command] == [
        f"m3net emulate {run.path}" for run in gathered
    ]


def test_two_runs_are_compared_clip_by_clip(gathered):
    first = gathered[0].clips
    better = np.where(first.truth, 1.0, 0.0).astype(np.float32)
    perfect = HeldOutClips(first.dataset, first.features, first.model, better)
    pair = [gathered[0], RunData(gathered[1].run, "perfect", gathered[0].metrics, perfect, "")]
    part = overview.overview(pair).parts[-1]
    right = hits(first.probabilities, first.truth)
    wrong = int((~right).sum())
    count = len(right)
    numbers = [int(row[1]) for row in part.blocks[0].rows]
    assert wrong and numbers == [count - wrong, 0, wrong, 0]
    assert f"probability of {0.5 ** (wrong - 1):.2g}" in part.blocks[1].text


def test_two_recipes_are_compared_key_by_key(gathered, tmp_path):
    recipe = gathered[1].run.recipe_path.read_text()
    write_text(tmp_path / "recipe.yaml", recipe.replace("clips_per_class", "other"))
    other = dataclasses.replace(gathered[1], run=Run(tmp_path))
    (table,) = overview.overview([gathered[1], other]).parts[1].blocks
    assert table.rows == [
        ("dataset.options.clips_per_class", "6", "-"),
        ("dataset.options.other", "-", "6"),
    ]


def test_windows_of_a_long_clip_count_once():
    windows = [Clip(f"a{i}", "x", "test", "a", whole="a", start_s=i) for i in range(3)]
    short = Clip("b", "y", "test", "b")
    features = SimpleNamespace(matrix=None, labels=np.array([0, 0, 0, 1]), clips=[*windows, short])
    dataset = SimpleNamespace(info=SimpleNamespace(labels=("x", "y")))
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    held_out = HeldOutClips(dataset, features, None, scores)
    assert held_out.unit == "windows of test clips"
    assert hits(held_out.probabilities, held_out.truth).tolist() == [True, True, False, True]
    assert hits(*held_out.whole()).tolist() == [True, True]


def test_learning_curves_have_the_history(gathered, tiny_run):
    section = overview.learning_curves(gathered[1:])
    lines = (tiny_run / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("validation_loss")
    expected = [float(line.split(",")[column]) for line in lines[1:]]
    charts = blocks(section, Chart)
    rows = values(charts[0])
    assert [row["value"] for row in rows if row["split"] == "validation"] == expected
    assert f"validation of tiny from {expected[0]:.3g} to {expected[-1]:.3g}" in charts[0].text


def test_confusion_is_counted_again_without_its_file(gathered, tmp_path):
    run = gathered[1]
    shutil.copytree(run.run.folder, tmp_path / "run")
    (tmp_path / "run" / "confusion_matrix.csv").unlink()
    (again,) = gather([tmp_path / "run"])
    section = classes.confusion([run, again])
    first, second = (values(chart) for chart in blocks(section, Chart))
    assert first == second and sum(cell["clips"] for cell in first) == len(run.clips.truth)


def test_cells_have_numbers_only_if_they_have_room():
    few, many = (classes.matrix_chart(np.eye(n, dtype=int), [*map(str, range(n))]) for n in (9, 21))
    marks = [[layer["mark"]["type"] for layer in chart["layer"]] for chart in (few, many)]
    assert marks == [["rect", "text", "text"], ["rect"]]


def test_classes_have_intervals(gathered):
    section = classes.per_class(gathered[1:])
    recall = {row["label"]: row for row in values(blocks(section, Chart)[0])}
    own = gathered[1].metrics.test["recall"]
    assert {label: row["value"] for label, row in recall.items()} == pytest.approx(own)
    assert all(row["low"] <= row["value"] <= row["high"] for row in recall.values())


def test_bins_of_reliability():
    sure = np.array([0.05, 0.95, 0.92, 1.0])
    rows = reliability.reliability_bins("run", sure, np.array([False, True, True, False]))
    assert [row["clips"] for row in rows] == [1, 3]
    assert rows[1]["right"] == pytest.approx(2 / 3) and rows[1]["sure"] == pytest.approx(2.87 / 3)
    error = reliability.calibration_error(rows)
    assert error == pytest.approx((0.05 + 2.87 - 2) / 4)


def test_the_worst_clips_come_first_and_can_be_heard(gathered):
    run = gathered[1]
    gallery = blocks(clips.worst_clips([run]), Gallery)[0]
    losses = clips.clip_losses(*run.clips.whole(), several_labels=False)
    worst = run.clips.features.clips[int(losses.argmax())]
    assert gallery.clips[0].name == worst.clip_id and worst.label in gallery.clips[0].truth
    assert gallery.axes[1].endswith("Hz") and gallery.axes[2] == "1 s"
    assert gallery.clips[0].sound.startswith("data:audio/mpeg;base64,")
    assert gallery.clips[0].saliency_picture.startswith("data:image/png;base64,")


def test_a_long_clip_is_listed_once_by_its_worst_window(gathered):
    run = gathered[1]
    features = run.clips.features
    truth = run.clips.truth
    share = np.full(len(truth), 0.9)
    share[:2] = 0.02, 0.01
    rest = (1 - share) / (truth.shape[1] - 1)
    scores = np.where(truth, share[:, None], rest[:, None])
    windows = list(features.clips)
    for row in range(2):
        windows[row] = dataclasses.replace(windows[row], whole="long")
    cut = dataclasses.replace(
        run.clips,
        features=dataclasses.replace(features, clips=tuple(windows)),
        probabilities=scores,
    )
    section = clips.worst_clips([dataclasses.replace(run, clips=cut)])
    names = [card.name for card in blocks(section, Gallery)[0].clips]
    assert names[0] == windows[1].clip_id and windows[0].clip_id not in names


@pytest.mark.parametrize("rate_hz", [16_000, 96_000, 7_000])
def test_sounds_of_any_rate_become_mp3(rate_hz, tmp_path):
    import base64

    from m3net_tf.pages.report.sounds import sound_uri

    tone = np.sin(np.arange(rate_hz) * 440 * 2 * np.pi / rate_hz).astype(np.float32) / 2
    data = base64.b64decode(sound_uri(tone, rate_hz).partition(",")[2])
    (tmp_path / "tone.mp3").write_bytes(data)
    heard, heard_hz = soundfile.read(tmp_path / "tone.mp3")
    assert heard_hz == {16_000: 16_000, 96_000: 48_000, 7_000: 8_000}[rate_hz]
    spectrum = np.abs(np.fft.rfft(heard))
    assert spectrum.argmax() * heard_hz / len(heard) == pytest.approx(440, abs=2)


def test_saliency_is_where_the_answer_comes_from():
    """A network that looks only at one corner needs nothing else."""
    inputs = keras.Input((12, 16, 1))
    corner = keras.layers.Cropping2D(((8, 0), (0, 12)))(inputs)
    score = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(corner))
    model = keras.Model(inputs, keras.layers.Concatenate()([score, 1 - score]))
    features = np.full((1, 1, 12, 16), -128, np.int8)
    features[..., 8:, :4:2] = 127
    probabilities = model(features[0, ..., None] / np.float32(128)).numpy()
    seen = SimpleNamespace(features=features, lengths=None)
    drop = clips.occlusion(HeldOutClips(None, seen, model, probabilities), 0, 0)
    assert drop.shape == (12, 16)
    assert np.unravel_index(drop.argmax(), drop.shape)[0] >= 8
    assert drop[8:, :4].min() > 0 and drop[:4].max() == drop[:, 10:].max() == 0


def test_saliency_in_words():
    drop = np.zeros((4, 10))
    assert "No single part" in clips.saliency_words("a", drop, 2.0)
    drop[1, 5] = 0.5
    assert clips.saliency_words("a", drop, 2.0).endswith("1.00 s, in bin 2 of 4 from the bottom.")
    assert clips.saliency_words("a", drop[1:2], 2.0).endswith("1.00 s.")


def test_a_network_of_raw_samples_gets_a_spectrogram():
    tone = np.sin(np.arange(16_000) * 2 * np.pi / 8)  # an eighth of the rate: a quarter of the bins
    drop = np.zeros((1, 16_000))
    drop[:, 8000:] = 0.5
    level, saliency = clips.with_spectrogram(tone, drop)
    assert level.shape == saliency.shape and set(level.argmax(0)) == {len(level) // 4}
    half = saliency.shape[1] // 2
    assert saliency[:, : half - 1].max() == 0 and saliency[:, half + 1 :].min() == 0.5


def test_clips_with_several_labels():
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 2, (40, 3)).astype(np.uint8)
    scores = rng.uniform(0.05, 0.95, (40, 3)).astype(np.float32)
    data = SimpleNamespace(labels=("a", "b", "c"))
    test = {"mean_average_precision": 0.5, "average_precision": {"a": 0.4, "b": 0.6}, "macro_f1": 0}
    thresholds = {"a": 0.2, "b": 0.5, "c": 0.99}
    metrics = SimpleNamespace(test=test, dataset=data, parameters=1, macs=1, thresholds=thresholds)
    features = SimpleNamespace(matrix=matrix, clips=[Clip(str(i), "a", "", "") for i in range(40)])
    held_out = HeldOutClips(SimpleNamespace(info=data), features, None, scores)
    run = RunData(Run(Path("none")), "many", metrics, held_out, "")
    assert overview.figures_of(run)[1].text == "50.00 %"
    assert [note.text[:33] for note in blocks(classes.confusion([run]), Note)] == [
        "A clip may have several classes h"
    ]
    table = blocks(classes.per_class([run]), Table)[0]
    answers = scores[:, 0] >= 0.2
    found = (answers & matrix[:, 0]).sum()
    shares = [
        "20.0 %",
        f"{100 * found / matrix[:, 0].sum():.1f} %",
        f"{100 * found / answers.sum():.1f} %",
    ]
    assert [*table.rows[0][:2], *table.rows[0][3:]] == ["a", str(matrix[:, 0].sum()), *shares]
    assert table.rows[2][4:] == ("0.0 %", "-")  # no clip reaches the threshold of c
    right = ((scores >= [*thresholds.values()]) == matrix).all(1)
    assert hits(*held_out.whole(), run.thresholds).tolist() == right.tolist() and right.any()
    rows = values(blocks(reliability.reliability([run]), Chart)[0])
    assert rows  # the dashed line
    expected = np.where(matrix, scores, 1 - scores)
    losses = clips.clip_losses(*held_out.whole(), several_labels=True)
    np.testing.assert_allclose(losses, -np.log(expected).mean(1), rtol=1e-5)
    assert held_out.rows() == [[row] for row in range(40)]


def test_the_map_shows_clips_whose_sounds_it_has(gathered):
    section = clips.sound_map(gathered[1:])
    rows = values(blocks(section, Chart)[0])
    playlist = blocks(section, Playlist)[0]
    assert {row["sound"] for row in rows} == set(playlist.by_key)
    assert len(rows) == len(gathered[1].clips.truth)
    chosen = np.arange(len(rows))
    before = clips.embeddings(gathered[1].clips, chosen)
    dense = gathered[1].clips.model.get_layer("dense")
    logits = before @ dense.get_weights()[0].reshape(before.shape[1], -1) + dense.get_weights()[1]
    np.testing.assert_array_equal(
        logits.argmax(1), gathered[1].clips.probabilities.argmax(1)
    )  # the values before the classifier decide its answers
    right = [{**row, "right": "right"} for row in rows]
    layers = [clips.map_chart(some, ["a"])["layer"] for some in (right, [{"right": "wrong"}])]
    assert [*map(len, layers)] == [1, 2]  # rings only around wrong answers


def test_sections_of_network_and_boards(gathered):
    run = gathered[:1]
    ranking = blocks(networks.int8_loss(run), Chart)[0]
    assert [row["divergence"] for row in values(ranking)] == [0.5, 0.25]
    assert "most expensive is pool with 0.5 nats" in ranking.text
    assert blocks(networks.arena(run), networks.Drawing)[0].svg.startswith("<svg")
    cost = blocks(boards.layer_costs(run), Chart)[0]
    assert values(cost)[0]["cost"] == 900 and "950 instructions" in cost.caption
    table = blocks(boards.footprint(run), Table)[0]
    row = (BOARD, "1,000", "5,000 (50 %)", "9,000 (10 %)", "25.0 %", "yes", "yes")
    assert table.rows == [row, ("other", "~9", "", "", "", "", "")]
    write_json(run[0].run.folder / "footprint.json", footprint_result("another"))
    notes = [note.text for note in blocks(boards.footprint(run), Note)]
    command = f"m3net footprint {run[0].path}"
    assert notes == [
        "These figures are of an earlier export.",
        f"Not measured: other: no compiler. Then: {command}",
    ]


def test_what_is_missing_is_named_with_its_command(gathered):
    run = gathered[1]
    makers = (networks.int8_loss, networks.arena, boards.layer_costs, boards.footprint)
    assert [make([run]).missing for make in makers] == [
        [f"m3net quantize {run.run.folder}"],
        [f"m3net export {run.run.folder}"],
        [f"m3net device profile qemu:{BOARD} --run {run.run.folder}"],
        [f"m3net footprint {run.run.folder}"],
    ]


def test_a_page_without_sounds(tiny_run, monkeypatch, capsys, tmp_path):
    def missing(*_: object) -> None:
        raise DataError("the folder is gone: give the new one")

    monkeypatch.setattr(Run, "dataset", missing)
    out = tmp_path / "page.html"
    assert not cli.app(
        ["report", str(tiny_run), "--out", str(out), "--json"], standalone_mode=False
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(out) and facts["bytes"] == out.stat().st_size
    command = f"m3net report {tiny_run} --data-dir FOLDER"
    assert facts["missing"]["worst"] == facts["missing"]["map"] == [command]
    assert facts["missing"]["try"] == [f"m3net export {tiny_run}"]
    html = out.read_text()
    assert "the folder is gone: give the new one" in html and "Most frequent confusions" in html
    assert "wasm-unsafe-eval" not in html
    assert re.search(r'<td class="figure">[\d.]+\u00a0% \(\d+\u00a0to\u00a0\d+\)</td>', html)


@pytest.mark.parametrize(
    "statement",
    [
        "random, LEAKS: 9 % are shared",
        "by a GUESS, (a): if it is wrong, the accuracy may be too high",
    ],
)
def test_leaks_are_said_at_the_top(gathered, statement):
    facts = {**gathered[1].metrics.dataset.facts, "statement": statement}
    data = SimpleNamespace(facts=facts)
    run = SimpleNamespace(name="r", clips=None, metrics=SimpleNamespace(dataset=data))
    assert leak_warnings([run, gathered[1]]) == [f"r: {facts['statement']}."]


def test_the_computers_of_a_run_are_named(gathered):
    (run,) = gathered[1:]
    (facts,) = blocks(origin([run]), Table)
    assert [words for name, words in facts.rows if name == "computer"] == [in_words(machine())]
    assert ("arithmetic", machine()["instruction_set"]) in facts.rows
    older = {key: value for key, value in run.metrics.values.items() if key != "computers"}
    run = dataclasses.replace(run, metrics=dataclasses.replace(run.metrics, values=older))
    (facts,) = blocks(origin([run]), Table)
    assert ("arithmetic", "unknown") in facts.rows


def test_wrong_runs_are_refused(tiny_run, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="once"):
        page.write_report([tiny_run, tiny_run / ".." / tiny_run.name])
    with refuses(ModelError, str(tmp_path)):
        page.write_report([tmp_path])
    with pytest.raises(ConfigError, match="name its folder"):
        page.write_report([])
    monkeypatch.setitem(sys.modules, "altair", None)
    with refuses(ConfigError, "pip install"):
        page.write_report([tiny_run])


@pytest.fixture(scope="module")
def written(complete: Path, tiny_run: Path, private_cache: Path) -> Path:
    return Path(page.write_report([complete, tiny_run])["path"])


def test_names_are_escaped(written, complete):
    html = written.read_text()
    assert HOSTILE not in html and complete.name not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "\\u003cscript" in html
    assert written == complete / "report-tiny.html"


#: Headings of the tables that are wider than the page.
CUT = (
    "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
    ".map((one) => one.closest('section').querySelector('h2').textContent)"
)


def test_in_a_browser_nothing_fails_and_nothing_is_loaded(tab, written):
    tab.open(written, 1280)
    specs = tab.evaluate("document.querySelectorAll('.spec').length")
    assert specs > 12
    for width, dark in ((1280, False), (400, False), (400, True)):
        tab.resize(width, dark=dark)
        tab.wait_until_drawn(dark=dark)
        drawn = "document.querySelectorAll('.chart svg [role=graphics-symbol], .chart svg').length"
        assert tab.evaluate(drawn) >= specs
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(CUT) == []
    assert tab.evaluate("[...document.images].every((one) => one.naturalWidth > 0 && one.alt)")
    assert tab.problems() == []
    assert {url for url in tab.requests() if not url.startswith("data:")} == {written.as_uri()}


def test_in_a_browser_a_click_on_a_point_plays_its_sound(tab, written):
    tab.open(written, 1280)
    place = "document.querySelector('.plays svg .mark-symbol.role-mark path[aria-label]')"
    tab.evaluate(f"{place}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = tab.evaluate(
        f"(() => {{const b = {place}.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]})()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call(
            "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
        )
    tab.wait("document.getElementById('playing').textContent.startsWith('Playing ')")
    tab.wait("document.getElementById('playing').textContent === ''")  # it has ended
    tab.evaluate("document.querySelector('.playlist button').click()")
    tab.wait("document.getElementById('playing').textContent.startsWith('Playing ')")
    assert tab.problems() == []


def test_in_a_browser_foreign_scripts_do_not_run(tab, written, tmp_path):
    """The policy of the page stops a script even if a name were not escaped."""
    broken = tmp_path / "broken.html"
    broken.write_text(
        written.read_text().replace("<main>", "<script>window.ran = 1</script><main>")
    )
    tab.open(broken, 1280)
    assert tab.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in problem for problem in tab.problems())
