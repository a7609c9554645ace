# Copyright: rattail_schema_ext contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the app's next revision: draft it, prove it, put it where it belongs."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from ..copies import scratch
from ..observe import report
from ..observe.answer import Answer, Dependency, Diff, NewRevision, Review
from ..observe.look import look
from ..observe.observation import Ready
from ..observe.request import Request
from ..problem import Refused
from ..revisions.graph import Revision
from ..revisions.locations import standard
from . import autogenerate, draft, review_page
from . import review as reviews
from .draft import Draft, Drafted
from .review import Subject

ALWAYS, NEVER = "true", "false"


def run(request: Request, *, check_mode: bool = False) -> Answer:
    """Look, and write the revision where models and database differ, once it is proved.

    :returns: its ``msg`` says why it was not written; no file of the app's was touched then.
    """
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
    """Write the revision and bring ``answer`` up to date.

    :raises Refused: where it cannot be written, or does not stand the review.
    """
    message = ready.request.revision_message
    draft.refuse_message(message)
    existing = draft.written(ready, message)
    if existing is not None:
        _review_again(ready, existing, answer)
        return
    draft.refuse_unready(ready)
    with tempfile.TemporaryDirectory(prefix="rattail_schema_ext_") as directory:
        wanted = draft.draft(ready, message, directory, merging=ready.request.revision_merge)
        merging = len(wanted.head) > 1
        drafted = autogenerate.merge(wanted) if merging else autogenerate.draft(wanted)
        answer.left_out = list(drafted.left_out)
        answer.warn(*drafted.hints)
        answer.summary = review_page.lines(None, None, answer.left_out, drafted.hints)
        if not drafted.path:
            return
        path = os.path.join(_place(ready), os.path.basename(drafted.path))
        revision = answer.revision = _told(ready, wanted, drafted, path)
        answer.diff = Diff(before_header=path, after_header=path, after=drafted.text)
        back = wanted.head[0] if wanted.head else f"{wanted.label}@base"
        subject = None if merging else Subject(drafted.revision, drafted.path, wanted.directories, back)
        review = _reviewed(ready, subject, revision, drafted.text, answer)
        if review.result == reviews.FAILED:
            raise _refused(ready.request, drafted, review)
        answer.changed = True
        if answer.check_mode:
            return
        _put(path, drafted.text)
    try:
        revision.hooks = autogenerate.post_write_hooks(ready.request.config_file, path)
        _refuse_spoilt(path)
    except Refused:
        os.unlink(path)
        raise


def _review_again(ready: Ready, existing: Revision, answer: Answer) -> None:
    """It is written already, and perhaps edited by hand since: reviewed as it lies."""
    request = ready.request
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
        "Apply it (site.yml), or delete it to have it written anew."
    )
    label = next(iter(existing.branch_labels), request.app.partition(".")[0])
    back = existing.down_revision[0] if existing.down_revision else f"{label}@base"
    places = tuple(each.directory for each in ready.locations if os.path.isdir(each.directory))
    merge = len(existing.down_revision) > 1
    subject = None if merge else Subject(existing.revision, existing.path, places, back)
    review = _reviewed(ready, subject, revision, ready.texts.get(existing.path, ""), answer)
    if review.result == reviews.FAILED:
        raise Refused(
            "review_failed",
            f"The review of revision {existing.revision} ({existing.path}) failed: {review.reason.rstrip('.')}.",
            f"Mend the script and run again; the review is in {_page(request, existing.revision)}.",
        )


def _reviewed(ready: Ready, subject: Subject | None, revision: NewRevision, script: str, answer: Answer) -> Review:
    """The review of a script, in ``answer`` and, unless in check mode, as a page.

    :param subject: None for a merge, which does nothing.
    """
    if answer.check_mode:
        review = reviews.skipped("in check mode nothing is made to try it on")
    elif subject is None:
        review = reviews.skipped("a merge does nothing")
    else:
        review = _held(ready, subject, answer)
    answer.review = review
    answer.summary = review_page.lines(revision, review, answer.left_out)
    if not answer.check_mode:
        _write_page(ready, revision, review, script, answer)
    return review


def _held(ready: Ready, subject: Subject, answer: Answer) -> Review:
    request = ready.request
    if request.revision_review == NEVER:
        return reviews.skipped("rattail_schema_ext_revision_review is false")
    try:
        scratch.refuse_impossible(ready.way, content=scratch.SCHEMA, bin_dir=request.postgresql_bin_dir)
        return reviews.hold(ready, subject, answer)
    except Refused as refused:
        if request.revision_review == ALWAYS:
            raise
        return reviews.skipped(refused.problem.cause)


def _told(ready: Ready, wanted: Draft, drafted: Drafted, path: str) -> NewRevision:
    return NewRevision(
        revision=drafted.revision,
        branch=draft.branch(ready),
        message=wanted.message,
        path=path,
        down_revision=list(wanted.head),
        branch_labels=[wanted.label] if wanted.label else [],
        depends_on=list(drafted.depends_on),
        tables=list(drafted.tables),
        hints=list(drafted.hints),
    )


def _place(ready: Ready) -> str:
    return next(each.directory for each in ready.locations if each.spec == standard(ready.request.app))


def _page(request: Request, revision: str) -> str:
    return os.path.join(request.revision_review_dir, f"{revision}.md")


def _write_page(ready: Ready, revision: NewRevision, review: Review, script: str, answer: Answer) -> None:
    path = _page(ready.request, revision.revision)
    page = review_page.page(
        revision,
        review,
        answer.left_out,
        script=script,
        database=ready.contents.identity["name"],
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        Path(path).write_text(page, encoding="utf-8")
        review.file = path
    except OSError as error:
        answer.warn(f"The review cannot be written to {path}: {error.strerror}.")


def _refused(request: Request, drafted: Drafted, review: Review) -> Refused:
    """The script does not go among the app's revisions, but is not lost either."""
    kept = os.path.join(request.revision_review_dir, os.path.basename(drafted.path))
    try:
        Path(kept).write_text(drafted.text, encoding="utf-8")
        where = f"it is kept, with its review, in {request.revision_review_dir}"
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
