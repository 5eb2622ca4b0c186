# SPDX-License-Identifier: Apache-2.0
"""The workflows call existing Makefile targets, pin actions by commit, and use no secrets.

The hooks of pre-commit are the project's own tools, and GitHub can read the issue forms.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from m3net_tf.boards.emulation.renode import RENODE_COMMIT

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
#: What GitHub asks of the job that publishes a site.
PAGES_RIGHTS = {"pages": "write", "id-token": "write"}
#: What GitHub asks of the job that downloads the built files, signs their provenance and publishes.
RELEASE_RIGHTS = {
    "actions": "read",
    "attestations": "write",
    "contents": "write",
    "id-token": "write",
}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow, or of an action of the tree."""
    content = read(path)
    parts = [content["runs"]] if "runs" in content else list(content["jobs"].values())
    return [step for part in parts for step in part["steps"]]


def make_targets(text: str) -> list[str]:
    calls = re.findall(
        r"(?:^|&&|;|^docker run .*\bm3net_tf)[ \t]*(?:\w+=\S+[ \t]+)*make((?:[ \t]+[^\s&;]+)+)",
        text,
        re.MULTILINE,
    )
    return [word for call in calls for word in call.split() if "=" not in word]


def called() -> set[str]:
    files = [*WORKFLOWS, *ACTIONS]
    return {t for path in files for step in steps(path) for t in make_targets(step.get("run", ""))}


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert called() <= targets
    assert {"lint", "docs", "test-all", "demo", "emulate-all", "renode", "dist"} <= called()


def test_the_workflows_call_all_that_the_local_run_calls():
    local = make_targets((ROOT / ".ci" / "run").read_text())
    assert "demo" in local and set(local) <= called()


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_actions_are_pinned_by_commit(path: Path):
    for step in steps(path):
        if uses := step.get("uses"):
            here = uses.startswith("./") and (ROOT / uses / "action.yml").is_file()
            assert here or PINNED.fullmatch(uses), f"{path.name}: {uses}"
    # The comment names the release of the commit.
    for line in path.read_text().splitlines():
        if re.search(r"uses: (?!\./)", line):
            assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_renode_is_the_release_that_the_suites_were_checked_against():
    (step,) = (
        step
        for path in WORKFLOWS
        for step in steps(path)
        if "renode-test-action" in step.get("uses", "")
    )
    assert step["with"] == {"renode-revision": RENODE_COMMIT}
    jobs = [
        job for path in WORKFLOWS for job in read(path)["jobs"].values() if step in job["steps"]
    ]
    assert [job["env"] for job in jobs] == [{"M3NET_REQUIRE_RENODE": "1"}]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_secrets_and_few_rights(path: Path):
    assert "secrets" not in path.read_text()
    content = read(path)
    assert "pull_request_target" not in content[True]  # YAML's reading of the key ``on``
    assert content["permissions"] == {"contents": "read"}
    assert content["env"]["M3NET_REQUIRE_TFLM"] == "1"
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 90
        # A job that may write runs no code of the tree or of packages: GitHub's client and its
        # action that signs, or the one action that publishes the pages.
        if "permissions" in job:
            publishes = any("deploy-pages" in step.get("uses", "") for step in job["steps"])
            if publishes:
                assert job["permissions"] == PAGES_RIGHTS and len(job["steps"]) == 1
            else:
                assert job["permissions"] == RELEASE_RIGHTS
                for step in job["steps"]:
                    signs = step.get("uses", "").startswith("actions/attest@")
                    assert signs or step["run"].startswith("gh ")
    # Text written by others (titles, branches) must not become part of a command.
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        # The token of the checkout must not stay in the folder that later steps run in.
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
