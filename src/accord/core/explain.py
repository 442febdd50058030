"""Why a task is in its state and what happens next, in a sentence or two.

API, command line and website show the same text. Silence is what users of such systems complain
of most, so every state has an answer, with live numbers, and every failure says what to do.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence

import msgspec

from accord.core import holding
from accord.core.assignment import (
    RequirementClass,
    avoids,
    judging_class,
    kept_apart,
    lacks,
    requirement_class,
    satisfies,
    takes_work,
    waits_since,
)
from accord.core.executor import Executor
from accord.core.ids import ExecutorName
from accord.core.judging import JudgingState
from accord.core.policy import Policy
from accord.core.reliability import task_class
from accord.core.replica import (
    Outcome,
    Phase,
    Replica,
    ReplicaState,
    Result,
    StepResult,
    Validity,
    Verdict,
)
from accord.core.retry import FAULTS, faults
from accord.core.status import Reason, Status
from accord.core.task import Stage, Task, quorum_of
from accord.core.versions import base_of, versions_of
from accord.core.view import done, reason_of, shown_replica, status_of

NAMED = 3
"""Executors that are named at most, where there may be many."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know beyond the task itself, at this moment."""

    now: float
    executors: tuple[Executor, ...] = ()
    """All that are known, in whatever state."""
    weakest: str
    """The lowest isolation level for tasks that name none."""
    position: int = 0
    """How many ready tasks of its class come before it."""
    phases: Mapping[int, Phase] = {}
    policy: Policy = Policy()


def explain(task: Task, around: Surroundings) -> str:
    """The explanation; plain text, for a person."""
    status = status_of(task, around.phases)
    held = _held(task, around)
    text = held or _TEXTS[status](task, around)
    return text + _dispute(task) + _assimilating(task) + _membership(task)


def _held(task: Task, around: Surroundings) -> str:
    """Of a result that stands alone and is not final yet."""
    waits = [r.not_before - around.now for r in task.replicas if r.not_before > around.now]
    if done(task) or not waits or not holding.is_held(task):
        return ""
    made = next(str(r.executor) for r in task.replicas if r.outcome is Outcome.SUCCESS)
    return (
        f"Its result stands alone, as {made} is trusted, and is held for another"
        f" {span(min(waits))}: if {made} is caught erring until then, others are to confirm it."
    )


def _assimilating(task: Task) -> str:
    if task.assimilate_state is not Stage.READY:
        return ""
    handler = task.spec.assimilate.handler
    return f" The assimilator {handler} has not taken its end in yet; it is called until it does."


def _membership(task: Task) -> str:
    """What its batch has to do with it."""
    if task.retried_by is not None:
        return f" Task {task.retried_by} has taken its place in batch {task.batch}."
    if task.finishes is not None:
        return f" It is the finishing task of batch {task.finishes}."
    return ""


# -- before the end ----------------------------------------------------------------------


def _pending(task: Task, around: Surroundings) -> str:
    sending = _sending(task, requirement_class(task), around)
    return f"{_so_far(task)}Waiting to be sent. {sending}"


def _so_far(task: Task) -> str:
    """How many results are there of those that are to agree, and whether they do."""
    there = sum(r.outcome is Outcome.SUCCESS for r in task.replicas)
    if not there:
        return ""
    differ = any(r.validity is Validity.INCONCLUSIVE for r in task.replicas)
    agree = ", too few of which agree" if differ else ""
    return f"{_count(there, 'result')} of {task.target_replicas} {_are(there)} in{agree}. "


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _retrying(task: Task, around: Surroundings) -> str:
    waiting = next((r for r in task.replicas if r.state is ReplicaState.UNSENT), None)
    so_far = f"{_so_far(task)}{_last_fault(task)} {_allowance(task)}"
    if waiting is not None and waiting.not_before > around.now:
        return f"{so_far} The next attempt is in {span(waiting.not_before - around.now)}."
    sending = _sending(task, requirement_class(task), around)
    return f"{so_far} The next attempt waits to be sent. {sending}{_kept_from(task, around)}"


def _kept_from(task: Task, around: Surroundings) -> str:
    """Which executors are passed over for now, since it failed there."""
    needs = requirement_class(task)
    able = [e for e in around.executors if takes_work(e) and satisfies(e, needs, around.weakest)]
    names = [e.name for e in able]
    kept = [name for name in names if avoids(task, name, names, around.now)]
    return f" Others are tried before {' and '.join(kept)}." if kept else ""


def _sending(task: Task, needs: RequirementClass, around: Surroundings) -> str:
    """Who could take what needs that, and when its turn comes."""
    if not around.executors:
        return f"No executor is known to this cluster: start one.{_unsendable_in(task, around)}"
    missing = {e.name: lacks(e, needs, around.weakest) for e in around.executors}
    able = [e for e in around.executors if not missing[e.name]]
    if not able:
        why = _why_none(around.executors, missing)
        return f"{why}{_unsendable_in(task, around)}"
    matching = [e for e in able if not kept_apart(e, needs)]
    if not matching:
        return f"{_why_apart(task, able)}{_unsendable_in(task, around)}"
    online = [e for e in matching if takes_work(e)]
    if not online:
        states = ", ".join(f"{e.name} is {e.state}" for e in matching)
        return f"No executor that could run it takes work: {states}."
    return f"{_of(len(online), around)} and {_queue(around.position)}{_kept(task, online)}"


def _kept(task: Task, online: Sequence[Executor]) -> str:
    """Which of those that could run it do not get it for now, for what became of others there."""
    class_ = task_class(task)
    notes = [
        f"{executor.name} ({standing.note})"
        for executor in online
        for standing in executor.standings
        if standing.task_class == class_ and standing.note
    ]
    if not notes:
        return ""
    more = f", nor on {len(notes) - NAMED} more" if len(notes) > NAMED else ""
    return f" Not now on {' or '.join(notes[:NAMED])}{more}."


def _why_apart(task: Task, able: Sequence[Executor]) -> str:
    """Of all who could run it, each has, and its runs are to confirm each other."""
    whose = "of different owners" if task.spec.redundancy.distinct == "owner" else "different ones"
    names = ", ".join(e.name for e in able)
    return (
        f"Every executor that could take it has run it already ({names}), and its runs are to be"
        f" on {whose}: start another executor, or submit it with redundancy.distinct none."
    )


def _of(matching: int, around: Surroundings) -> str:
    online = sum(takes_work(e) for e in around.executors)
    verb = "matches" if matching == 1 else "match"
    return f"{matching} of {_count(online, 'online executor')} {verb} it,"


def _queue(position: int) -> str:
    if position == 0:
        return "it is the next to get a free slot."
    return f"{_count(position, 'task')} will get a free slot before it."


def _why_none(executors: Sequence[Executor], missing: Mapping[ExecutorName, Sequence[str]]) -> str:
    """Why no executor matches: what all of them lack, else what each of them does."""
    common = [
        what for what in missing[executors[0].name] if all(what in m for m in missing.values())
    ]
    if not common:
        each = "; ".join(f"{name} lacks {', '.join(what)}" for name, what in missing.items())
        return f"No executor has all that it requires: {each}."
    return f"No executor has {', '.join(common)}{_there_are(common[0], executors)}."


def _there_are(what: str, executors: Sequence[Executor]) -> str:
    """What there is instead, where a list helps to choose."""
    kind, *rest = what.split(" ")
    if kind == "language" and len(rest) > 1:
        found = sorted({v for e in executors for v in versions_of(e.info.languages, rest[0])})
    elif kind == "language":
        found = sorted({base_of(name) for e in executors for name in e.info.languages})
    elif kind == "tag":
        found = sorted({tag for e in executors for tag in e.info.tags})
    elif kind == "isolation":
        found = sorted({e.info.isolation.level for e in executors})
    else:
        return ""
    if not found:
        return "; there is none" if kind == "isolation" else "; they have none at all"
    return f"; there {'is' if len(found) == 1 else 'are'} {', '.join(found)}"


def _unsendable_in(task: Task, around: Surroundings) -> str:
    left = waits_since(task) + around.policy.unsendable_after - around.now
    if left <= 0:
        return " The task is about to fail as unsendable."
    return f" Unless one comes, the task fails as unsendable in {span(left)}."


def _running(task: Task, around: Surroundings) -> str:
    parts = [_one_run(r, around) for r in task.replicas if r.state is ReplicaState.IN_PROGRESS]
    before = faults(task.replicas)
    after = f" {_last_fault(task)}" if before else ""
    return f"{' '.join(parts)}{_others(task, around)}{after}"


def _others(task: Task, around: Surroundings) -> str:
    """The replicas that are still to be sent while others run."""
    waiting = [r for r in task.replicas if r.sendable]
    if not waiting:
        return ""
    verb = "waits" if len(waiting) == 1 else "wait"
    sending = _sending(task, requirement_class(task), around)
    return f" {_count(len(waiting), 'more replica')} {verb} to be sent. {sending}"


_DOING = {
    Phase.FETCHING: "Fetching its files",
    Phase.COMPILING: "Compiling",
    Phase.RUNNING: "Running",
    Phase.JUDGING: "Judging its output",
    None: "Sent to run",
}


def _one_run(replica: Replica, around: Surroundings) -> str:
    doing = _DOING[around.phases.get(replica.number)]
    since = around.now - (replica.sent_time or around.now)
    left = (replica.report_deadline or around.now) - around.now
    return (
        f"{doing} on {replica.executor}, {span(since)} after it was sent;"
        f" it is given up and tried again if nothing is heard for another {span(left)}."
    )


def _validating(task: Task, around: Surroundings) -> str:
    if any(r.state is ReplicaState.IN_PROGRESS for r in task.replicas):
        return _running(task, around)
    there = sum(r.outcome is Outcome.SUCCESS for r in task.replicas)
    compared = f"{_count(there, 'result')} of {quorum_of(task)} are compared."
    return f"{compared}{_judging(task, around)}" if task.judging else compared


def _judging(task: Task, around: Surroundings) -> str:
    """Where the judging run is that is to say whether results agree."""
    run = task.judging
    if run is None or not run.pending:
        return ""
    before = f" The last run came to nothing: {run.message.rstrip('.')}." if run.message else ""
    if run.state is JudgingState.IN_PROGRESS:
        return f" A judging run on {run.executor} tells which agree.{before}"
    if run.not_before > around.now:
        return f"{before} The next judging run is in {span(run.not_before - around.now)}."
    apart = (
        "" if task.spec.redundancy.distinct == "none" else " on an executor that made none of them"
    )
    sending = _sending(task, judging_class(task), around)
    return f"{before} A judging run{apart} is to tell which agree; it waits to be sent. {sending}"


def _cancelling(task: Task, _around: Surroundings) -> str:
    where = [str(r.executor) for r in task.replicas if r.state is ReplicaState.IN_PROGRESS]
    return (
        f"Cancelling: {' and '.join(where)} {'has' if len(where) == 1 else 'have'} been told to stop"
        " it. The task is cancelled once its box is known to be empty."
    )


# -- the end -----------------------------------------------------------------------------


def _ended(task: Task, _around: Surroundings) -> str:
    """A program that was run: what it did, whichever the verdict."""
    replica = shown_replica(task)
    if replica is None or replica.result is None:
        return "The task has ended."
    return _ran(task, replica.result, str(replica.executor)) + _agreement(task)


def _agreement(task: Task) -> str:
    """How many results there are of the task, and how many of them agree with the one shown."""
    results = [r for r in task.replicas if r.result is not None]
    if len(results) < 2 and quorum_of(task) < 2:  # one result agrees with nobody
        return ""
    valid = sum(r.validity is Validity.VALID for r in results)
    verb = "agrees" if valid == 1 else "agree"
    return f" {valid} of {_count(len(results), 'result')} {verb}."


def _dispute(task: Task) -> str:
    if task.disputed_by is None:
        return ""
    return (
        f" An audit (task {task.disputed_by}) has found since that most executors give another"
        " result: retry it, with a larger min_quorum."
    )


def _ran(task: Task, result: Result, where: str) -> str:
    compiling = result.execute is None
    step = result.compile if compiling else result.execute
    name = "compile step" if compiling else "program"
    if step is None:
        return f"It ran on {where}: {_word(result.verdict)}."
    how = _how(step, name, task)
    after = f"on {where} after {span(step.wall_time)}"
    verdict = "" if result.verdict is Verdict.OK else f" ({_word(result.verdict)})"
    before = " It was compiled before (cached)." if result.compile and result.compile.cached else ""
    return f"The {name} {how} {after}{verdict}.{before}{_advice(task, result, step, name)}"


def _how(step: StepResult, name: str, task: Task) -> str:
    if step.limit is not None:
        spec = task.spec.compile if name == "compile step" else task.spec.execute
        bound = f" ({_bound(step.limit, getattr(spec.limits, step.limit))})" if spec else ""
        return f"was stopped at its limit {step.limit}{bound}"
    if step.signal is not None:
        return f"was ended by signal {_signal(step.signal)}"
    return f"ended with exit code {step.exit_code}"


def _advice(task: Task, result: Result, step: StepResult, name: str) -> str:
    if result.verdict is Verdict.OK:
        return ""
    if step.limit is not None:
        return f" Let it use less, or submit it again with a larger limits.{step.limit}."
    if not task.spec.network and _missed_the_network(step):
        return " It tried to use the network, which is off for this task."
    stream = "compile_stderr" if name == "compile step" else "stderr"
    return f" See {stream} for what it says."


_NETWORK_WORDS = (
    b"network is unreachable",
    b"temporary failure in name resolution",
    b"could not resolve host",
    b"name or service not known",
    b"getaddrinfo",
)


def _missed_the_network(step: StepResult) -> bool:
    said = (step.stderr.inline or b"").lower()
    return any(words in said for words in _NETWORK_WORDS)


def _cancelled(task: Task, _around: Surroundings) -> str:
    asked, done = task.cancel_requested_at, task.done_time
    took = f" {span(done - asked)} after it was asked for" if asked and done else ""
    return f"Cancelled{took}; nothing of it runs any more. Retry makes a new task of it."


def _failed(task: Task, around: Surroundings) -> str:
    reason = reason_of(task)
    why, what_to_do = _REASONS[reason] if reason else ("", "")
    replicas = task.replicas
    facts = {
        "errors": _count(sum(r.outcome is Outcome.CLIENT_ERROR for r in replicas), "attempt"),
        "lost": _count(len({r.executor for r in replicas if r.outcome in _LOST}), "executor"),
        "attempts": _count(sum(r.sent_time is not None for r in replicas), "attempt"),
        "results": _count(sum(r.outcome is Outcome.SUCCESS for r in replicas), "result"),
        "majority": quorum_of(task) // 2 + 1,
        "deadline": span(task.spec.deadline or 0.0),
        "unsendable": span(around.policy.unsendable_after),
    }
    last = f" {_last_fault(task)}" if faults(task.replicas) else ""
    return f"{why.format(**facts)}{last} {what_to_do}"


_LOST = (Outcome.NO_REPLY, Outcome.DETACHED)

_REASONS: Mapping[Reason, tuple[str, str]] = {
    Reason.TOO_MANY_ERRORS: (
        "Failed: {errors} came to nothing through faults of executors.",
        "Look after those executors (`accord doctor` on each), then retry.",
    ),
    Reason.TOO_MANY_LOST: (
        "Failed: {lost} went silent while running it, so it may well bring its machine down.",
        "See what the program does to its machine, and lower its limits, before you retry.",
    ),
    Reason.TOO_MANY_REPLICAS: (
        "Failed: {attempts} gave no result, and no more are allowed.",
        "See whether the executors are well, then retry, or raise max_total_replicas.",
    ),
    Reason.NO_CONSENSUS: (
        "Failed: of {results} no {majority} agree.",
        "Make the program's output the same on every run, or choose a comparator that allows for what"
        " differs, then submit it again.",
    ),
    Reason.UNSENDABLE: (
        "Failed: for {unsendable} no executor could take it.",
        "Start an executor that has what it requires, or require less, then retry.",
    ),
    Reason.DEADLINE: (
        "Failed: it was not done within its deadline of {deadline}.",
        "Submit it again with a longer deadline, or when the queue is shorter.",
    ),
    Reason.BAD_INPUT: (
        "Failed: what was submitted cannot be used.",
        "Mend it and submit it again; the same would fail alike.",
    ),
}


def _last_fault(task: Task) -> str:
    """What the latest attempt that came to nothing met with."""
    faulty = [r for r in task.replicas if r.outcome in FAULTS]
    if not faulty:
        return ""
    latest = faulty[-1]
    what = latest.message or _word(latest.outcome or Outcome.CLIENT_ERROR)
    return f"Attempt {len(faulty)} failed on {latest.executor}: {what.rstrip('.')}."


def _allowance(task: Task) -> str:
    policy = task.spec.redundancy
    sent = sum(r.sent_time is not None for r in task.replicas)
    left = max(0, policy.max_total_replicas - sent)
    return f"At most {_count(left, 'more attempt')} will be made."


_TEXTS: Mapping[Status, Callable[[Task, Surroundings], str]] = {
    Status.PENDING: _pending,
    Status.RETRYING: _retrying,
    Status.COMPILING: _running,
    Status.RUNNING: _running,
    Status.VALIDATING: _validating,
    Status.CANCELLING: _cancelling,
    Status.SUCCESS: _ended,
    Status.COMPILE_FAILED: _ended,
    Status.RUN_FAILED: _ended,
    Status.WRONG_ANSWER: _ended,
    Status.FORMAT_ERROR: _ended,
    Status.FAILED: _failed,
    Status.CANCELLED: _cancelled,
}


# -- words -------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """A length of time for a person.

    >>> [span(s) for s in (-1.0, 0.004, 2.25, 59.0, 90.0, 5400.0, 200000.0)]
    ['0 ms', '4 ms', '2.2 s', '59 s', '1.5 min', '1.5 h', '2.3 days']
    """
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size, most in (("s", 1.0, 60.0), ("min", 60.0, 3600.0), ("h", 3600.0, 86400.0)):
        if seconds < most:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 86400)} days"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}"


def _bound(limit: str, value: float) -> str:
    """A limit with its unit.

    >>> _bound("memory", 512 << 20), _bound("wall", 10.0), _bound("processes", 64)
    ('512 MiB', '10 s', '64')
    """
    if limit in ("wall", "cpu"):
        return span(value)
    if limit in ("memory", "output", "file", "disk"):
        return f"{_short(value / (1 << 20))} MiB"
    return f"{value:.0f}"


def _signal(number: int) -> str:
    """A signal by number and name.

    >>> _signal(11), _signal(200)
    ('11 (SIGSEGV)', '200')
    """
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _word(value: Outcome | Verdict) -> str:
    return value.replace("_", " ")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
