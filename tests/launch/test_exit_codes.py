"""What Kubernetes does when a pod ends with each of the exit codes that a job has."""

import re
from typing import Any

import pytest

from launch.cluster import Cluster
from launch.ending import MEANINGS
from launch.k8s_job import job
from launch.k8s_trainjob import training_runtime

REPLACED, COUNTED, FAILED = "replaced for nothing", "replaced and counted", "the run fails"
ACTIONS = {
    64: FAILED,
    65: FAILED,
    70: FAILED,
    73: COUNTED,
    75: REPLACED,
    76: FAILED,
    77: FAILED,
    78: COUNTED,
    79: COUNTED,
    137: COUNTED,
    143: COUNTED,
}
CLUSTER = Cluster(name="cora", image="example/graphmtl:0.1.0", nodes=2)
EACH = pytest.mark.parametrize(("code", "action"), ACTIONS.items())


def rule_for(code: int, spec: Any) -> tuple[int, str] | None:
    """Return place and action of the first rule that an exit code matches."""
    for place, rule in enumerate(spec["podFailurePolicy"]["rules"]):
        if code in rule.get("onExitCodes", {}).get("values", []):
            return place, rule["action"]
    return None


def test_the_table_has_all_codes():
    assert ACTIONS.keys() == MEANINGS.keys() - {0} | {137, 143}


@EACH
def test_a_job(code, action):
    rule = rule_for(code, job(CLUSTER, [], {})["spec"])
    assert {"Ignore": REPLACED, "FailJob": FAILED}[rule[1]] == action if rule else action == COUNTED


@EACH
def test_a_trainjob(code, action):
    """Each code fails the Job inside; the JobSet then goes by its message."""
    outer = training_runtime(CLUSTER, [])["spec"]["template"]["spec"]
    rule = rule_for(code, outer["replicatedJobs"][0]["template"]["spec"])
    if rule is None:
        reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    else:
        reason, message = "PodFailurePolicy", f"... matching FailJob rule at index {rule[0]}"
    found = COUNTED
    for policy in outer["failurePolicy"]["rules"]:
        patterns = policy.get("onJobFailureMessagePatterns", [""])
        hit = any(re.search(pattern, message) for pattern in patterns)
        if hit and reason in policy.get("onJobFailureReasons", [reason]):
            found = FAILED if policy["action"] == "FailJobSet" else REPLACED
            break
    assert found == action
