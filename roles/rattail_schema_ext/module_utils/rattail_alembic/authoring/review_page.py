# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A new revision and its review for a person: a few lines for the play's output, a page in Markdown."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..observe.answer import LeftOut, NewRevision, Review

_HEADINGS = {
    "fails": "Will fail on this database",
    "loses": "Loses what is there",
    "blocks": "Makes others wait",
    "breaks": "Breaks what runs meanwhile",
}


def lines(revision: NewRevision, review: Review | None, left_out: Sequence[LeftOut]) -> list[str]:
    """What the play shows; without a ``review`` there is nothing to write, and ``revision`` has only hints."""
    notes = [f"  left out: {_left(each)}" for each in left_out]
    notes += [f"  to decide: {hint}" for hint in revision.hints]
    if review is None:
        agree = "Models and database agree: there is nothing to write."
        return ["There is nothing to write, but something to decide." if revision.hints else agree, *notes]
    why = f": {review.reason}" if review.reason else ""
    return [
        f"{revision.branch} {revision.revision} {revision.message}",
        f"  {revision.path}",
        *(f"  depends on {each.revision}: {each.reason}" for each in revision.depends_on),
        *notes,
        f"  review: {review.result}{why}",
        *(f"    {each.effect}: {each.message} {each.safer}" for each in review.findings),
    ]


def _left(entry: LeftOut) -> str:
    differences = "difference" if entry.operations == 1 else "differences"
    tables = "table" if entry.tables == 1 else "tables"
    words = f": {' '.join(entry.words)}" if entry.words else ", in indexes only"
    return f"{entry.operations} {differences} on {entry.tables} {tables} of {entry.owner}{words}"


def page(revision: NewRevision, review: Review, left_out: Sequence[LeftOut], script: str, database: str) -> str:
    """The review as a page in Markdown: of the text ``script``, after a comparison with ``database``."""
    verdict = f"**{review.result.capitalize()}**: {review.reason}\n"
    if review.result == "passed":
        verdict = (
            f"**Passed**: upgrade, downgrade and upgrade again on {review.place}; models and schema are equal "
            "afterwards, and nothing but the app's own was changed. "
            f"The upgrade took {review.seconds or 0:g} s there, without rows.\n"
        )
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    parts = [
        f"# {revision.message}\n",
        f"Revision `{revision.revision}` of {revision.branch}, `{revision.path}`.\n"
        f"Compared with the database {database} on {when}.\n",
        verdict,
    ]
    needs = [f"`{each.revision}` in depends_on: {each.reason}" for each in revision.depends_on]
    parts += _listed("To decide, to know", [*revision.hints, *needs])
    for effect, heading in _HEADINGS.items():
        found = [each for each in review.findings if each.effect == effect]
        items = [f"**{each.object}** ({each.rule}): {each.message} {each.safer}" for each in found]
        parts += _listed(heading, items)
    parts += _listed("Left out, because it is not this app's", [_left(each) for each in left_out])
    parts += _listed("Locks", [f"`{each}`" for each in review.locks])
    parts += _block("SQL of the upgrade", "sql", review.sql)
    parts += _block("SQL of the downgrade", "sql", review.down_sql)
    parts += _block("The script", "python", [script.rstrip("\n")])
    return "\n".join(parts)


def _listed(heading: str, items: Sequence[str]) -> list[str]:
    return [f"## {heading}\n", *(f"- {item}" for item in items), ""] if items else []


def _block(heading: str, language: str, statements: Sequence[str]) -> list[str]:
    if not statements:
        return []
    fence = "```" if not any("```" in each for each in statements) else "````"
    body = [f"{each.rstrip('; ')};" for each in statements] if language == "sql" else list(statements)
    return [f"## {heading}\n", f"{fence}{language}", *body, f"{fence}\n"]
