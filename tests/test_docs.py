# SPDX-License-Identifier: Apache-2.0
"""README and docs name existing targets, files and pages; the reference matches the code."""

import hashlib
import itertools
import re
import runpy
from pathlib import Path

import pytest
import typer.main
import yaml

import m3net_tf
from m3net_tf.cli import app

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
RESULTS = ROOT / "experiments" / "results" / "README.md"
MEASURED = sorted((ROOT / "docs" / "evidence" / "results").glob("*.md"))
READMES = [ROOT / folder / "README.md" for folder in (".", "firmware", "examples")]
FOR_CONTRIBUTORS = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / ".github").glob("*.md"))]
PAGES = [*READMES, RESULTS, *DOCS, *FOR_CONTRIBUTORS]
#: Files that the README's commands make.
MADE = ("runs/", "build/", "dist/")
#: First words of the firmware's console lines, which start with ``m3net`` too.
CONSOLE = (
    "boot ready clip memory done ok error event scores column audio level overrun stopped".split()
)
COMMAND = typer.main.get_command(app)

pytestmark = pytest.mark.skipif(
    not (ROOT / "m3net_tf/lab").is_dir(), reason="the pages describe the lab, too"
)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> list[str]:
    """Lines of code blocks, and code between backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    blocks = [line for block in fenced for line in block.splitlines()]
    return [*blocks, *indented, *re.findall(r"`([^`\n]+)`", text)]


def test_code_is_found_in_all_its_forms():
    text = "Say `make a`:\n\n    make b c X=1  # d\n\n```\nexport X=1\nmake e\n```\n"
    assert [command for command in commands(text) if command.startswith("make")] == [
        "make e",
        "make b c X=1  # d",
        "make a",
    ]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_make_targets_exist(page: Path):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for command in commands(page.read_text()):
        if command.startswith("make "):
            words = command.partition("#")[0].split()[1:]
            assert {word for word in words if "=" not in word} <= targets, command


def options_of(words: list[str]) -> set[str]:
    """Options of the command that a command line names.

    Raises:
        KeyError: there is no such command.
    """
    command = COMMAND
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return {"-h", "--help", *(option for parameter in command.params for option in parameter.opts)}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_and_their_options_exist(page: Path):
    for line in commands(page.read_text().replace("\\\n", " ")):
        for call in re.findall(r"(?:^\$ |^|\| )m3net ([a-z][^|>]*)", line):
            words = call.partition("#")[0].split()
            if words[0].isalpha() and words[0] not in CONSOLE:
                options = {word.partition("=")[0] for word in words if word.startswith("--")}
                assert options <= options_of(words), f"{ids(page)}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_files_exist(page: Path):
    """Paths in code that begin with a folder of the tree; ``<x>`` and ``*`` match any name."""
    text = page.read_text()
    saved = re.findall(r"Save this\b[^`]* as `([^`]+)`", text)  # by the reader
    for code in set(re.findall(r"`([\w.-]+/[^`\s]*)`", text)) - set(saved):
        first = code.partition("/")[0]  # on the page of results, mcu/keywords is a table's name
        base = page.parent if page != RESULTS and (page.parent / first).is_dir() else ROOT
        if code.startswith(MADE) or not (base / first).is_dir():
            continue
        pattern = re.sub(r"<[^>]+>", "*", code).rstrip("/")
        assert list(base.glob(pattern)), f"{ids(page)}: {code}"


def test_splits_of_subsets_share_no_speaker():
    path = ROOT / "experiments/subsets/scv2_mini.txt"
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    names = [name for _, name in rows]
    assert names == sorted(set(names))
    speakers: dict[str, set[str]] = {}
    for split, name in rows:
        speakers.setdefault(split, set()).add(name.split("/")[1].split("_nohash_")[0])
    assert set(speakers) == {"train", "validation", "test"}
    for first, second in itertools.combinations(speakers.values(), 2):
        assert not first & second


def test_results_name_each_subset_by_sha256sum():
    page = (ROOT / "docs" / "evidence" / "results" / "conditions.md").read_text()
    for path in (ROOT / "experiments/subsets").glob("*.txt"):
        assert f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`" in page, path.name


def test_accuracies_have_augmentation_size_and_recipe_in_the_first_line_of_their_section():
    text = "\n".join(page.read_text() for page in MEASURED)
    openings = dict(re.findall(r"(?m)^#+ (.*)\n\n(?=(.*))", text))
    named = r"(Not a|A)ugmented; .*parameters.*; .*recipe|.*Nothing is trained"
    assert {title for title in openings if not re.match(named, openings[title])} == {
        *("Subsets", "Threads", "Instruction set", "Keyword networks", "What quantisation loses"),
        *(
            "The papers' tables",
            "Entropy and zero crossings",
            "How to read the tables",
            "Emulators",
        ),
        *("Reading data", "Time for a table", "Speed", "Test coverage", "Light commands"),
        *("Demonstration, emulators and live detection", "Speed and test coverage"),
        *("Results of M3Net", "Results of DiffRes", "Results of the bilateral network"),
        *("Results of SpectroMaskNet", "How the results were measured"),
    }


def test_tests_that_prove_a_decision_exist():
    named = set(
        re.findall(r"`(test_\w+)`", (ROOT / "docs" / "design" / "decisions.md").read_text())
    )
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 8
    assert not {name for name in named if f"def {name}(" not in text}


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as Markdown viewers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())  # a pattern may look like a link
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("http://", "https://")):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{ids(page)}: {link}"
            assert not anchor or anchor in anchors(target), f"{ids(page)}: {link}"


def test_the_reference_is_what_the_code_says():
    """Commands, recipe keys, data sets and boards."""
    generator = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    for name, text in generator["pages"]().items():
        page = generator["FOLDER"] / name
        assert page.read_text() == text, f"{ids(page)}: run python docs/make_reference.py"


@pytest.mark.parametrize("page", DOCS, ids=ids)
def test_tables_with_marks_are_what_the_data_say(page: Path):
    generator = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    text = page.read_text()
    assert text.count("<!-- table: ") == len(generator["MARKED"].findall(text))
    assert text == generator["with_tables"](text), f"{ids(page)}: run python docs/make_tables.py"


def test_the_pages_of_results_are_what_their_json_says():
    generator = runpy.run_path(str(ROOT / "docs" / "make_tables.py"))
    for page, text in generator["result_pages"]():
        assert page.read_text() == text, f"{ids(page)}: run python docs/make_tables.py"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guide").glob("*.md")), ids=ids)
def test_a_page_of_the_guide_is_short_and_has_a_picture(page: Path):
    text = page.read_text()
    assert len(text.split()) <= 1_200
    assert "![" in text


def test_version_and_date_are_the_same_wherever_a_release_takes_them_from():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version, day = re.findall(r"(?m)^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text())[0]
    assert version == cited["version"] == m3net_tf.__version__
    assert day == str(cited.get("date-released", "unreleased"))


def test_the_index_lists_every_page():
    index = ROOT / "docs" / "README.md"
    links = re.findall(r"\]\(([^)#\s]+)\)", index.read_text())
    linked = {(index.parent / link).resolve() for link in links}
    assert {RESULTS, *DOCS} - {index} <= linked
