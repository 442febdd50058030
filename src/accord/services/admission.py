"""What a judicator takes on: every field of a new task, checked once more.

The gateway has checked what it understands; this is the last line of defence, for whoever else
calls. Every refusal names the field and what to do.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from accord.core import ids
from accord.core.batch import NewBatch
from accord.core.errors import Invalid, NotFound
from accord.core.executor import ISOLATION_LEVELS
from accord.core.globs import matcher
from accord.core.judging_spec import RESULTS
from accord.core.languages import preset
from accord.core.limits import EXECUTE_DEFAULTS, Limits, resolve
from accord.core.parameters import Values, spelled
from accord.core.replica import Content, content
from accord.core.task import (
    INLINE_DOCUMENT,
    Assimilation,
    Comparator,
    Files,
    NewTask,
    Program,
    Redundancy,
    Requires,
    Source,
    Spec,
    Step,
)
from accord.core.transition import check_adaptive, check_policy
from accord.core.versions import WISH
from accord.ports.assimilator import KEEP, Assimilator
from accord.ports.blobs import Blobs
from accord.services.weight import spec_bytes

MOST_TASKS = 100
MOST_CUSHION = 100_000
MOST_FILES = 1_000
MOST_LABELS = 32
LABEL = 128
LABELS_BYTES = 4096
"""All labels of a task together, so that a page of a list stays within a frame of the wire."""
NAME = 256
KEY = 256
MOST_OUTPUTS = 100
MOST_COMPARED = 100
"""Kept files that a comparator looks at."""
MATCHED = 1 << 18
"""Characters of globs times those of paths up to which they are matched: it bounds the steps."""
MOST_REPLICAS = 100
"""Of one task, in all: they lie in its document."""
MOST_TAGS = 32
PATH = 1024
LONGEST = 366 * 86400.0
"""Seconds; the most that a deadline may be away."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_COMPARATOR = "redundancy.comparator"


def check(
    new: NewTask, caps: Limits, handlers: Mapping[str, Assimilator], *, network: bool = False
) -> None:
    """Check all that can be seen from the task alone. ``network`` says whether it may ask for the
    network. Invalid, naming the field.
    """
    if new.spec.network and not network:
        raise Invalid(
            "Tasks may not use the network here: leave network out, or ask the administrator for "
            "policy.network_allowed.",
            field="network",
        )
    _check_assimilation(new.spec.assimilate, handlers)
    ids.name(new.user, "user")
    _check_text("name", new.name, NAME)
    _check_labels(new.labels)
    if not -100 <= new.priority <= 100:
        raise Invalid("priority must lie between -100 and 100.", field="priority")
    _check_key(new.key)
    _check_spec(new.spec, caps)


def check_batch(new: NewBatch) -> None:
    """Check what a batch says of itself. Invalid, naming the field."""
    ids.name(new.user, "user")
    _check_text("name", new.name, NAME)
    _check_labels(new.labels)
    _check_key(new.key)
    _require(1 <= new.cushion <= MOST_CUSHION, "cushion", f"must lie between 1 and {MOST_CUSHION}")
    inline = sum(len(spelled(v)) for a in new.axes if isinstance(a, Values) for v in a.values)
    _require(
        inline <= INLINE_DOCUMENT,
        "parameters",
        f"hold more than {INLINE_DOCUMENT // 1024} KiB of values; send them as csv",
    )


def check_blobs(new: NewTask, blobs: Blobs) -> None:
    """Check that every blob it names is there. NotFound, naming the digest; Invalid."""
    for field, found in _contents(new.spec):
        check_stored(field, found, blobs)


def check_stored(field: str, found: Content, blobs: Blobs) -> None:
    """Check that some content is there. NotFound, naming the digest; Invalid."""
    if found.inline is not None:
        return
    size = blobs.size(found.digest)
    if size is None:
        raise NotFound(
            f"{field} names blob {found.digest}, which is not there. Upload it first.",
            field=field,
            digest=found.digest,
        )
    _require(size == found.size, field, f"has {size} bytes, not {found.size}")


def _check_key(key: str | None) -> None:
    if key is not None:
        _check_text("key", key, KEY)
        _require(bool(key), "key", "must not be empty; leave it out instead")


def _check_assimilation(wish: Assimilation, handlers: Mapping[str, Assimilator]) -> None:
    field = "assimilate"
    _require(len(wish.options) <= MOST_LABELS, field, f"takes at most {MOST_LABELS} options")
    for name, value in wish.options.items():
        _check_text(field, name, LABEL)
        _check_text(field, value, NAME)
    if wish.handler == KEEP:
        _require(not wish.options, field, f"{KEEP} takes no options")
        return
    handler = handlers.get(wish.handler)
    if handler is None:
        known = ", ".join([KEEP, *sorted(handlers)])
        raise Invalid(f"There is no assimilator {wish.handler!r}. There are: {known}.", field=field)
    handler.check(wish.options)


# -- the spec ----------------------------------------------------------------------------


def _check_spec(spec: Spec, caps: Limits) -> None:
    _check_runnable(spec, caps)
    _check_redundancy(spec.redundancy, caps)
    _check_delay_bound(spec)
    _check_requires(spec.requires)
    _check_version(spec)
    _require(len(spec.outputs) <= MOST_OUTPUTS, "outputs", f"takes at most {MOST_OUTPUTS} globs")
    for glob in spec.outputs:
        _check_path("outputs", glob)
    if isinstance(spec.redundancy.comparator, Files):
        _check_compared(spec.redundancy.comparator, spec.outputs)
    if spec.deadline is not None:
        _require(0 < spec.deadline <= LONGEST, "deadline", f"must lie between 0 and {LONGEST:.0f}")
    inline = 0
    for field, found in _contents(spec):
        inline += _check_content(field, found)
    _require(
        inline + spec_bytes(spec) <= INLINE_DOCUMENT,
        "spec",
        f"holds more than {INLINE_DOCUMENT // 1024} KiB; upload its large parts as blobs",
    )


def _check_compared(comparator: Files, outputs: Sequence[str]) -> None:
    """Whether what is to be compared can be kept at all, where that is found out soon."""
    field = f"{_COMPARATOR}.paths"
    _require(
        bool(outputs),
        field,
        "are those of kept files, and outputs keeps none; say there which to keep",
    )
    if sum(map(len, outputs)) * sum(map(len, comparator.paths)) > MATCHED:
        return
    matches = matcher(outputs)
    for path in comparator.paths:
        _require(matches(path), field, f"has {path[:80]!r}, which no glob in outputs matches")


def _check_runnable(what: Spec | Program, caps: Limits) -> None:
    """A program, its own source and steps: a task's, or one that compares results."""
    if what.language is not None:
        preset(what.language)
    if what.source is not None:
        _check_source(what.source)
    if what.compile is not None:
        _check_step("compile", what.compile, caps)
    _check_step("execute", what.execute, caps)


def _check_redundancy(policy: Redundancy, caps: Limits) -> None:
    check_policy(policy)
    check_adaptive(policy)
    for field in ("max_total_replicas", "max_lost_replicas"):
        few = getattr(policy, field) <= MOST_REPLICAS
        _require(few, f"redundancy.{field}", f"must be at most {MOST_REPLICAS}")
    _check_comparator(policy.comparator, caps)


def _check_delay_bound(spec: Spec) -> None:
    """A run that keeps its limits must have the time to: its lateness counts against executors."""
    bound, field = spec.redundancy.delay_bound, "redundancy.delay_bound"
    if bound is None:
        return
    _require(bound <= LONGEST, field, f"must lie between 0 and {LONGEST:.0f}")
    least = sum(step.limits.wall for step in (spec.compile, spec.execute) if step)
    _require(bound >= least, field, f"must be at least the limits of its steps, {least:g} s")


def _check_comparator(comparator: Comparator, caps: Limits) -> None:
    if isinstance(comparator, Files):
        field = f"{_COMPARATOR}.paths"
        some = 1 <= len(comparator.paths) <= MOST_COMPARED
        _require(some, field, f"takes 1 to {MOST_COMPARED} paths of kept files")
        for path in comparator.paths:
            _check_path(field, path)
    if isinstance(comparator, Program):
        with _below(_COMPARATOR):
            _check_runnable(comparator, caps)
            _check_own_files(comparator.source)


def _check_own_files(source: Source | None) -> None:
    """What a program that compares brings must leave room for what it is to compare."""
    for path in source.files if source else ():
        taken = path.split("/", 1)[0] == RESULTS
        _require(not taken, "source.files", f"must not lie in {RESULTS}/, where the candidates are")


@contextmanager
def _below(place: str) -> Iterator[None]:
    """Errors from within name their field below ``place``."""
    try:
        yield
    except Invalid as error:
        field = f"{place}.{error.fields['field']}"
        raise Invalid(f"{place}: {error.message}", field=field) from error


def _check_source(source: Source) -> None:
    _require(not (source.files and source.archive), "source", "takes files or an archive, not both")
    _require(
        len(source.files) <= MOST_FILES,
        "source.files",
        f"takes at most {MOST_FILES} files; send a zip instead",
    )
    folders: set[str] = set()
    for path in source.files:
        _check_path("source.files", path)
        parts = path.split("/")
        folders.update("/".join(parts[:i]) for i in range(1, len(parts)))
    both = sorted(folders.intersection(source.files))
    _require(not both, "source.files", f"names {both[:1]} as a file and as a folder")


def _check_step(field: str, step: Step, caps: Limits) -> None:
    command = (step.command,) if isinstance(step.command, str) else step.command
    _require(bool(command) and bool(command[0].strip()), f"{field}.command", "must not be empty")
    _check_no_nul(f"{field}.command", command)
    _check_no_nul(f"{field}.args", step.args)
    _check_no_nul(f"{field}.env", step.env.values())
    _require(
        set(step.secrets) <= step.env.keys(), f"{field}.secrets", "must be names of the environment"
    )
    for name in step.env:
        _require(
            bool(_ENV.fullmatch(name)),
            f"{field}.env",
            f"has the name {name[:40]!r}; names are letters, digits and _",
        )
    try:
        _check_limits(step.limits, caps)
    except Invalid as error:
        name = str(error.fields.get("field", "limits"))
        raise Invalid(f"{field}.{error.message}", field=f"{field}.{name}") from error


@functools.lru_cache(maxsize=1024)
def _check_limits(limits: Limits, caps: Limits) -> None:
    """Few distinct limits are ever asked for, so those that were found good are remembered."""
    resolve(msgspec.structs.asdict(limits), EXECUTE_DEFAULTS, caps)


def _check_requires(requires: Requires) -> None:
    _require(len(requires.tags) <= MOST_TAGS, "requires.tags", f"takes at most {MOST_TAGS} tags")
    for tag in requires.tags:
        ids.name(tag, "requires.tags")
    _require(1 <= requires.cpus <= 4096, "requires.cpus", "must lie between 1 and 4096")
    _require(
        0 <= requires.memory <= 1 << 50, "requires.memory", "must lie between 0 and 2**50 bytes"
    )
    known = ", ".join(ISOLATION_LEVELS)
    _require(
        requires.isolation in ("", *ISOLATION_LEVELS),
        "requires.isolation",
        f"must be one of {known}",
    )


def _check_version(spec: Spec) -> None:
    wish, field = spec.requires.language_version, "requires.language_version"
    if wish:
        _require(bool(WISH.fullmatch(wish)), field, "must be numbers with dots, such as 3.11")
        _require(spec.language is not None, field, "needs a language, whose version it is")


# -- pieces ------------------------------------------------------------------------------


def _contents(spec: Spec) -> Iterable[tuple[str, Content]]:
    yield from _runnable_contents(spec)
    if spec.data:
        yield "data", spec.data
    comparator = spec.redundancy.comparator
    if isinstance(comparator, Program):
        for field, found in _runnable_contents(comparator):
            yield f"{_COMPARATOR}.{field}", found


def _runnable_contents(what: Spec | Program) -> Iterable[tuple[str, Content]]:
    if what.source:
        yield from ((f"source.files.{path}", found) for path, found in what.source.files.items())
        if what.source.archive:
            yield "source.archive", what.source.archive
    for field, step in (("compile", what.compile), ("execute", what.execute)):
        if step and step.stdin:
            yield f"{field}.stdin", step.stdin


def _check_content(field: str, found: Content) -> int:
    """How many bytes of it lie in the document; what it says of them must be true."""
    if found.inline is None:
        ids.digest(found.digest)
        _require(found.size >= 0, field, "has a negative size")
        return 0
    _require(content(found.inline) == found, field, "is not of the digest and size that it states")
    return found.size


def _check_path(field: str, path: str) -> None:
    """Relative, without anything that could leave the work directory."""
    parts = path.split("/")
    _require(
        0 < len(path.encode("utf-8", "surrogatepass")) <= PATH,
        field,
        f"has a path that is empty or longer than {PATH} bytes",
    )
    good = not _CONTROL.search(path) and not any(p in ("", ".", "..") for p in parts)
    _require(
        good and all(len(p.encode("utf-8", "surrogatepass")) <= 255 for p in parts),
        field,
        f"has {path[:80]!r}; paths are relative, without .., empty parts or control characters",
    )
    _check_unicode(field, path)


def _check_labels(labels: Mapping[str, str]) -> None:
    _require(len(labels) <= MOST_LABELS, "labels", f"takes at most {MOST_LABELS}")
    for key, value in labels.items():
        _check_text("labels", key, LABEL)
        _check_text("labels", value, LABEL)
        _require(bool(key), "labels", "has an empty key")
    total = sum(len(k.encode()) + len(v.encode()) for k, v in labels.items())
    _require(total <= LABELS_BYTES, "labels", f"takes at most {LABELS_BYTES} bytes in all")


def _check_text(field: str, text: str, longest: int) -> None:
    _require(len(text) <= longest, field, f"takes at most {longest} characters")
    _require(not _CONTROL.search(text), field, "must not hold control characters")
    _check_unicode(field, text)


def _check_no_nul(field: str, texts: Iterable[str]) -> None:
    for text in texts:
        _require("\0" not in text, field, "must not hold a NUL character")
        _check_unicode(field, text)


def _check_unicode(field: str, text: str) -> None:
    """A lone surrogate can be neither stored nor sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{field} must be valid Unicode.", field=field) from error


def _require(holds: bool, field: str, what: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not holds:
        raise Invalid(f"{field} {what}.", field=field)


def finite(seconds: float) -> float:
    """``seconds`` where it is a number, else 0: waits of callers, of whom some send NaN."""
    return seconds if math.isfinite(seconds) else 0.0
