# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the app's next revision: draft it, try it, put it into its place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..observe import report
from ..observe.answer import Answer, Dependency, Diff, NewRevision, Review
from ..observe.look import look
from ..observe.observation import Ready
from ..observe.request import Request
from ..problem import Refused, mask
from ..revisions.graph import Revision
from . import autogenerate, draft, review_page
from . import review as reviews


def run(request: Request, *, check_mode: bool = False) -> Answer:
    """Look, and write the revision where models and database differ; where ``msg`` says why not, no file is changed."""
    seen = look(request)
    answer = report.answer(seen)
    answer.check_mode = check_mode
    if not answer.msg:
        try:
            _write(seen.ready(), answer)
        except Refused as refused:
            answer.refuse(refused.problem)
    return answer


def _write(ready: Ready, answer: Answer) -> None:
    draft.refuse_message(ready.request.revision_message)
    existing = draft.written(ready)
    if existing is not None:
        _review_again(ready, existing, answer)
        return
    draft.refuse_unready(ready)
    with tempfile.TemporaryDirectory(prefix="rattail_schema_ext_") as directory:
        wanted = draft.draft(ready, directory)
        write = autogenerate.merge if len(wanted.head) > 1 else autogenerate.draft
        revision, text, answer.left_out = write(wanted)
        path = revision.path
        answer.warn(*revision.hints)
        answer.summary = review_page.lines(revision, None, answer.left_out)
        if not path:
            return
        answer.revision = revision
        answer.diff = Diff(before_header=path, after_header=path, after=text)
        review = _reviewed(ready, revision, wanted.directories, text, answer)
    if review.result == reviews.FAILED:
        directory = ready.request.revision_review_dir
        kept = f"it is kept, with its review, in {directory}" if review.file else "it could not be kept"
        raise _review_failed(
            f"The drafted script did not pass its review and was not written ({kept})",
            review,
            'Correct the models, or have it written all the same (rattail_schema_ext_revision_review: "false"), '
            "correct it, and run again with the same message to have it reviewed.",
        )
    answer.changed = True
    if answer.check_mode:
        return
    _put(path, text)
    try:
        revision.hooks = autogenerate.post_write_hooks(ready.request.config_file, path)
    except Refused:
        os.unlink(path)
        raise


def _review_again(ready: Ready, existing: Revision, answer: Answer) -> None:
    """Review a script that was written before, as it is now: somebody may have edited it since."""
    revision = answer.revision = NewRevision(
        revision=existing.revision,
        branch=draft.branch(ready),
        message=existing.message,
        path=existing.path,
        down_revision=list(existing.down_revision),
        branch_labels=list(existing.branch_labels),
        depends_on=[Dependency(each, "its file says so.") for each in existing.depends_on],
    )
    answer.warn(
        f"Revision {existing.revision} ({existing.path}) is written and not applied yet, so nothing more is written. "
        "Apply it (site.yml), or delete it and run again."
    )
    directories = tuple(each.directory for each in ready.locations if os.path.isdir(each.directory))
    review = _reviewed(ready, revision, directories, ready.texts.get(existing.path, ""), answer)
    if review.result == reviews.FAILED:
        raise _review_failed(
            f"The review of revision {existing.revision} ({existing.path}) failed",
            review,
            f"Correct the script and run again; the review is in {review.file or 'no file'}.",
        )


def _reviewed(ready: Ready, revision: NewRevision, directories: tuple[str, ...], script: str, answer: Answer) -> Review:
    """The review of a script, in ``answer`` and, unless in check mode, as a page; it keeps a draft that fails."""
    review = answer.review = _held(ready, revision, directories, answer)
    answer.summary = review_page.lines(revision, review, answer.left_out)
    if answer.check_mode:
        return review
    directory = Path(ready.request.revision_review_dir)
    path = directory / f"{revision.revision}.md"
    page = review_page.page(revision, review, answer.left_out, script, ready.contents.identity["name"])
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.write_text(mask(page), encoding="utf-8")
        if review.result == reviews.FAILED and not os.path.exists(revision.path):
            (directory / os.path.basename(revision.path)).write_text(mask(script), encoding="utf-8")
        review.file = str(path)
    except OSError as error:
        answer.warn(f"The review cannot be written to {path}: {error.strerror}.")
    return review


def _held(ready: Ready, revision: NewRevision, directories: tuple[str, ...], answer: Answer) -> Review:
    wish = ready.request.revision_review
    if answer.check_mode:
        reason = "check mode makes no copy to try it on"
    elif len(revision.down_revision) > 1:
        reason = "a merge changes nothing"
    elif wish == "false":
        reason = "rattail_schema_ext_revision_review is false"
    else:
        try:
            return reviews.hold(ready, revision, directories, answer)
        except Refused as refused:
            if wish == "true":
                raise
            reason = refused.problem.cause
    return Review(result=reviews.SKIPPED, reason=reason)


def _review_failed(cause: str, review: Review, remedy: str) -> Refused:
    return Refused("review_failed", f"{cause}: {review.reason.rstrip('.')}.", remedy)


def _put(path: str, text: str) -> None:
    """Write a new file, whole or not at all."""
    partial = Path(f"{path}.tmp")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)
        partial.rename(path)
    except OSError as error:
        raise Refused(
            "revision_unwritable",
            f"The script cannot be written to {path}: {error.strerror}.",
            "Give its directory to the user who owns the environment.",
        ) from None
