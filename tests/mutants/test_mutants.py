"""The list of bugs does not rot: each can be seeded still, and the tests that find it are there."""

import ast
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
AREAS = [tomllib.loads(path.read_text()) for path in sorted(Path(__file__).parent.glob("*.toml"))]
MUTANTS = {name: mutant for area in AREAS for name, mutant in area.items()}


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text()


@cache
def program_of(file: str) -> str:
    return ast.dump(ast.parse(text_of(file)))


@cache
def functions_in(file: str) -> set[str]:
    nodes = ast.parse(text_of(file)).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_names_are_all_different():
    assert len(MUTANTS) == sum(map(len, AREAS)) >= 40


def test_the_text_of_each_stands_in_its_file_once():
    counts = {name: text_of(bug["file"]).count(bug["old"]) for name, bug in MUTANTS.items()}
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_each_is_another_program():
    for name, bug in MUTANTS.items():
        changed = text_of(bug["file"]).replace(bug["old"], bug["new"])
        assert ast.dump(ast.parse(changed)) != program_of(bug["file"]), name


def test_the_tests_of_each_are_there():
    named = {test.partition("[")[0] for bug in MUTANTS.values() for test in bug["tests"]}
    wrong = [test for test in named if test.split("::")[1] not in functions_in(test.split("::")[0])]
    assert wrong == []
