#!/usr/bin/env python3
"""Fails unless two versions of a config file differ in their [alembic] section alone.

compare_config.py BEFORE AFTER. Knows nothing of how the role does it: it cuts BEFORE around the section's options and
looks for the two pieces, byte by byte, at both ends of AFTER.
"""

import configparser
import sys
from pathlib import Path


def around_the_section(text):
    """What stands before and after the section: from its header to the last line that is an option's."""
    lines = text.splitlines(keepends=True)
    start = end = None
    for number, line in enumerate(lines):
        if line.startswith(b"["):
            if start is not None:
                break
            if line.strip() == b"[alembic]":
                start = end = number
        elif start is not None and line.strip() and line.lstrip()[:1] not in (b"#", b";"):
            end = number
    if start is None:
        return text, b""
    return b"".join(lines[:start]), b"".join(lines[end + 1 :])


before, after = (Path(name).read_bytes() for name in sys.argv[1:])
head, tail = around_the_section(before)
assert after.startswith(head), "something before [alembic] has changed"
assert after.endswith(tail), "something after [alembic] has changed"
middle = after[len(head) : len(after) - len(tail)].decode()

parser = configparser.RawConfigParser()
parser.read_string(middle)
assert parser.sections() == ["alembic"], parser.sections()
section = dict(parser["alembic"])
assert section.pop("script_location") == "rattail.db:alembic", section
locations = section.pop("version_locations").split()
assert locations == ["poser.db:alembic/versions", "rattail.db:alembic/versions"], locations
for name in ("path_separator", "version_path_separator"):
    assert section.pop(name, "space") in ("space", "newline"), name

kept = configparser.RawConfigParser()
kept.read_string(before.decode())
own = dict(kept["alembic"]) if kept.has_section("alembic") else {}
missing = {name: own[name] for name in own if name not in parser["alembic"]}
assert not missing, missing
changed = [name for name in section if own.get(name) != section[name]]
assert not changed, changed

comments = [line for line in before.splitlines() if line.lstrip()[:1] in (b"#", b";")]
lost = [line for line in comments if line not in after.splitlines()]
assert not lost, lost
