# SPDX-License-Identifier: Apache-2.0
"""The transcripts have the README's commands, and the commands print what the transcripts show.

The figures of a training depend on the computer, and the tests train for moments. So each line of a
transcript must be printed with other figures.
"""

import itertools
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typed_commands import m3net

from m3net_tf import Classifier
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.networks.pretrained import find_pretrained
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.training import load_recipe

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "docs" / "make_transcripts.py"))
commands_of, printed_lines, transcribe = (
    TOOL[name] for name in ("commands_of", "printed_lines", "transcribe")
)
PAGES = {page: TOOL["path_of"](page).read_text() for page in TOOL["PAGES"]}
#: Lines that depend on caches, answers of a network that was trained for moments, and examples of
#: groups, which depend on the names of the files and decide where their caption is wrapped.
_VARYING = re.compile(r"fetching |epoch |features of |\S+\.wav: |.*\.wav -> |\s+may be too high\.$")


def as_typed(command: str) -> str:
    """A command without its comment, with one name for all sounds."""
    words = command.partition("#")[0].split()
    return " ".join("clip.wav" if word.endswith(".wav") else word for word in words)


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_are_those_of_the_readme_or_its_tutorial(page):
    sources = [ROOT / "README.md"]
    links = re.findall(r"\]\(((?:\.\./)+(?:\w+/)?\w+\.md)\)", PAGES[page])
    sources += [(ROOT / "docs" / "evidence" / "transcripts" / link).resolve() for link in links]
    typed = {as_typed(line) for source in sources for line in source.read_text().splitlines()}
    commands = [line for line in commands_of(PAGES[page]) if line.startswith("m3net ")]
    assert commands and not [line for line in commands if as_typed(line) not in typed]
    assert f"docs/evidence/transcripts/{page}.md" in (ROOT / "README.md").read_text()


def test_every_command_of_the_readmes_tasks_is_in_a_transcript():
    (tasks,) = re.findall(
        r"^## Five tasks\n.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    shown = {as_typed(line) for page in PAGES.values() for line in commands_of(page)}
    typed = [as_typed(line) for line in tasks.splitlines()]
    assert len(typed) > 10 and not [line for line in typed if line and line not in shown]


def test_the_recipe_of_fine_tuning_has_the_front_end_of_the_network():
    path = ROOT / "examples" / "whistles" / "whistles.yaml"
    assert f"```yaml\n{path.read_text()}```" in (ROOT / "docs/guide/improve.md").read_text()
    recipe = load_recipe(path)
    trained = load_recipe(find_pretrained(Path(recipe.fine_tuning.run)) / "recipe.yaml")
    assert recipe.frontend == trained.frontend
    assert recipe.model.name == trained.model.name and recipe.model.preset == trained.model.preset


def test_a_transcript_is_written_again():
    page = "# A\n\n```text\n$ train x   # 9 s\nold\n$ pip install .\n```\n\n```sh\n$ no\n```\n"
    lines = "\n".join(
        ["start", "training: 1/9 steps, 3 s left", *(f"epoch {i}/5" for i in range(1, 6)), "end"]
    )
    shell = {"train x": lines, "pip install .": "WARNING"}
    assert commands_of(page) == [*shell]
    new = transcribe(page, shell.__getitem__)
    assert "$ train x\nstart\nepoch 1/5\n…\nepoch 5/5\nend\n$ pip install .\n```\n" in new
    assert printed_lines(new) == ["start", "epoch 1/5", "epoch 5/5", "end"]
    assert new.endswith("\n\n```sh\n$ no\n```\n")
    left_out = page.replace("old", "…")
    assert "$ train x\n…\n$ pip install .\n```\n" in transcribe(left_out, shell.__getitem__)


def masked(line: str) -> str:
    """A line without its figures, without the folder of the package, and with single spaces."""
    line = re.sub(r"\S*/pretrained/", "", line)
    return re.sub(r"\s+", " ", re.sub(r"[\d.,─┌┬┐└┴┘]+", "#", line)).strip()


def type_page(page: str, after: Callable[[str], None] = lambda command: None) -> str:
    """Type a page's commands, except those that install, and compare the lines.

    Args:
        page: name of the page.
        after: called after each command.

    Returns:
        All that they print.
    """
    printed = ""
    for command in commands_of(PAGES[page]):
        program, *words = shlex.split(command)
        if program == "m3net":
            printed += m3net(words)
        elif program in ("cc", "./recognise"):
            printed += subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, check=True
            ).stdout
        elif program in ("espeak-ng", "python", "sed"):
            program = sys.executable if program == "python" else program
            printed += subprocess.run(
                [program, *words], capture_output=True, text=True, check=True
            ).stdout
        else:
            continue
        after(command)
    lines = {masked(line) for line in printed.splitlines()}
    shown = [line for line in printed_lines(PAGES[page]) if not _VARYING.match(line)]
    assert not [line for line in shown if masked(line) not in lines], printed
    return printed


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """The working folder, with the examples of the checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(text: str) -> list[str]:
    """The best label of each ``m3net classify`` in a transcript or an output."""
    return re.findall(r"^\S+\.wav: (\S+)", text, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng here")
def test_a_file_is_classified(checkout):
    printed = answers(type_page("classify"))  # another release of the synthesiser may change them
    assert len(printed) == len(answers(PAGES["classify"])) == 4
    assert {*printed, *answers(PAGES["classify"])} <= {*Classifier("m3net-s-keywords").labels}


@pytest.mark.long
@pytest.mark.slow
def test_own_sounds_are_trained_emulated_and_reported_and_run_on_another_board(checkout):
    if reason := why_no_emulation("mps2_an500") or tflm_unavailable_reason():
        pytest.skip(reason)

    def shorten(command: str) -> None:
        if not command.startswith("m3net init"):
            return
        for path in checkout.glob("whistles/*/*_[12].wav"):
            path.unlink()
        recipe = checkout / "whistles_project" / "recipe.yaml"
        values = yaml.safe_load(recipe.read_text())
        values["training"]["epochs"] = values["augmentation"]["copies"] = 2
        recipe.write_text(yaml.safe_dump(values))

    type_page("own_folder", shorten)
    type_page("another_board")
    assert (checkout / "runs" / "own" / "report.html").stat().st_size > 100_000


@pytest.mark.long
@pytest.mark.slow
def test_long_clips_are_cross_validated(checkout):
    if reason := why_no_emulation("mps2_an386") or tflm_unavailable_reason():
        pytest.skip(reason)
    for label, number in itertools.product(
        ("crying_baby", "dog", "rooster", "sneezing"), range(12)
    ):
        name = f"{number % 5 + 1}-{100_000 + number // 2}-{'AB'[number % 2]}-{len(label)}.wav"
        path = checkout / "sounds" / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = np.zeros(5 * 44_100, np.float32)
        rng = np.random.default_rng([number, len(label)])
        sound[44_100:88_200] = rng.uniform(-0.2, 0.2, 44_100)
        soundfile.write(path, sound, 44_100)
    (sneeze,) = re.findall(r"sounds/sneezing/\S+\.wav", "\n".join(commands_of(PAGES["long_clips"])))
    (checkout / sneeze).symlink_to(path)

    def shorten(command: str) -> None:
        if command.startswith("m3net init"):
            recipe = checkout / "sounds_project" / "recipe.yaml"
            values = yaml.safe_load(recipe.read_text())
            values["training"]["epochs"] = values["augmentation"]["copies"] = 1
            recipe.write_text(yaml.safe_dump(values))

    type_page("long_clips", shorten)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_plain_c_says_what_the_export_says(checkout):
    if reason := why_no_emulation("mps2_an386") or tflm_unavailable_reason():
        pytest.skip(reason)
    label, score = type_page("plain_c").splitlines()[-1].split()
    vectors = checkout / "runs" / "m3net-s-keywords" / "export" / "vectors"
    scores = np.fromfile(vectors / "outputs_int8.bin", np.int8)[:12]
    assert label == Classifier("m3net-s-keywords").labels[scores.argmax()]
    assert abs(int(score) - scores.max()) <= 8  # the program's front end is in fixed point


@pytest.mark.slow
def test_a_papers_table_at_its_tiny_scale(checkout):
    type_page("paper_table")
    assert (checkout / "runs/tables/m3net/table4.tiny.csv").is_file()


@pytest.mark.slow
def test_a_trained_network_is_fine_tuned(checkout):
    before, after = answers(type_page("fine_tune"))
    assert before in Classifier("m3net-s-keywords").labels and after == "up"
    assert answers(PAGES["fine_tune"])[1] == "up"


@pytest.mark.slow
def test_ten_recordings_become_two_events_on_a_board(checkout):
    if reason := why_no_emulation("mps2_an386") or tflm_unavailable_reason():
        pytest.skip(reason)
    printed = type_page("ten_recordings")
    assert re.findall(r'^{.*"label": "(\w+)"', printed, re.MULTILINE) == [
        "doorbell",
        "smoke_alarm",
    ]
