# SPDX-License-Identifier: Apache-2.0
"""Build the documentation site: ``python docs/site/build.py build/site``.

The first page is ``landing.myst``; the others are those that README.md leads to. ``docs/README.md``
orders them: each of its sections is one of the navigation. Pages of the Python and C interfaces
come from docstrings and headers.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import m3net_tf
from m3net_tf.system.artifacts import write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FRONT = Path("README.md")
LANDING = Path("index.md")
INDEX = Path("docs/README.md")
#: Generated pages, in the section of the navigation that they end.
SECTION = "Reference"
#: Page of a folder, in the folder.
FOLDER_PAGE = "files-of-this-folder.md"
PYTHON_PAGE = Path("docs/reference/python_api.rst")
CORE_PAGE = Path("docs/reference/c_core.md")
ENGINE_PAGE = Path("docs/reference/c_engine.md")
_LINK = re.compile(r"(\]\(|\bsrc=\")([^)\s\"#]+)")
_SOURCES = {".py": "python", ".c": "c", ".h": "c", ".yaml": "yaml", ".txt": "text", ".csv": "text"}
# What a browser loads by itself, unlike a link.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|audio|video|link)\b[^>]*\b(?:src|href|srcset)=\"(?:https?:)?//[^\"]*"
    r"|@import[^;]*//[^;]*|url\([\"']?(?:https?:)?//[^)]*"
)


def build(site: Path, work: Path) -> None:
    """Build the site.

    Args:
        site: folder of the result; replaced.
        work: folder for the sources that Sphinx reads and for its cache.

    Raises:
        SystemExit: Sphinx warns, or a page would load something from another host.
    """
    source = work / "source"
    built = work / "html"
    shutil.rmtree(source, ignore_errors=True)
    stage(source)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
    command += ["-c", str(HERE), "-d", str(work / "doctrees"), str(source), str(built)]
    shutil.rmtree(built, ignore_errors=True)
    if status := subprocess.run(
        command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    ).returncode:
        raise SystemExit(status)
    if loads := external_loads(built):
        raise SystemExit("the site loads from other hosts:\n" + "\n".join(loads))
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(built, site)


def stage(source: Path) -> None:
    """Write what Sphinx reads: pages in the folders of the tree, so that their links hold."""
    pages, files = linked()
    sections = navigation()
    listed = {page for pages_of in sections.values() for page in pages_of} | {FRONT, INDEX}
    for page in pages:
        text = (ROOT / page).read_text()
        text = _LINK.sub(lambda link, page=page: _to_source_page(page, link), text)
        write_text(source / page, text if page in listed else "---\norphan: true\n---\n" + text)
    landing = (HERE / "landing.myst").read_text() + _toctrees(sections)
    write_text(source / LANDING, landing)
    for file in files:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, source / file)
        if language := _SOURCES.get(file.suffix):
            write_text(source / f"{file}.md", _source_page(file, language))
    for folder in linked_folders(pages):
        write_text(source / folder / FOLDER_PAGE, _folder_page(folder))
    write_text(source / PYTHON_PAGE, python_page())
    c_page = runpy.run_path(str(HERE / "c_pages.py"))["page"]
    for page, folder, title, intro in (
        (CORE_PAGE, "core", "C API: firmware core", "From sound to events, without a heap."),
        (ENGINE_PAGE, "engine", "C API: compiled engine", "Kernels and what they are made of."),
    ):
        headers = sorted((ROOT / "firmware" / folder).glob("*.h"))
        write_text(source / page, c_page(title, intro, headers, ROOT / "firmware"))


def linked() -> tuple[list[Path], list[Path]]:
    """Pages that README.md leads to, over any number of links, and other files they link to."""
    pages = [FRONT]
    files = []
    queue = [FRONT]
    while queue:
        page = queue.pop()
        for _, link in _LINK.findall((ROOT / page).read_text()):
            path = Path(os.path.normpath(page.parent / link))
            if (ROOT / path).is_file() and path not in pages and path not in files:
                (pages if path.suffix == ".md" else files).append(path)
                queue += [path] if path.suffix == ".md" else []
    return sorted(pages), sorted(files)


def linked_folders(pages: Iterable[Path]) -> list[Path]:
    """Folders that pages link to."""
    links = ((page, link) for page in pages for _, link in _LINK.findall((ROOT / page).read_text()))
    paths = {Path(os.path.normpath(page.parent / link)) for page, link in links}
    return sorted(path for path in paths if (ROOT / path).is_dir())


def navigation() -> dict[str, list[Path]]:
    """Pages of each section of ``docs/README.md``, in its order; then the generated ones."""
    sections: dict[str, list[Path]] = {}
    for part in re.split(r"^## ", (ROOT / INDEX).read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        links = [Path(os.path.normpath(INDEX.parent / link)) for _, link in _LINK.findall(text)]
        sections[title] = [link for link in links if link.suffix == ".md"]
    sections[SECTION] += [PYTHON_PAGE, CORE_PAGE, ENGINE_PAGE]
    return sections


def python_page() -> str:
    """The names of the package, then the names of its public rooms."""
    public = [name for name in m3net_tf.__all__ if not name.startswith("_")]
    modules = [name for name in public if isinstance(getattr(m3net_tf, name), ModuleType)]
    rooms = {name: getattr(m3net_tf, name).__name__ for name in modules if name != "keras"}
    lines = ["Python API", "==========", "", "``m3net_tf``", "------------", ""]
    lines += [":doc:`../guide/python` lists the stable ones and shows them in use.", ""]
    lines += [".. currentmodule:: m3net_tf", ""]
    for name in [name for name in public if name not in modules]:
        kind = "class" if isinstance(getattr(m3net_tf, name), type) else "function"
        lines += [f".. auto{kind}:: {name}", *(["   :members:"] if kind == "class" else []), ""]
    for name, room in rooms.items():
        title = f"``m3net_tf.{name}``"
        names = ", ".join(getattr(m3net_tf, name).__all__)
        lines += [title, "-" * len(title), ""]
        lines += [f".. automodule:: {room}", f"   :members: {names}", ""]
    return "\n".join(lines)


def external_loads(site: Path) -> list[str]:
    """What the pages and styles of a site would load from other hosts, each with its file."""
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    return [
        f"{file.relative_to(site)}: {load}"
        for file in files
        for load in _LOADED.findall(file.read_text())
    ]


def _to_source_page(page: Path, link: re.Match[str]) -> str:
    """A link to a source file or a folder leads to the page that shows it."""
    path = ROOT / page.parent / link[2]
    if path.is_dir():
        return f"{link[0].rstrip('/')}/{FOLDER_PAGE}"
    return f"{link[0]}.md" if path.is_file() and path.suffix in _SOURCES else link[0]


def _source_page(file: Path, language: str) -> str:
    include = f"```{{literalinclude}} {file.name}\n:language: {language}\n```\n"
    return f"---\norphan: true\n---\n# `{file}`\n\n{include}"


def _folder_page(folder: Path) -> str:
    """The names of a folder's files."""
    names = sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file())
    lines = "".join(f"- `{name}`\n" for name in names)
    return f"---\norphan: true\n---\n# `{folder}/`\n\n{lines}"


def _toctrees(sections: dict[str, list[Path]]) -> str:
    lines = ["", "```{toctree}", ":hidden:", "", f"Overview <{FRONT}>", str(INDEX), "```", ""]
    for title, pages in sections.items():
        lines += ["```{toctree}", ":hidden:", f":caption: {title}", ""]
        lines += [*(str(page.with_suffix("")) for page in pages), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/site/build.py FOLDER")
    build(Path(sys.argv[1]), ROOT / "build" / "docs")
