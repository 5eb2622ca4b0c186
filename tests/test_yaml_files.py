# SPDX-License-Identifier: Apache-2.0
"""YAML of users: input that PyYAML accepts silently or never finishes reading."""

import pytest
import yaml
from refusals import refuses

from m3net_tf.system.conversion import convert
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.yaml_files import DEEPEST, parse_yaml, read_yaml


def bomb(line: str) -> str:
    """Nine lines of ten aliases each of the line before."""
    lines = [f"a0: &a0 {line.format('1, 2, 3')}" if "[" in line else "a0: &a0 {k: 1}"]
    for i in range(1, 9):
        aliases = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} {line.format(aliases)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epochs: 1\nseed: 2\nepochs: 3",
            "duplicate key 'epochs' in lines 1 and 3: remove",
        ),
        ("training: {seed: 1, 'seed': 1}", "duplicate key 'seed' in line 1"),
        ("1: a\n0x1: b", "duplicate key 1 in lines 1 and 2"),
        ("a:\n  - b: 1\n    b: 2", "duplicate key 'b' in lines 2 and 3"),
        ("a:\n " + "[" * 60 + "]" * 60, f"line 2 is nested more than {DEEPEST} levels deep"),
        ("".join(f"{' ' * i}a:\n" for i in range(2000)), "line 50 is nested more than 50"),
        ("a: &a [1, *a]", r"\*a in line 1 refers to itself"),
        (bomb("[{}]"), "more than 50000 values with its aliases"),
        ("a: [" + "0," * 60_000 + "]", "more than 50000 values"),
        ("#" * (3 << 20), "cannot be read .it has more than 2097152 bytes"),
        (bomb("{{<<: [{}]}}"), "more than 50000 values"),
        ("lr: !!int ''", "'' in line 1 is not a valid int"),
        ("lr: !!float '_'", "'_' in line 1 is not a valid float"),
        ("? !!bool x\n: 1", "'x' in line 1 is not a valid bool"),
        ("day: !!timestamp x", "line 1 has the tag 'tag:yaml.org,2002:timestamp'"),
        ("? !!map x\n: 1", "line 1 has the tag 'tag:yaml.org,2002:map'"),
        ("a:\n  b: !!python/name:os.system", "line 2 has the tag .*python/name:os.system"),
        ("lr: " + "9" * 401, "the number in line 1 has more than 64 characters"),
        ("a:\n  lr: 0x1" + "0" * 5000, "the number in line 2 has more than 64 characters"),
        ("lr: 1" + ":59" * 400 + ".5", "the number in line 1 has more than 64 characters"),
        ("lr: !!int '" + "9" * 5000 + "'", "the number in line 1 has more than 64 characters"),
        ("0x" + "f" * 5000 + ": b", "the number in line 1 has more than 64 characters"),
        (r'a: "\ud800"', "the text in line 1 has half a character"),
        ("number: 0b_", "'0b_' in line 1 is not a valid int"),
    ],
)
def test_refused(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml.*{message}") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_long_texts_are_no_numbers_and_long_numbers_of_json_are_refused():
    assert parse_yaml("a: " + "x" * 9000, "text")["a"] == "x" * 9000
    assert parse_yaml("'" + "9" * 9000 + "'", "text") == "9" * 9000
    assert parse_yaml("a: 1:59:59.5", "text")["a"] == 7199.5
    with refuses(ConfigError, "training.lr"):
        convert(float, 10**400, "training.lr")


@pytest.mark.parametrize(
    "date", ["2001-02-31", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "="]
)
def test_a_date_is_text(date):
    """PyYAML raises an OverflowError for the years 1 and 9999; no key of ours is a date."""
    assert parse_yaml(f"{date}: {date}", "text") == {date: date}


def test_merge_keys_may_be_replaced():
    text = """
    base: &base {lr: 1, seed: 2}
    deep: {deeper: {deepest: &second {<<: *base, seed: 3}}}
    both: {<<: [*second, *base], lr: 5}
    """
    assert parse_yaml(text, "text") == yaml.safe_load(text)
    assert parse_yaml(text, "text")["both"] == {"lr": 5, "seed": 3}


def test_values_of_a_text_are_the_callers_own():
    first = parse_yaml("a: [1]", "text")
    first["a"].append(2)
    assert parse_yaml("a: [1]", "text") == {"a": [1]}
