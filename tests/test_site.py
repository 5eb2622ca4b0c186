# SPDX-License-Identifier: Apache-2.0
"""What the documentation site is built from; ``make docs`` builds it, warnings being errors."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "docs" / "site" / "build.py"))
C_PAGES = runpy.run_path(str(ROOT / "docs" / "site" / "c_pages.py"))
HEADER = """// SPDX-License-Identifier: Apache-2.0
// Rings of <bytes>.
#ifndef RING_H_
#define RING_H_

/// Most bytes.
#define RING_MOST \\
  (4 * 8)

/// A ring.
typedef struct {
  int used;  ///< Bytes in it.
} ring;

/// Takes a byte.
///
/// @param byte  anything but
///              zero.
/// @return whether there was room.
static inline bool ring_put(ring* r, char byte) {
  return true;
}

/// All rings.
extern const ring rings[2];

void undocumented(void);
#endif
"""


def test_every_page_is_in_the_navigation_once():
    listed = [page for pages in SITE["navigation"]().values() for page in pages]
    assert len(listed) == len(set(listed))
    generated = {SITE["PYTHON_PAGE"], SITE["CORE_PAGE"], SITE["ENGINE_PAGE"]}
    pages = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")}
    assert pages - {SITE["INDEX"]} <= set(listed)
    assert set(listed) - generated <= set(SITE["linked"]()[0])


def test_links_to_sources_lead_to_pages_of_them(tmp_path):
    SITE["stage"](tmp_path)
    compare = (tmp_path / "docs" / "design" / "compare.md").read_text()
    links = re.findall(r"\]\((\.\./\.\./tests/[^)]+)\)", compare)
    assert len(links) > 10
    for link in links:
        page = tmp_path / "docs" / "design" / link
        assert "literalinclude" in page.read_text()
        assert page.with_suffix("").is_file()
    landing = (tmp_path / SITE["LANDING"]).read_text()
    assert ":caption: Guide" in landing and "README.md" in landing
    for link in re.findall(r"\]\(([^)]+)\)", landing):
        assert (tmp_path / link).is_file(), link
    assert ".. autofunction:: load" in (tmp_path / SITE["PYTHON_PAGE"]).read_text()
    assert (tmp_path / "docs" / "rooms.svg").is_file()


def test_links_to_folders_lead_to_pages_of_their_files(tmp_path):
    SITE["stage"](tmp_path)
    folders = SITE["linked_folders"](SITE["linked"]()[0])
    assert Path("experiments/mcu") in folders
    for folder in folders:
        page = (tmp_path / folder / SITE["FOLDER_PAGE"]).read_text()
        assert all(f"`{path.name}`" in page for path in (ROOT / folder).glob("*.*"))
    results = (tmp_path / "docs" / "evidence" / "results" / "keywords.md").read_text()
    assert f"](../../../experiments/mcu/{SITE['FOLDER_PAGE']})" in results


def test_options_keep_their_dashes_and_every_page_has_a_title_of_its_own(tmp_path):
    settings = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))
    assert settings["smartquotes"] is False
    SITE["stage"](tmp_path)
    titles = [
        next(line for line in path.read_text().splitlines() if line.startswith("# "))
        for path in (tmp_path / "docs").rglob("*.md")
    ]
    assert len(titles) == len(set(titles))
    endings = [title.partition(": ")[2] for title in titles]
    assert not [ending for ending in endings if ending and endings.count(ending) > 1]


def test_a_header_becomes_a_page(tmp_path):
    (tmp_path / "ring.h").write_text(HEADER)
    page = C_PAGES["page"]("Rings", "All of it.", [tmp_path / "ring.h"], tmp_path)
    assert page.startswith("# Rings\n\nAll of it.\n\n## `ring.h`\n\nRings of \\<bytes\\>.\n")
    assert re.findall("^### `(.*)`", page, re.MULTILINE) == [
        "RING_MOST",
        "ring",
        "ring_put",
        "rings",
    ]
    assert "```c\nstatic inline bool ring_put(ring* r, char byte);\n```" in page
    assert "- `byte`: anything but\n  zero.\n- Returns: whether there was room.\n" in page
    assert "#define RING_MOST \\\n  (4 * 8)\n```" in page
    assert "int used;  ///< Bytes in it.\n} ring;" in page


@pytest.mark.parametrize("folder", ["core", "engine"])
def test_every_comment_of_the_headers_is_on_a_page(folder):
    for path in sorted((ROOT / "firmware" / folder).glob("*.h")):
        text = path.read_text()
        documented = list(C_PAGES["declarations"](text))
        assert len(documented) == len(re.findall(r"^///.*\n(?!///)", text, re.MULTILINE)), path
        for item in documented:
            assert re.fullmatch(r"\w+", item.name), (path, item)
            assert re.search(rf"\b{item.name}\b", item.code)


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="_static/a.js">', 0),
        ('<a class="x" href="https://example.org">', 0),
        ('<img alt="" src="https://example.org/a.png">', 1),
        ('<link rel="stylesheet" href="//example.org/a.css">', 1),
        ("<style>@import 'https://example.org/a.css';</style>", 1),
        ("<style>b { background: url(https://example.org/a.png) }</style>", 1),
    ],
)
def test_what_a_page_would_load_from_other_hosts_is_found(html, loads, tmp_path):
    (tmp_path / "a.html").write_text(html)
    assert len(SITE["external_loads"](tmp_path)) == loads
