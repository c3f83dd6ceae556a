"""job/doctor.py as people start it: its report, its exit code, and nothing that it leaves."""

import json
from pathlib import Path

SMOKE = str(Path(__file__).parents[2] / "job/configs/smoke.yaml")


def test_the_report_of_a_job_says_all_that_is_wrong_and_leaves_nothing(start, tmp_path):
    (tmp_path / "file").touch()
    argv = [SMOKE, "graph.num_nodes=300", "json=report.json", "--nproc", "1"]
    well = start(tmp_path, *argv, script="job/doctor.py").end()
    assert well.code == 0, well.stdout
    assert "no problems" in well.stdout
    levels = [f["level"] for f in json.loads((tmp_path / "report.json").read_text())["findings"]]
    assert {"problem", "unknown"} & {*levels} == set()
    ill = start(tmp_path, *argv, "run.dir=file/x", "optim.lrr=1", script="job/doctor.py").end()
    report = json.loads((tmp_path / "report.json").read_text())
    assert ill.code == report["exit_code"] == 64
    for words in ("optim.lrr: unknown key", "file is no folder", "\nto do\n", "\n1. ", "\n2. "):
        assert words in ill.stdout
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {"0.0.out", "0.0.err", "1.0.out", "1.0.err"} == {"file", "report.json"}
