#!/usr/bin/env python3
# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a release of what is committed: date its changelog, commit, tag, build the collection. Nothing is pushed.

docs/releasing.md says what comes before and after.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG, README = ROOT / "CHANGELOG.md", ROOT / "README.md"


class Failed(Exception):
    """Why there is no release, in a sentence."""


def release(version: str) -> None:
    """Commit and tag a version whose changelog is written.

    :raises Failed: where something is not ready for it; then nothing is changed.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise Failed(f"{version!r} is no version. Name one of three numbers: make release VERSION=1.2.3")
    changelog = CHANGELOG.read_text(encoding="utf-8")
    heading = f"## {version} (unreleased)"
    first = next((line for line in changelog.splitlines() if line.startswith("## ")), "nothing")
    if first != heading:
        raise Failed(f"CHANGELOG.md begins with {first!r}. Have it begin with {heading!r}, and commit it.")
    if _git("status", "--porcelain"):
        raise Failed("The checkout has uncommitted changes. Commit them, or drop them.")
    older = [tuple(map(int, tag[1:].split("."))) for tag in _git("tag", "--list", "v*.*.*").split()]
    if older and max(older) >= tuple(map(int, version.split("."))):
        raise Failed(f"v{'.'.join(map(str, max(older)))} is a release already. Name a later one.")
    _run(sys.executable, "scripts/document.py", "--check")
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    CHANGELOG.write_text(changelog.replace(heading, f"## {version} ({today})", 1), encoding="utf-8")
    # the example that people copy
    readme = re.sub(r"(?m)^(    version: v)\d+\.\d+\.\d+$", rf"\g<1>{version}", README.read_text(encoding="utf-8"))
    README.write_text(readme, encoding="utf-8")
    _git("commit", "--quiet", "--message", f"Release {version}", "--", CHANGELOG.name, README.name)
    _git("tag", "--annotate", "--message", f"Release {version}", f"v{version}")
    _run(sys.executable, "scripts/collection.py")


def _git(*arguments: str) -> str:
    return _run("git", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Failed(f"{' '.join(command[:2])} failed: {said}")
    return done.stdout


def main() -> int:
    version = " ".join(sys.argv[1:])
    try:
        release(version)
    except Failed as failed:
        print(f"release: {failed}", file=sys.stderr)
        return 1
    print(f"v{version} is committed and tagged, and the collection is in dist/. To publish: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main())
