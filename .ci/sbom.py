# SPDX-License-Identifier: Apache-2.0
"""Writes the bill of materials of a release (CycloneDX JSON); ``make sbom`` calls this.

``cyclonedx-py environment`` lists the Python packages. This adds the sources that
``firmware/third_party.lock`` pins, and names the project as what all of them are parts of.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOCK_FILE = Path(__file__).parents[1] / "firmware" / "third_party.lock"
PROJECT = "m3net_tf"


def release_bom(environment: dict[str, Any], lock: dict[str, Any]) -> dict[str, Any]:
    """Bill of materials of the release.

    Args:
        environment: bill of materials of the Python environment, with the project in it.
        lock: content of ``third_party.lock``.
    """
    (project,) = (part for part in environment["components"] if part["name"] == PROJECT)
    sources = [_git_source(entry) for entry in lock["source"]]
    sources += [_index_package(entry) for entry in lock.get("package", [])]
    references = [source["bom-ref"] for source in sources]
    dependencies = [
        {**entry, "dependsOn": [*entry.get("dependsOn", []), *references]}
        if entry["ref"] == project["bom-ref"]
        else entry
        for entry in environment["dependencies"]
    ]
    # Its address is a folder of the machine that makes the release.
    described = {key: value for key, value in project.items() if key != "externalReferences"}
    return {
        **environment,
        "metadata": {**environment["metadata"], "component": {**described, "type": "application"}},
        "components": [part for part in environment["components"] if part is not project] + sources,
        "dependencies": dependencies + [{"ref": reference} for reference in references],
    }


def _git_source(entry: dict[str, Any]) -> dict[str, Any]:
    owner_and_name = urlsplit(entry["url"]).path.strip("/").lower()
    return {
        **_component(entry, f"pkg:github/{owner_and_name}@{entry['commit']}", entry["commit"]),
        "externalReferences": [{"type": "vcs", "url": entry["url"]}],
    }


def _index_package(entry: dict[str, Any]) -> dict[str, Any]:
    purl = f"pkg:pypi/{entry['name']}@{entry['version']}"
    return {
        **_component(entry, purl, entry["version"]),
        "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}],
    }


def _component(entry: dict[str, Any], purl: str, version: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": entry["name"],
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": entry["licence"]}}],
    }


def main(environment_file: str, output: str) -> int:
    """Write the bill of materials; returns 1 if it violates the schema of its version."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    environment = json.loads(Path(environment_file).read_text(encoding="utf-8"))
    lock = tomllib.loads(LOCK_FILE.read_text(encoding="utf-8"))
    text = json.dumps(release_bom(environment, lock), indent=1, ensure_ascii=False) + "\n"
    version = SchemaVersion.from_version(environment["specVersion"])
    if error := JsonStrictValidator(version).validate_str(text):
        print(f"{output}: not a valid bill of materials: {error}", file=sys.stderr)
        return 1
    Path(output).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
