# SPDX-License-Identifier: Apache-2.0
"""The export folder: complete, reproducible, and refused when it is damaged."""

import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bench import Bench
from refusals import refuses

from m3net_tf.audio.frontend import features_int8
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation import starting
from m3net_tf.compiler.engines import DEFAULT_ENGINE
from m3net_tf.export import Bundle, c_files, export_run, from_run, writing
from m3net_tf.export.c_files import CModel
from m3net_tf.export.manifest import Arena
from m3net_tf.export.operators import operators_of
from m3net_tf.export.reference import read_vectors
from m3net_tf.quantization.ptq import choose_calibration
from m3net_tf.runtime.interpreter import run_reference, run_tflm, tflm_unavailable_reason
from m3net_tf.system import artifacts
from m3net_tf.system.errors import ConfigError, DataError, ModelError
from m3net_tf.training import Run, load_recipe, save_recipe
from m3net_tf.training.clips.features import compute_features

pytestmark = pytest.mark.usefixtures("private_cache")

FILES = set(
    "model.tflite model.h model.cc frontend_config.h frontend_tables.c "
    "detector_config.h labels.txt manifest.json vectors/vectors.json "
    "vectors/pcm_int16.bin vectors/features_int8.bin vectors/outputs_int8.bin".split()
)
COMPILED_FILES = {
    "compiled/m3net_network.c",
    "compiled/m3net_network.h",
    "compiled/model_labels.c",
    "arena.svg",
    "compiled.json",
    "compiled.md",
}


@pytest.fixture(scope="module", autouse=True)
def fixed_commit(exported):
    """The versions and the commit of the first export, independent of changes in the tree."""
    manifest = exported.manifest
    made_with = {"versions": manifest.versions, "git_commit": manifest.git_commit}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_run, "provenance", lambda: made_with)
        yield


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    """An export that may be damaged."""
    return shutil.copytree(exported.folder, tmp_path / "copy")


@pytest.fixture
def quantized(exported, monkeypatch) -> None:
    """Skip the slow part of an export: return the network that it would give."""
    monkeypatch.setattr(from_run, "quantize_network", lambda *_: exported.network)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_it_is_complete(exported):
    assert set(contents(exported.folder)) == FILES | COMPILED_FILES


def test_a_second_export_gives_the_same_bytes_and_nothing_lies_beside_it(
    exported, tiny_run, tmp_path
):
    again = export_run(Run(tiny_run), None, tmp_path / "again")
    assert contents(again.folder) == contents(exported.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_no_date_and_no_path_of_this_machine(exported, tiny_run):
    for name, data in contents(exported.folder).items():
        assert str(tiny_run.parent).encode() not in data, name
        if name.endswith((".h", ".c", ".cc")):
            assert not re.search(rb"20\d\d-\d\d|__DATE__", data), name


def test_manifest(exported, tiny_run):
    manifest = exported.manifest.to_dict()
    made_with = artifacts.provenance()
    assert manifest["versions"] == made_with["versions"]
    assert manifest["git_commit"][:40] == made_with["git_commit"][:40]  # without "-dirty"
    assert manifest == json.loads((exported.folder / "manifest.json").read_text())
    assert manifest["model"]["name"] == "m3net-mcu"
    assert manifest["model"]["sha256"] == hashlib.sha256(exported.tflite).hexdigest()
    assert manifest["model"]["bytes"] == len(exported.tflite)
    assert manifest["model"]["input_shape"] == [40, 49, 1]
    assert manifest["model"]["input_quantization"] == [1 / 128, 0]
    assert manifest["model"]["output_quantization"] == [1 / 256, -128]
    assert manifest["operators"] == operators_of(exported.tflite)
    assert manifest["dataset"] == {"name": "synth", "protocol": "generated-split", "fold": None}
    assert manifest["licence"].startswith("Apache-2.0")
    trained = (tiny_run / "model.keras").read_bytes()
    assert manifest["trained_model_sha256"] == hashlib.sha256(trained).hexdigest()
    assert exported.frontend == Run(tiny_run).recipe().frontend
    assert exported.labels == Run(tiny_run).dataset(None).info.labels
    assert (exported.folder / "labels.txt").read_text().splitlines() == list(exported.labels)


def test_calibration_is_recorded(exported, tiny_run):
    run = Run(tiny_run)
    train_set = compute_features(run.dataset(None), "train", run.recipe().frontend)
    chosen = choose_calibration(train_set.labels, 20, 0)
    recorded = exported.manifest.to_dict()["calibration"]
    assert recorded["clips"] == [train_set.clips[i].clip_id for i in chosen]
    digest = hashlib.sha256(train_set.clean[chosen].tobytes()).hexdigest()
    assert recorded["features_sha256"] == digest
    assert {clip.split("/")[0] for clip in recorded["clips"]} == {"train"}


def test_vectors_are_held_out_clips_with_what_each_link_makes_of_them(exported, tiny_run):
    index = json.loads((exported.folder / "vectors" / "vectors.json").read_text())
    stored = read_vectors(exported)
    dataset = Run(tiny_run).dataset(None)
    assert index["clips"] == [clip.clip_id for clip in dataset.split("test")]
    assert index["true_labels"] == [clip.label for clip in dataset.split("test")]
    pcm = stored.pcm
    features = stored.features
    outputs = stored.scores
    assert pcm.shape == (10, 16_000)
    assert features.shape == (10, 40, 49, 1)
    for clip, wave, expected in zip(dataset.split("test"), pcm, features, strict=True):
        np.testing.assert_array_equal(wave / 32768, dataset.load(clip))
        np.testing.assert_array_equal(
            features_int8(exported.frontend, wave / 32768), expected[..., 0]
        )
    np.testing.assert_array_equal(outputs, run_reference(exported.tflite, features))
    assert index["predicted_labels"] == [exported.labels[i] for i in outputs.argmax(1)]
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(outputs, run_tflm(exported.tflite, features))


def test_header_says_what_the_manifest_says(exported):
    header = (exported.folder / "model.h").read_text()
    macros = dict(re.findall(r"#define M3NET_MODEL_(\w+) (.+)", header))
    model = exported.manifest.to_dict()["model"]
    assert macros["NAME"] == '"m3net-mcu"'
    assert macros["SHA256"] == f'"{model["sha256"]}"'
    assert int(macros["SIZE_BYTES"]) == model["bytes"]
    assert int(macros["INPUT_BYTES"]) == 40 * 49
    assert macros["INPUT_SCALE"] == "0.0078125f"
    assert macros["INPUT_ZERO_POINT"] == "(0)"
    assert macros["OUTPUT_SCALE"] == "0.00390625f"
    assert macros["OUTPUT_ZERO_POINT"] == "(-128)"
    assert int(macros["CLASS_COUNT"]) == 10
    assert int(macros["ARENA_BYTES"]) == exported.manifest.arena.bytes
    assert int(macros["OPERATOR_COUNT"]) == len(exported.manifest.operators)
    methods = re.search(r"M3NET_MODEL_OPERATORS\(ADD\) (.+)", header)[1]
    assert methods.count("ADD(") == len(exported.manifest.operators)
    for method in ("Conv2D", "DepthwiseConv2D", "ReverseV2"):
        assert f"ADD({method})" in methods


def test_the_c_array_is_the_network(exported):
    source = (exported.folder / "model.cc").read_text()
    body = re.search(r"m3net_model_data\[\w+\] = \{(.*?)\};", source, re.S)[1]
    assert bytes(int(item, 16) for item in re.findall(r"0x[0-9a-f]{2}", body)) == exported.tflite
    assert re.findall(r'^    "(\w+)",$', source, re.M) == list(exported.labels)


def test_strange_labels_become_valid_c(tmp_path):
    labels = ('say "hi"', "back\\slash", "ünïcode", "what??/", "tab\t1")
    model = CModel("a", b"1234", labels, ("CONV_2D",), 1, (0.5, 0), (0.25, -128), 64, "a test", "b")
    model.write(tmp_path)
    literals = re.findall(r'^    "(.*)",$', (tmp_path / "model.cc").read_text(), re.M)
    # As a C compiler reads them: octal escapes of three digits are the only ones.
    read = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text) for text in literals]
    assert tuple(text.encode("latin-1").decode() for text in read) == labels
    assert not re.search(r"[^\x20-\x7e\n]|\?\?", (tmp_path / "model.cc").read_text())


def test_an_export_is_not_repeated(copy, exported, tiny_run):
    lines: list[str] = []
    again = export_run(Run(tiny_run), None, copy, lines.append)
    assert again.manifest == exported.manifest
    assert lines == [f"{copy} is already exported"]


def test_a_damaged_export_is_repeated(copy, exported, tiny_run, quantized):
    path = copy / "vectors" / "outputs_int8.bin"
    path.write_bytes(bytes(path.stat().st_size))
    lines: list[str] = []
    export_run(Run(tiny_run), None, copy, lines.append)
    assert f"{path} is damaged; exporting now" in lines
    assert contents(copy) == contents(exported.folder)


def test_the_arena_is_the_planners_and_the_report_has_what_each_rewrite_saved(exported):
    manifest = exported.manifest
    facts = exported.compiled["m3net_network"]
    assert manifest.engine == DEFAULT_ENGINE == "compiled"
    assert manifest.arena == Arena(facts["arena_bytes"], "m3net compile")
    header = (exported.folder / "model.h").read_text()
    assert f"#define M3NET_MODEL_ARENA_BYTES {facts['arena_bytes']}\n" in header
    report = (exported.folder / "compiled.md").read_text()
    assert facts["saved"] and all(f"| {what} |" in report for what in facts["saved"])
    assert f"{facts['arena_bytes']} bytes" in (exported.folder / "arena.svg").read_text()


def test_another_engine_changes_its_files_alone(copy, exported, tiny_run):
    lines: list[str] = []
    other = export_run(Run(tiny_run), None, copy, lines.append, engine="tflm")
    assert lines[0] == f"{copy} is already exported"
    assert other.manifest.engine == "tflm" and other.compiled == {}
    assert other.manifest.arena.bytes > exported.manifest.arena.bytes
    before = contents(exported.folder)
    after = contents(copy)
    assert set(before) - set(after) == COMPILED_FILES
    assert {name for name in after if after[name] != before[name]} == {"manifest.json", "model.h"}
    export_run(Run(tiny_run), None, copy)
    assert contents(copy) == before


@pytest.fixture
def built_code(copy, monkeypatch, tmp_path):
    """The C that a firmware build of the copied export gets, and the build's lines."""
    bench = Bench(lambda made: FirmwareImage(made.folder, made.board, {}, 1, 1), None, monkeypatch)

    def build():
        lines = []
        bundle = Bundle.load(copy)
        starting.export_firmware(bundle, "mps2_an386", tmp_path / "build", "compiled", lines.append)
        generated = bench.built[-1].folder / "generated"
        assert lines.pop() == "fetching CMSIS-DSP"
        return {path.name: path.read_text() for path in generated.iterdir()}, lines

    return build


def test_a_build_takes_the_exported_c_itself_and_refuses_a_changed_one(copy, built_code):
    before = contents(copy)
    files, lines = built_code()
    for name in ("m3net_network.c", "m3net_network.h", "model_labels.c"):
        assert files[name] == (copy / "compiled" / name).read_text()
    assert "M3NET_ENGINE_COMPILED 1" in files["model.h"] and lines == []
    with (copy / "compiled" / "m3net_network.c").open("a") as file:
        file.write("// changed\n")
    with refuses(ModelError, "m3net_network.c"):
        built_code()
    Bundle.load(copy).set_engine("compiled")
    assert contents(copy) == before


def test_c_of_another_release_is_written_anew_and_said_so(copy, built_code):
    before = contents(copy)
    files, _ = built_code()
    manifest = json.loads(before["manifest.json"])
    code = manifest.pop("code")
    for values in (manifest, {**manifest, "code": {**code, "kernels_sha256": "others"}}):
        (copy / "manifest.json").write_text(json.dumps(values))
        again, (line,) = built_code()
        assert again == files and "of another release" in line
        Bundle.load(copy).set_engine("compiled")
        assert contents(copy) == before


def test_a_network_that_the_compiler_lacks_names_the_other_engine(
    tiny_run, tmp_path, quantized, monkeypatch
):
    def refuse(*_, **__):
        raise ModelError("operator SVDF of 'cell'")

    monkeypatch.setattr(c_files, "compile_network", refuse)
    with refuses(ModelError, "SVDF", "'cell'", "--engine") as error:
        export_run(Run(tiny_run), None, tmp_path / "export")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    assert export_run(Run(tiny_run), None, tmp_path / "export", engine="tflm").labels


def test_a_measured_arena_is_kept(copy, tiny_run):
    Bundle.load(copy).set_arena(12_345, "mps2_an386")
    manifest = Bundle.load(copy).manifest
    assert manifest.arena == Arena(12_345, "mps2_an386")
    header = (copy / "model.h").read_text()
    assert "#define M3NET_MODEL_ARENA_BYTES 12345\n" in header
    assert "mps2_an386" in header
    before = contents(copy)
    Bundle.load(copy).set_arena(12_345, "mps2_an386")
    assert contents(copy) == before
    # Nothing else changed.
    export_run(Run(tiny_run), None, copy)
    assert contents(copy) == before


def test_no_export(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with refuses(ModelError, "manifest.json", "m3net export"):
            Bundle.load(folder)


def damage_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-50])


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def write_text_for_bytes(folder: Path) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values["model"]["bytes"] = "many"
    path.write_text(json.dumps(values))


def swap_model(folder: Path) -> None:
    (folder / "model.tflite").write_bytes(b"another network")


def lose(name: str):
    def remove(folder: Path) -> None:
        (folder / name).unlink()

    return remove


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (damage_manifest, DataError, r"manifest\.json is not valid JSON"),
        (
            empty_manifest,
            ModelError,
            r"manifest\.json: the export has format 1, and m3net_tf .* reads format 2: export",
        ),
        (
            write_text_for_bytes,
            ModelError,
            r"manifest\.json .*manifest\.model\.bytes is 'many': give",
        ),
        (swap_model, ModelError, r"model\.tflite is not the network of manifest\.json"),
        (lose("model.tflite"), ModelError, r"copy lacks model\.tflite: export again"),
        (lose("vectors/pcm_int16.bin"), ModelError, r"copy lacks vectors/pcm_int16\.bin"),
    ],
)
def test_a_damaged_export_is_refused_and_the_next_export_does_not_keep_it(
    damage, kind, message, copy
):
    damage(copy)
    with pytest.raises(kind, match=message) as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value)
    lines: list[str] = []
    assert writing.existing_export(copy, lines.append) is None
    assert lines == [f"{caught.value}; exporting now"]


def test_a_folder_of_something_else_is_left_alone(tiny_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with refuses(ModelError, tmp_path):
        export_run(Run(tiny_run), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unfinished_run(tiny_run, tmp_path):
    shutil.copy(tiny_run / "recipe.yaml", tmp_path / "recipe.yaml")
    with refuses(ModelError, tmp_path):
        export_run(Run(tmp_path), None)
    with pytest.raises(ModelError, match="nowhere"):
        export_run(Run(tmp_path / "nowhere"), None)


def test_a_failure_leaves_nothing_and_keeps_the_old_export(
    copy, tiny_run, tmp_path, quantized, monkeypatch
):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    swap_model(copy)
    before = contents(copy)
    monkeypatch.setattr(writing, "_write_vectors", fail)
    with pytest.raises(OSError, match="No space left"):
        export_run(Run(tiny_run), None, copy)
    assert contents(copy) == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_front_end_that_the_device_lacks(tiny_run, tmp_path, quantized):
    run = Run(shutil.copytree(tiny_run, tmp_path / "run"))
    recipe = load_recipe(run.recipe_path)
    frontend = dataclasses.replace(recipe.frontend, log="db", feature_min=-60.0, feature_max=22.0)
    save_recipe(dataclasses.replace(recipe, frontend=frontend), run.recipe_path)
    with refuses(ConfigError, "frontend.log", "'db'", "'ln'"):
        export_run(run, None)
    assert not (run.folder / "export").exists()
    assert not list(run.folder.glob(".*"))


def test_without_tflm_the_arena_is_a_guess(tiny_run, tmp_path, quantized, no_tflm):
    lines: list[str] = []
    guessed = export_run(Run(tiny_run), None, tmp_path / "export", lines.append, "tflm")
    assert any("tflite-micro package does not load" in line for line in lines)
    assert guessed.manifest.arena.source.startswith("guess")
