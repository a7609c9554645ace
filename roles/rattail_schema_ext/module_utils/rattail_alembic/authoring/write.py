# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the app's next revision: draft it, prove it, put it where it belongs."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..copies import scratch
from ..host import git
from ..observe.observation import Observation
from ..problem import Refused
from ..revisions.graph import Revision
from ..revisions.locations import standard
from . import autogenerate, draft, review_page
from . import review as reviews
from .draft import Draft, Drafted
from .review import Review, Subject

AUTO, ALWAYS, NEVER = "auto", "true", "false"


@dataclass(frozen=True)
class Wish:
    """What the user wants: a ``message``; ``review`` is ``auto``, ``true`` or ``false``; ``merge`` joins several
    heads; ``commit`` puts the script on ``branch`` of the checkout, by default a new one. ``review_dir`` takes the
    page of the review.
    """

    message: str
    review_dir: str
    review: str = AUTO
    merge: bool = False
    commit: bool = False
    branch: str = ""


def write(seen: Observation, wish: Wish, answer: dict[str, Any], *, check_mode: bool) -> None:
    """Write the revision, where models and database differ, and bring the result ``answer`` up to date.

    :raises Refused: where it cannot be written, or does not stand the review; no file of the app's is touched then.
    """
    draft.refuse_message(wish.message)
    existing = draft.written(seen, wish.message)
    if existing is not None:
        _review_again(seen, wish, existing, answer, check_mode=check_mode)
        return
    draft.refuse_unready(seen)
    if wish.commit:
        git.refuse_uncommittable(seen.request.source_dir, wish.branch, os.path.join(_place(seen), "revision.py"))
    with tempfile.TemporaryDirectory(prefix="rattail_schema_ext_") as directory:
        wanted = draft.draft(seen, wish.message, directory, merging=wish.merge)
        merging = len(wanted.head) > 1
        drafted = autogenerate.merge(wanted) if merging else autogenerate.draft(wanted)
        answer["left_out"] = list(drafted.left_out)
        answer["warnings"] += drafted.hints
        answer["summary"] = review_page.lines({}, {}, answer["left_out"], drafted.hints)
        if not drafted.path:
            return
        place = _place(seen)
        path = os.path.join(place, os.path.basename(drafted.path))
        answer["revision"] = _told(seen, wanted, drafted, path)
        answer["diff"] = {"before_header": path, "after_header": path, "before": "", "after": drafted.text}
        if check_mode:
            review = reviews.skipped("in check mode nothing is made to try it on")
        elif merging:
            review = reviews.skipped("a merge does nothing")
        else:
            back = wanted.head[0] if wanted.head else f"{wanted.label}@base"
            subject = Subject(drafted.revision, drafted.path, wanted.directories, back)
            review = _hold(seen, wish, subject)
        _tell(seen, wish, answer, review, drafted.text, check_mode=check_mode)
        if review.result == reviews.FAILED:
            raise _refused(wish, drafted, review)
        answer["changed"] = True
        if check_mode:
            return
        _put(path, drafted.text)
    try:
        answer["revision"]["hooks"] = autogenerate.post_write_hooks(seen.request.config_file, path)
        _refuse_spoilt(path)
    except Refused:
        os.unlink(path)
        raise
    if wish.commit:
        _commit(seen, wish, answer["revision"])


def _review_again(
    seen: Observation, wish: Wish, existing: Revision, answer: dict[str, Any], *, check_mode: bool
) -> None:
    """It is written already, and perhaps edited by hand since: reviewed as it lies."""
    assert seen.graph is not None
    text = seen.texts.get(existing.path, "")
    answer["revision"] = {
        "revision": existing.revision,
        "branch": draft.branch(seen),
        "message": existing.message,
        "path": existing.path,
        "down_revision": list(existing.down_revision),
        "branch_labels": list(existing.branch_labels),
        "depends_on": [{"revision": each, "reason": "its file says so."} for each in existing.depends_on],
        "tables": [],
        "hints": [],
        "hooks": [],
    }
    answer["warnings"].append(
        f"Revision {existing.revision} ({existing.path}) is written and not applied yet, so nothing more is written. "
        "Apply it (site.yml), or delete it to have it written anew."
    )
    committing = wish.commit and not git.is_committed(seen.request.source_dir, existing.path)
    if committing:
        git.refuse_uncommittable(seen.request.source_dir, _branch(wish, existing.revision), existing.path)
    if check_mode:
        review = reviews.skipped("in check mode nothing is made to try it on")
    elif len(existing.down_revision) > 1:
        review = reviews.skipped("a merge does nothing")
    else:
        label = next(iter(existing.branch_labels), seen.request.app.partition(".")[0])
        back = existing.down_revision[0] if existing.down_revision else f"{label}@base"
        places = tuple(each.directory for each in seen.locations if os.path.isdir(each.directory))
        review = _hold(seen, wish, Subject(existing.revision, existing.path, places, back))
    _tell(seen, wish, answer, review, text, check_mode=check_mode)
    if review.result == reviews.FAILED:
        raise Refused(
            "review_failed",
            f"The review of revision {existing.revision} ({existing.path}) failed: {review.reason.rstrip('.')}.",
            f"Mend the script and run again; the review is in {_page(wish, existing.revision)}.",
        )
    answer["changed"] = committing
    if committing and not check_mode:
        _commit(seen, wish, answer["revision"])


def _branch(wish: Wish, revision: str) -> str:
    return wish.branch or f"revision-{revision}"


def _commit(seen: Observation, wish: Wish, revision: dict[str, Any]) -> None:
    """Commit the script, and tell it in the result's ``revision``."""
    revision["commit"], revision["commit_branch"] = git.commit(
        seen.request.source_dir, revision["path"], _branch(wish, revision["revision"]), revision["message"]
    )


def _hold(seen: Observation, wish: Wish, subject: Subject) -> Review:
    if wish.review == NEVER:
        return reviews.skipped("rattail_schema_ext_revision_review is false")
    assert seen.way is not None
    try:
        scratch.refuse_impossible(seen.way, content=scratch.SCHEMA, bin_dir=seen.request.postgresql_bin_dir)
        return reviews.hold(seen, subject)
    except Refused as refused:
        if wish.review == ALWAYS:
            raise
        return reviews.skipped(refused.problem.cause)


def _told(seen: Observation, wanted: Draft, drafted: Drafted, path: str) -> dict[str, Any]:
    return {
        "revision": drafted.revision,
        "branch": draft.branch(seen),
        "message": wanted.message,
        "path": path,
        "down_revision": list(wanted.head),
        "branch_labels": [wanted.label] if wanted.label else [],
        "depends_on": [each._asdict() for each in drafted.depends_on],
        "tables": list(drafted.tables),
        "hints": list(drafted.hints),
        "hooks": [],
    }


def _place(seen: Observation) -> str:
    return next(each.directory for each in seen.locations if each.spec == standard(seen.request.app))


def _page(wish: Wish, revision: str) -> str:
    return os.path.join(wish.review_dir, f"{revision}.md")


def _tell(
    seen: Observation, wish: Wish, answer: dict[str, Any], review: Review, script: str, *, check_mode: bool
) -> None:
    """The review into the result and, unless in check mode, as a page into ``review_dir``."""
    answer["review"] = review.as_dict()
    answer["warnings"] += review.warnings
    answer["summary"] = review_page.lines(answer["revision"], answer["review"], answer["left_out"])
    if check_mode:
        return
    path = _page(wish, answer["revision"]["revision"])
    page = review_page.page(
        answer["revision"],
        answer["review"],
        answer["left_out"],
        script=script,
        database=seen.contents.identity["name"] if seen.contents else "",
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    try:
        os.makedirs(wish.review_dir, mode=0o750, exist_ok=True)
        Path(path).write_text(page, encoding="utf-8")
        answer["review"]["file"] = path
    except OSError as error:
        answer["warnings"].append(f"The review cannot be written to {path}: {error.strerror}.")


def _refused(wish: Wish, drafted: Drafted, review: Review) -> Refused:
    """The script does not go among the app's revisions, but is not lost either."""
    kept = os.path.join(wish.review_dir, os.path.basename(drafted.path))
    try:
        Path(kept).write_text(drafted.text, encoding="utf-8")
        where = f"it is kept, with its review, in {wish.review_dir}"
    except OSError:
        where = "it is lost"
    return Refused(
        "review_failed",
        f"The script that was drafted did not stand the review, so it was not written ({where}): "
        f"{review.reason.rstrip('.')}.",
        "Mend the models, or have it written all the same (rattail_schema_ext_revision_review: false), mend it, "
        "and run again with the same message to have it reviewed.",
    )


def _put(path: str, text: str) -> None:
    """A new file, whole or not at all."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path), suffix=".tmp", delete=False) as file:
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.link(file.name, path)
            finally:
                os.unlink(file.name)
    except OSError as error:
        raise Refused(
            "revision_unwritable",
            f"The script cannot be written to {path}: {error.strerror}.",
            "Give its directory to the user who owns the environment.",
        ) from None


def _refuse_spoilt(path: str) -> None:
    """A hook that made something else than Python of the script."""
    try:
        compile(Path(path).read_text(encoding="utf-8"), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OSError) as error:
        raise Refused(
            "hook_failed",
            f"After the hooks of [post_write_hooks] the script {path} cannot be read: {error}.",
            "Mend the hook, or take it out, then run again.",
        ) from None
