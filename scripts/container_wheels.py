#!/usr/bin/env python3
"""Fills .cache/wheels with what a Rattail server's environment is made of, for the Python of an image.

    container_wheels.py IMAGE

Runs pip once, inside IMAGE, with this machine's own pip settings: index, find-links, proxy, certificates.
The scenarios then install from the directory alone, and environment.tar in it is Rattail's environment,
installed already: pip takes half a minute for it on each of their servers. Does nothing where the wheels
belong to this image and these requirements already.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

PROJECT = Path(__file__).resolve().parent.parent
WHEELS = PROJECT / ".cache" / "wheels"
LOG = PROJECT / ".cache" / "container_wheels.log"
ENVIRONMENT_DIR = "/srv/envs/poser"
# Rattail itself, and what pip fetches for an isolated build of an app, editable or not.
REQUIREMENTS = [PROJECT / "requirements-rattail.txt", PROJECT / "requirements-build.txt"]

SETTINGS = frozenset(
    {
        "cert",
        "client-cert",
        "default-timeout",
        "extra-index-url",
        "find-links",
        "index-url",
        "no-index",
        "proxy",
        "retries",
        "timeout",
        "trusted-host",
    }
)
ENVIRONMENT = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def pip_settings() -> dict[str, str]:
    """This machine's settings that matter for fetching, from files and environment; {} where it has no pip."""
    venv = PROJECT / ".venv" / "bin" / "python"
    python = str(venv) if venv.exists() else sys.executable
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if key in SETTINGS:
            found.setdefault(section, {})[key] = str(ast.literal_eval(value))
    return {**found.get("global", {}), **found.get("install", {}), **found.get(":env:", {})}


def local_directory(word: str) -> Path | None:
    """The directory or file of this machine that a setting's word names, or None."""
    parts = urlsplit(word)
    path = Path(unquote(parts.path) if parts.scheme == "file" else word)
    if not path.is_absolute() or not path.exists():
        return None
    # The pages of a local index link to files beside it.
    return path.parent if parts.scheme == "file" and path.parent != Path("/") else path


def main() -> None:
    image = sys.argv[1]
    inspect = ["podman", "image", "inspect", "--format", "{{ .Id }}", image]
    recipe = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    texts = map(Path.read_text, [*REQUIREMENTS, Path(__file__)])
    wanted = hashlib.sha256("\n".join([recipe, *texts]).encode()).hexdigest()
    stamp = WHEELS / ".complete"
    if stamp.exists() and stamp.read_text() == wanted:
        return

    print("container_wheels: fetching wheels for the containers", file=sys.stderr)
    settings = pip_settings()
    environment = {n: os.environ[n] for name in ENVIRONMENT for n in (name, name.upper()) if n in os.environ}
    environment |= {n: os.environ[n] for n in CERTIFICATES if n in os.environ}
    words = [word for value in [*settings.values(), *environment.values()] for word in value.split()]
    mounts = {str(path) for word in words if (path := local_directory(word))}

    new = WHEELS.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    lines = ["[global]"]
    lines += [f"{key} = {' '.join(value.split())}" for key, value in settings.items()]
    (new / "pip.conf").write_text("\n".join(lines) + "\n")
    for path in REQUIREMENTS:
        shutil.copy(path, new)

    command = ["podman", "run", "--rm", "--network=host", f"--volume={new}:/wheels"]
    command += [f"--volume={path}:{path}:ro" for path in sorted(mounts)]
    command += [f"--env={name}={value}" for name, value in environment.items()]
    command += ["--env=PIP_CONFIG_FILE=/wheels/pip.conf", image, "sh", "-ec"]
    pip = "/tmp/env/bin/pip wheel --use-pep517 --disable-pip-version-check --no-cache-dir --wheel-dir /wheels"
    # One call each: two files may pin the same package to different versions.
    calls = [f"{pip} --requirement /wheels/{path.name}" for path in REQUIREMENTS]
    # An environment knows its own path, so it is made where the scenarios' servers have it.
    installed = "--no-index --find-links=/wheels --requirement=/wheels/requirements-rattail.txt"
    calls += [
        f"python3 -m venv {ENVIRONMENT_DIR}",
        f"{ENVIRONMENT_DIR}/bin/pip install --disable-pip-version-check {installed}",
        f"tar --create --file=/wheels/environment.tar --directory={ENVIRONMENT_DIR} .",
    ]
    command += ["; ".join(["python3 -m venv /tmp/env", *calls])]
    with LOG.open("w") as log:
        status = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT).returncode
    if status:
        print(*LOG.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)
        sys.exit(f"container_wheels: pip could not fetch the wheels; the whole log is in {LOG}")
    (new / "pip.conf").unlink()  # may hold a password of somebody's index
    (new / ".complete").write_text(wanted)
    shutil.rmtree(WHEELS, ignore_errors=True)
    new.rename(WHEELS)


if __name__ == "__main__":
    main()
