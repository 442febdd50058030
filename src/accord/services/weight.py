"""How heavy a document is, and how to make it lighter: large streams move to the blob store.

A document's inline bytes stay within ``INLINE_DOCUMENT``: what a submitter sends beyond it is
refused, what executors send beyond it is moved here, largest first, before it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.core.ids import Digest
from accord.core.replica import Content, Replica, Result, StepResult
from accord.core.task import (
    INLINE_DOCUMENT,
    INLINE_STREAM,
    Files,
    Program,
    Spec,
    Step,
    Task,
    contents,
)
from accord.ports.blobs import Blobs


def inline_bytes(found: tuple[Content, ...]) -> int:
    """How many bytes of these lie in the document."""
    return sum(len(c.inline) for c in found if c.inline is not None)


def spec_bytes(spec: Spec) -> int:
    """The text of a spec that is not content: commands, arguments, environment, paths."""
    texts = [*spec.outputs, *_runnable_texts(spec)]
    comparator = spec.redundancy.comparator
    if isinstance(comparator, Files):
        texts += comparator.paths
    if isinstance(comparator, Program):
        texts += _runnable_texts(comparator)
    return len("".join(texts).encode())


def _runnable_texts(what: Spec | Program) -> list[str]:
    texts = _texts(what.execute)
    if what.compile:
        texts += _texts(what.compile)
    if what.source:
        texts += what.source.files
    return texts


def _texts(step: Step) -> list[str]:
    command = (step.command,) if isinstance(step.command, str) else step.command
    return [*command, *step.args, *step.env, *step.env.values(), *step.secrets]


def task_bytes(task: Task) -> int:
    """About how many bytes the task is on the wire."""
    return 2048 + inline_bytes(contents(task)) + spec_bytes(task.spec)


def slim(task: Task, blobs: Blobs) -> Task:
    """The task with no stream over INLINE_STREAM inline, and all within INLINE_DOCUMENT.

    What moves is in the blob store, durable, before this returns. Only results are touched: a
    spec was within its bounds when it was added. The same object where nothing moves.
    """
    results = [r.result for r in task.replicas if r.result]
    if not results:
        return task
    inline = {c.digest: c for r in results for c in r.contents() if c.inline}
    excess = inline_bytes(contents(task)) - INLINE_DOCUMENT
    moved: dict[Digest, Content] = {}
    for found in sorted(inline.values(), key=lambda c: c.size, reverse=True):
        if excess <= 0 and found.size <= INLINE_STREAM:
            break
        moved[found.digest] = _move(found, blobs)
        excess -= found.size
    if not moved:
        return task
    replicas = tuple(_lighter(replica, moved) for replica in task.replicas)
    return msgspec.structs.replace(task, replicas=replicas)


def _move(found: Content, blobs: Blobs) -> Content:
    digest, size = blobs.put([found.inline or b""])
    return Content(digest=digest, size=size)


def _lighter(replica: Replica, moved: Mapping[Digest, Content]) -> Replica:
    result = replica.result
    if result is None:
        return replica
    lighter = msgspec.structs.replace(
        result,
        compile=_lighter_step(result.compile, moved),
        execute=_lighter_step(result.execute, moved),
        kept={path: moved.get(c.digest, c) for path, c in result.kept.items()},
    )
    return msgspec.structs.replace(replica, result=lighter)


def _lighter_step(step: StepResult | None, moved: Mapping[Digest, Content]) -> StepResult | None:
    if step is None:
        return None
    return msgspec.structs.replace(
        step,
        stdout=moved.get(step.stdout.digest, step.stdout),
        stderr=moved.get(step.stderr.digest, step.stderr),
    )


def streams(result: Result) -> dict[str, Content]:
    """The output streams of a result by the names that live output uses, in order of making."""
    found: dict[str, Content] = {}
    if result.compile:
        found["compile_stdout"] = result.compile.stdout
        found["compile_stderr"] = result.compile.stderr
    if result.execute:
        found["stdout"] = result.execute.stdout
        found["stderr"] = result.execute.stderr
    return found
