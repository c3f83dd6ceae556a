"""`make audit` never takes silence for an answer."""

import json
import re
import runpy
from pathlib import Path

import pytest

AUDIT = Path(__file__).with_name("audit.py")
PACKAGE = {"name": "a", "version": "1", "vulns": []}
FLAW = {"id": "PYSEC-1", "fix_versions": ["2"]}
REPORTS = {
    "clean": ([PACKAGE], 0, "1 packages audited, 0 vulnerabilities"),
    "flawed": ([PACKAGE | {"vulns": [FLAW]}], 1, "a 1: PYSEC-1, repaired in 2"),
    "part": ([PACKAGE, {"name": "b", "skip_reason": "?"}], 0, "not audited, unknown .*: b"),
    "offline": ([{"name": "b", "skip_reason": "?"}], 2, "NOTHING IS AUDITED"),
    "broken": (None, 2, "NOTHING IS AUDITED"),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_an_audit_without_an_answer_is_none(kind):
    packages, code, words = REPORTS[kind]
    report = "" if packages is None else json.dumps({"dependencies": packages})
    found, lines = runpy.run_path(str(AUDIT))["verdict"](report)
    assert found == code
    assert re.search(words, "\n".join(lines))
