"""YAML as people expect it."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job.yaml12 import parse, render
from mtl.errors import ConfigError

SCALARS = {
    "1e-3": 0.001, "5E4": 50000.0, "-.5": -0.5, "1.": 1.0, "+3": 3, "010": 10, "0": 0,
    "no": "no", "on": "on", "Yes": "Yes", "y": "y", "true": True, "FALSE": False,
    "null": None, "~": None, "": None, "0x1F": "0x1F", "1_000": "1_000", "1:30": "1:30",
    "2001-01-01": "2001-01-01", "'5'": "5", ".inf": math.inf, "-.INF": -math.inf, "1e": "1e",
}  # fmt: skip


@pytest.mark.parametrize("text", SCALARS)
def test_a_scalar_is_what_it_looks_like(text):
    found = parse(f"a: {text}", "file.yaml")["a"]
    assert (found, type(found)) == (SCALARS[text], type(SCALARS[text]))


def test_not_a_number_is_one():
    assert math.isnan(parse(".nan", "file.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"^file\.yaml:3:1: the key 'a' stands twice"),
        ("x: {a: 1, 'a': 2}", r"^file\.yaml:1:11: the key 'a' stands twice"),
        ("a: &x 1", r"^file\.yaml:1:4: anchors and aliases are not allowed"),
        ("a: 1\nb: *x", r"^file\.yaml:2:4: anchors and aliases are not allowed"),
        ("a: &x [*x, *x]", r"anchors and aliases are not allowed"),
        ("a: !!python/object/apply:os.getcwd []", r"^file\.yaml:1:4: tags are not allowed"),
        ("a: [1, 2", r"^file\.yaml:1:9: "),
        ("a: 1\n--- \nb: 2", r"^file\.yaml:2:1: .*another document"),
        ("a: !!str 5", r"^file\.yaml:1:4: tags are not allowed, found 'tag:yaml.org,2002:str'"),
        ("[a]: 1", r"^file\.yaml:1:1: expected a word as a key"),
        ("a: \x00", r"^file\.yaml: unacceptable character"),
        ('a: "\\0"', r"^file\.yaml:1:4: '.x00' holds a NUL character"),
        ('a: "\\ud800"', r"^file\.yaml:1:4: '.ud800' is no Unicode"),
        ("[" * 10**5, r"^file\.yaml:1:52: nested deeper than 50"),
        ("a: " + "9" * 5000, r"^file\.yaml:1:4: a number of 5000 characters is too long"),
    ],
)
def test_what_is_no_configuration_is_refused_by_line_and_column(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text, "file.yaml")


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.sampled_from([*SCALARS, "<<", "=", "- a", "a: b", "#", "&x", "*x", "!y", "null ", "%"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(TREES)
@example({"\x85": "\u2028"})
def test_what_is_written_is_read_back(tree):
    assert typed(parse(render(tree), "file.yaml")) == typed(tree)


def typed(tree):
    """Tell 1, 1.0 and True apart."""
    if isinstance(tree, dict):
        return {key: typed(item) for key, item in tree.items()}
    return [typed(item) for item in tree] if isinstance(tree, list) else (type(tree), tree)


def test_the_same_list_twice_is_written_twice():
    twice = [1, 2]
    assert parse(render({"a": twice, "b": twice}), "file.yaml") == {"a": [1, 2], "b": [1, 2]}
