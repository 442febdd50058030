"""How things read back over HTTP: one model for each, made from the core's values.

Output is shown as text of at most 64 KiB a stream, what is no UTF-8 replaced; the exact bytes
are under ``files/``. Times are ISO 8601 in UTC, durations seconds, sizes bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from pydantic import BaseModel, Field

from accord.core.errors import NotFound
from accord.core.executor import Executor
from accord.core.ids import Digest, place
from accord.core.judging import Judging
from accord.core.replica import Content, Replica, Result, StepResult
from accord.core.search import Page, Summary
from accord.core.standing import Standing
from accord.core.task import Program, Redundancy, Scalar, Spec, Step, Task, quorum_of, shown_env
from accord.core.view import reason_of, result_of
from accord.ports.judicator import Judicator, Pong, TaskView

SHOWN_TEXT = 64 * 1024
"""Bytes of a stream that a document shows."""
API = "/api/v1"


class FileOut(BaseModel):
    """A file that belongs to a task."""

    name: str
    size: int
    sha256: str
    href: str


class ReplicaOut(BaseModel):
    """One run of the task."""

    number: int
    executor: str | None
    owner: str
    state: str
    phase: str | None
    outcome: str | None
    verdict: str | None
    validity: str
    canonical: bool
    digest: str | None
    kept: dict[str, str]
    exit_code: int | None
    signal: int | None
    wall_time: float | None
    cpu_time: float | None
    peak_memory: int | None
    written: int | None
    limit: str | None
    credit: float
    sent_time: str | None
    received_time: str | None
    report_deadline: str | None
    killed_at: str | None
    over_time: str | None
    error: str | None
    message: str


class JudgingOut(BaseModel):
    """The run that tells which results agree, where that needs one."""

    state: str
    executor: str | None
    candidates: list[int]
    attempts: int
    message: str


class TaskOut(BaseModel):
    """A task as it reads back."""

    id: str
    status: str
    done: bool
    reason: str | None
    verdict: str | None
    exit_code: int | None
    signal: int | None
    stdout: str | None
    stderr: str | None
    compile_stdout: str | None
    compile_stderr: str | None
    compile_cached: bool = Field(description="Compiled before; its output is of that time.")
    truncated: bool
    stdout_truncated: bool
    stderr_truncated: bool
    compile_stdout_truncated: bool
    compile_stderr_truncated: bool
    wall_time: float | None
    cpu_time: float | None
    peak_memory: int | None
    written: int | None
    limit: str | None
    quorum: int
    target_replicas: int
    hr_class: str
    disputed_by: str | None
    need_validate: bool
    judging: JudgingOut | None
    replicas: list[ReplicaOut]
    outputs: list[FileOut]
    outputs_dropped: list[str]
    name: str
    user: str
    labels: dict[str, str]
    priority: int
    key: str | None
    retry_of: str | None
    retried_by: str | None
    batch: str | None
    index: int | None
    parameters: dict[str, Scalar]
    finishes: str | None
    add_time: str
    start_time: str | None
    done_time: str | None
    cancel_requested_at: str | None
    language: str | None
    spec: dict[str, Any]
    links: dict[str, str]


class SummaryOut(BaseModel):
    """A task as a list shows it."""

    id: str
    user: str
    name: str
    labels: dict[str, str]
    priority: int
    status: str
    reason: str | None
    verdict: str | None
    language: str | None
    add_time: str
    start_time: str | None
    done_time: str | None
    wall_time: float | None
    cpu_time: float | None
    peak_memory: int | None
    attempts: int
    executor: str | None
    batch: str | None
    parameters: dict[str, Scalar]


class PageOut(BaseModel):
    """One page of a list of tasks."""

    items: list[SummaryOut]
    total: int
    more_than_total: bool
    next: str | None


class StandingOut(BaseModel):
    """How an executor stands with one class of tasks: a label app, else a language, else any."""

    task_class: str
    consecutive_valid: int = Field(description="Since an invalid one, an error or a time-out.")
    checked: int = Field(description="Results that others confirmed since it was last caught.")
    caught: int = Field(description="How often a result of its own was found invalid.")
    error_rate: float = Field(description="Of late; begins at 0.1.")
    turnaround: float = Field(description="Mean seconds from sending to the report.")
    quota: int = Field(description="Replicas that it may begin today.")
    sent_today: int
    failures: int = Field(description="Infrastructure failures in a row.")
    quarantined_until: str | None
    rests_until: str | None
    trusted: bool = Field(description="A result of its own may stand alone, in adaptive tasks.")
    reliable: bool = Field(description="Retries of a high priority go to it first.")
    credit: float
    note: str = Field(description="Why it gets no work of the class, or but one task.")


class CreditOut(BaseModel):
    """Credit in all, in seconds of a processor of benchmark 1."""

    users: dict[str, float] = Field(description="What users had computed for them.")
    owners: dict[str, float] = Field(description="What the executors of owners earned.")


class ExecutorOut(BaseModel):
    """A machine that runs replicas."""

    name: str
    state: str
    owner: str
    address: str
    tags: list[str]
    languages: dict[str, str]
    os: str
    cpu: str
    cores: int
    memory: int
    slots: int
    isolation: str
    isolation_why: str
    isolation_checks: dict[str, str]
    network: bool
    version: str
    benchmark: float
    credit: float
    reliability: list[StandingOut]
    registered: str | None
    last_report: str | None


class JudicatorOut(BaseModel):
    """A manager process."""

    name: str
    version: str
    leader: bool
    now: str | None


def iso(time: float | None) -> str | None:
    """A time as ISO 8601 in UTC; None for none.

    >>> iso(1_700_000_000.25)
    '2023-11-14T22:13:20.250000Z'
    """
    if not time:
        return None
    moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_content(judicator: Judicator, content: Content, start: int, size: int) -> bytes:
    """At most ``size`` (and 1 MiB) bytes of some content from ``start``. Raises NotFound where its
    file was deleted.
    """
    if content.inline is not None:
        return content.inline[start : start + size]
    try:
        return judicator.read_blob(content.digest, start, size)
    except NotFound as error:
        raise NotFound(
            "This file was deleted: files of a finished task are kept for a while only "
            "(policy.delete_delay). What became of the task can still be read.",
            digest=content.digest,
        ) from error


def beginning_of(judicator: Judicator, content: Content, size: int) -> bytes:
    """The first ``size`` (and 1 MiB) bytes of some content; none where its file was deleted: what
    shows a task shows it without.
    """
    try:
        return read_content(judicator, content, 0, size)
    except NotFound:
        return b""


def text_of(judicator: Judicator, content: Content) -> tuple[str, bool]:
    """The beginning of some content as text, and whether it was cut."""
    data = beginning_of(judicator, content, SHOWN_TEXT)
    cut = content.size > len(data)
    return (_whole(data) if cut else data).decode("utf-8", "replace"), cut


def _whole(data: bytes) -> bytes:
    r"""``data`` without the beginning of a character at its end.

    >>> _whole("é".encode()[:1]), _whole("é".encode())
    (b'', b'\xc3\xa9')
    """
    for back in range(1, min(4, len(data)) + 1):
        first = data[-back]
        if first >= 0xC0:
            needed = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return data[:-back] if back < needed else data
        if first < 0x80:
            break
    return data


def task_out(view: TaskView, judicator: Judicator) -> TaskOut:
    """The task with its result. Where it has none, what single replicas brought is in their files."""
    task = view.task
    result = result_of(task)
    step = _measured(result)
    streams = _streams(result, judicator)
    return TaskOut(
        id=task.id,
        status=view.status,
        done=view.status.done,
        reason=reason_of(task),
        verdict=result.verdict if result else None,
        exit_code=step.exit_code if step else None,
        signal=step.signal if step else None,
        wall_time=step.wall_time if step else None,
        cpu_time=step.cpu_time if step else None,
        peak_memory=step.peak_memory if step else None,
        written=step.written if step else None,
        limit=step.limit if step else None,
        quorum=quorum_of(task),
        target_replicas=task.target_replicas,
        hr_class=task.hr_class,
        disputed_by=task.disputed_by,
        need_validate=task.need_validate,
        judging=_judging_out(task.judging),
        replicas=[_replica_out(r, view) for r in task.replicas],
        outputs=_outputs(task, result),
        outputs_dropped=list(result.kept_dropped) if result else [],
        name=task.name,
        user=task.user,
        labels=dict(task.labels),
        priority=task.priority,
        key=task.key,
        retry_of=task.retry_of,
        retried_by=task.retried_by,
        batch=task.batch,
        index=place(task.id)[0] if task.batch else None,
        parameters=dict(task.parameters),
        finishes=task.finishes,
        add_time=iso(task.add_time) or "",
        start_time=iso(task.start_time),
        done_time=iso(task.done_time),
        cancel_requested_at=iso(task.cancel_requested_at),
        language=task.spec.language,
        spec=spec_out(task.spec),
        compile_cached=bool(result and result.compile and result.compile.cached),
        links=_links(task),
        **streams,
    )


def _measured(result: Result | None) -> StepResult | None:
    return (result.execute or result.compile) if result else None


def _streams(result: Result | None, judicator: Judicator) -> dict[str, Any]:
    found: dict[str, Any] = {"truncated": False}
    steps = {"": result.execute if result else None, "compile_": result.compile if result else None}
    for prefix, step in steps.items():
        for stream in ("stdout", "stderr"):
            text, cut = _stream(judicator, step, stream)
            found[prefix + stream] = text
            found[f"{prefix}{stream}_truncated"] = cut
            found["truncated"] |= cut
    return found


def _stream(judicator: Judicator, step: StepResult | None, name: str) -> tuple[str | None, bool]:
    if step is None:
        return None, False
    text, cut = text_of(judicator, getattr(step, name))
    return text, cut or getattr(step, f"{name}_truncated")


def _judging_out(run: Judging | None) -> JudgingOut | None:
    if run is None:
        return None
    return JudgingOut(
        state=run.state,
        executor=run.executor,
        candidates=list(run.candidates),
        attempts=run.attempts,
        message=run.message,
    )


def _replica_out(replica: Replica, view: TaskView) -> ReplicaOut:
    result = replica.result
    step = _measured(result)
    phase = view.phases.get(replica.number)
    return ReplicaOut(
        number=replica.number,
        executor=replica.executor,
        owner=replica.owner,
        state=replica.state,
        phase=phase if replica.outcome is None else None,
        outcome=replica.outcome,
        verdict=replica.verdict,
        validity=replica.validity,
        canonical=replica.number == view.task.canonical,
        digest=result.execute.stdout.digest if result and result.execute else None,
        kept={path: found.digest for path, found in result.kept.items()} if result else {},
        exit_code=step.exit_code if step else None,
        signal=step.signal if step else None,
        wall_time=step.wall_time if step else None,
        cpu_time=step.cpu_time if step else None,
        peak_memory=step.peak_memory if step else None,
        written=step.written if step else None,
        limit=step.limit if step else None,
        credit=replica.credit,
        sent_time=iso(replica.sent_time),
        received_time=iso(replica.received_time),
        report_deadline=iso(replica.report_deadline),
        killed_at=iso(replica.killed_at),
        over_time=iso(replica.over_time),
        error=replica.error_class,
        message=replica.message,
    )


def file_out(task: Task, name: str, content: Content) -> FileOut:
    """How a file of a task is told."""
    return FileOut(
        name=name,
        size=content.size,
        sha256=content.digest,
        href=f"{_links(task)['files']}/{quote(name)}",
    )


def _outputs(task: Task, result: Result | None) -> list[FileOut]:
    kept = result.kept if result else {}
    return [file_out(task, f"outputs/{path}", kept[path]) for path in sorted(kept)]


def _links(task: Task) -> dict[str, str]:
    home = f"{API}/tasks/{task.id}"
    return {
        "self": home,
        "page": f"/tasks/{task.id}",
        "explain": f"{home}/explain",
        "events": f"{home}/events",
        "files": f"{home}/files",
    }


def spec_out(spec: Spec) -> dict[str, Any]:
    """What was asked for, with contents told by size and digest."""
    return {
        **_runnable_out(spec),
        "data": _told(spec.data),
        "outputs": list(spec.outputs),
        "network": spec.network,
        "requires": _plain(spec.requires),
        "redundancy": _redundancy_out(spec.redundancy),
        "deadline": spec.deadline,
        "assimilate": _plain(spec.assimilate),
    }


def _redundancy_out(policy: Redundancy) -> dict[str, Any]:
    comparator = policy.comparator
    if isinstance(comparator, Program):
        return {**_plain(policy), "comparator": {"type": "program", **_runnable_out(comparator)}}
    return {**_plain(policy), "comparator": msgspec.to_builtins(comparator)}


def _runnable_out(what: Spec | Program) -> dict[str, Any]:
    source = what.source
    return {
        "language": what.language,
        "source": {
            "files": {path: _told(c) for path, c in sorted(source.files.items())},
            "zip": _told(source.archive),
        }
        if source
        else None,
        "compile": _step_out(what.compile),
        "execute": _step_out(what.execute),
    }


def _step_out(step: Step | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "command": step.command if isinstance(step.command, str) else list(step.command),
        "args": list(step.args),
        "env": shown_env(step),
        "stdin": _told(step.stdin),
        "limits": _plain(step.limits),
    }


def _plain(struct: Any) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value := getattr(struct, name), tuple) else value
        for name in struct.__struct_fields__
    }


def _told(content: Content | None) -> dict[str, int | Digest] | None:
    return {"size": content.size, "sha256": content.digest} if content else None


def summary_out(summary: Summary) -> SummaryOut:
    """A line of a list."""
    fields: Mapping[str, Any] = {n: getattr(summary, n) for n in SummaryOut.model_fields}
    times = {n: iso(fields[n]) for n in ("add_time", "start_time", "done_time")}
    return SummaryOut(
        **{
            **fields,
            **times,
            "labels": dict(summary.labels),
            "parameters": dict(summary.parameters),
        }
    )


def page_out(page: Page) -> PageOut:
    """A page of a list."""
    return PageOut(
        items=[summary_out(item) for item in page.items],
        total=page.total,
        more_than_total=page.more_than_total,
        next=page.next,
    )


def executor_out(executor: Executor) -> ExecutorOut:
    """An executor."""
    info = executor.info
    return ExecutorOut(
        name=info.name,
        state=executor.state,
        owner=info.owner,
        address=info.address,
        tags=list(info.tags),
        languages=dict(info.languages),
        os=info.os,
        cpu=info.cpu,
        cores=info.cores,
        memory=info.memory,
        slots=info.slots,
        isolation=info.isolation.level,
        isolation_why=info.isolation.why,
        isolation_checks=dict(info.isolation.checks),
        network=info.network,
        version=info.version,
        benchmark=info.benchmark,
        credit=executor.credit,
        reliability=[_standing_out(standing) for standing in executor.standings],
        registered=iso(executor.registered),
        last_report=iso(executor.last_report),
    )


def _standing_out(standing: Standing) -> StandingOut:
    times = {
        name: iso(getattr(standing, name) or None) for name in ("quarantined_until", "rests_until")
    }
    return StandingOut(**msgspec.structs.asdict(standing) | times)


def judicator_out(pong: Pong) -> JudicatorOut:
    """A judicator."""
    return JudicatorOut(name=pong.name, version=pong.version, leader=pong.leader, now=iso(pong.now))
