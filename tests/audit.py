"""Ask for known vulnerabilities of every package that is installed; `make audit` runs it.

usage: python tests/audit.py FOLDER_OF_PACKAGES      (in an environment that has pip-audit)

Exit codes: 0 none is known, 1 some are, 2 nothing was audited: no answer from the database.
"""

import json
import subprocess
import sys


def main(folder: str) -> int:
    """Print the verdict; return the exit code."""
    options = ["--format=json", "--progress-spinner=off", "--skip-editable", "--path", folder]
    command = [sys.executable, "-m", "pip_audit", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    code, lines = verdict(done.stdout)
    print(*lines, sep="\n")
    if code == 2:
        print(done.stderr.strip()[-500:], file=sys.stderr)
    return code


def verdict(report: str) -> tuple[int, list[str]]:
    """Return exit code and words for what pip-audit printed; it says 0 where it found no answer."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {flaw['id']}, repaired in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    if len(skipped) == len(packages):
        return 2, ["NOTHING IS AUDITED: the advisory database could not be reached"]
    number = f"{len(packages) - len(skipped)} packages audited, {len(lines)} vulnerabilities"
    unknown = [f"not audited, unknown to the database: {', '.join(skipped)}"] if skipped else []
    return int(bool(lines)), [*lines, number, *unknown]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
