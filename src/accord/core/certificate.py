"""Certificates: what was agreed on about a task, so that it can be signed, and checked offline.

A certificate is a file of one line, ``{"key":…,"signature":…,"statement":{…}}``. It has one spelling:
keys sorted, no blanks, UTF-8, each number as ``canonical`` writes it. What is signed are the bytes
of the statement as they stand in the file, and a file that is spelled otherwise is refused, so there
is nothing in it that a signature does not speak of.

This module says what is certified and how it is spelled; signing is for ``ports.signer``.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from accord.core.cluster_key import fingerprint
from accord.core.errors import Corrupt, NoResult, NotDone
from accord.core.ids import Digest, ExecutorName, TaskId, UserName
from accord.core.replica import Content, Outcome, Replica, Result, Validity, Verdict
from accord.core.task import Comparator, Program, Spec, Step, Task, quorum_of
from accord.core.view import status_of

KIND = "accord.certificate/1"
"""Stands in every statement, so that no other text that the cluster signs is taken for one."""

MOST = 1 << 20
"""Bytes of a certificate at most."""

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a public key made that signature of those bytes."""


class Unreadable(Corrupt):
    """This is no certificate. ``accord certificate ID -o FILE`` writes one."""


class Refused(Corrupt):
    """This certificate is not as the cluster issued it."""


class Piece(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some bytes that the task put out."""

    digest: Digest
    size: int


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A replica that was sent to an executor. Times are seconds since the epoch, store time."""

    number: int
    executor: ExecutorName | None
    owner: str
    outcome: Outcome | None
    """None: it was not over when this was issued."""
    validity: Validity
    verdict: Verdict | None
    result: Digest | None
    """As ``result_digest`` has it. Valid results differ in it where the comparator lets them."""
    sent: float
    received: float | None


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the cluster says of a task. Times are seconds since the epoch, store time."""

    kind: str
    cluster: Digest
    """The fingerprint of the key that signs."""
    task: TaskId
    user: UserName
    name: str
    spec: Digest
    """Of what was asked, as ``spec_digest`` has it."""
    result: Digest
    """Of what came out, as ``result_digest`` has it: the canonical replica's."""
    verdict: Verdict
    stdout: Piece | None
    """None where the program was not run, since it did not compile."""
    kept: Mapping[str, Piece]
    """The kept output files by path."""
    comparator: Mapping[str, Any]
    """By which results were found equal. Of a user's program the digest stands for it."""
    quorum: int
    """How many results had to be in."""
    majority: int
    """How many of these had to agree: more than half."""
    agreed: int
    """How many did when this was issued; 1 means that nobody confirmed it."""
    runs: tuple[Run, ...]
    judged_by: ExecutorName | None
    """Who compared the results, where a judging run did."""
    disputed_by: TaskId | None
    """The audit that found since that most others give another result."""
    added: float
    decided: float | None
    issued: float

    @property
    def agreeing(self) -> tuple[Run, ...]:
        """The runs whose results agree."""
        return tuple(run for run in self.runs if _agrees(run))


class Certificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A statement with its signature, and the key that is said to have made it."""

    key: bytes
    signature: bytes
    statement: Statement


# -- what is stated ----------------------------------------------------------------------


def statement_of(task: Task, key: bytes, issued: float) -> Statement:
    """What a cluster of that public key can certify of a task.

    Raises NotDone while it is open, and NoResult where it ended without one that was agreed on.
    """
    result = _agreed_on(task)
    step = result.execute
    return Statement(
        kind=KIND,
        cluster=fingerprint(key),
        task=task.id,
        user=task.user,
        name=task.name,
        spec=spec_digest(task.spec),
        result=result_digest(result),
        verdict=result.verdict,
        stdout=_piece(step.stdout) if step else None,
        kept={path: _piece(content) for path, content in result.kept.items()},
        comparator=told(task.spec.redundancy.comparator),
        quorum=quorum_of(task),
        majority=_majority(task),
        agreed=len(_agreeing(task)),
        runs=tuple(_run(r, r.sent_time) for r in task.replicas if r.sent_time is not None),
        judged_by=task.judged_by,
        disputed_by=task.disputed_by,
        added=task.add_time,
        decided=task.done_time,
        issued=issued,
    )


def spec_digest(spec: Spec) -> Digest:
    """The SHA-256 of what was asked. Contents count by digest and size, so it is the same wherever
    they are stored, and after they were deleted.
    """
    asked = _fields(spec)
    if not spec.network:  # it came later than the first certificates
        del asked["network"]
    return _digest(asked)


def result_digest(result: Result) -> Digest:
    """The SHA-256 of what comparators see: the verdict, how the execute step ended, the digests and
    sizes of its standard output and of the kept files.

    Neither time nor usage, standard error, or what the compile step printed.
    """
    step = result.execute
    return _digest(
        {
            "verdict": result.verdict,
            "exit_code": step.exit_code if step else None,
            "signal": step.signal if step else None,
            "stdout": _piece(step.stdout) if step else None,
            "kept": {path: _piece(content) for path, content in result.kept.items()},
        }
    )


def _agreed_on(task: Task) -> Result:
    status = status_of(task)
    if not status.done:
        raise NotDone(
            f"The task is {status}. There is a certificate once its result is agreed on.",
            id=task.id,
            status=status,
        )
    chosen = None if task.canonical is None else task.replica(task.canonical)
    if chosen is None or chosen.result is None:
        raise NoResult(
            f"The task is {status}: it has no result, so there is nothing to certify.",
            id=task.id,
            status=status,
        )
    agreed = len(_agreeing(task))
    if agreed < _majority(task):
        raise NoResult(
            f"Only {agreed} results of the task agree, of {_majority(task)} that must, so "
            "there is nothing to certify.",
            id=task.id,
            status=status,
        )
    return chosen.result


def _majority(task: Task) -> int:
    return quorum_of(task) // 2 + 1


def _agreeing(task: Task) -> tuple[Replica, ...]:
    return tuple(r for r in task.replicas if _agrees(r))


def _agrees(run: Replica | Run) -> bool:
    return run.outcome is Outcome.SUCCESS and run.validity is Validity.VALID


def _run(replica: Replica, sent: float) -> Run:
    return Run(
        number=replica.number,
        executor=replica.executor,
        owner=replica.owner,
        outcome=replica.outcome,
        validity=replica.validity,
        verdict=replica.verdict,
        result=result_digest(replica.result) if replica.result else None,
        sent=sent,
        received=replica.received_time,
    )


def _piece(content: Content) -> Piece:
    return Piece(digest=content.digest, size=content.size)


def told(comparator: Comparator) -> Mapping[str, Any]:
    """The fields of a comparator. A program may be as large as a task, so its digest stands for it."""
    if isinstance(comparator, Program):
        return {"type": "program", "digest": _digest(_plain(comparator))}
    fields: Mapping[str, Any] = msgspec.to_builtins(comparator)
    return fields


def agreed_by(task: Task) -> tuple[Replica, ...]:
    """The replicas whose results agree; none where the task cannot be certified."""
    try:
        _agreed_on(task)
    except (NotDone, NoResult):
        return ()
    return _agreeing(task)


def spelled(comparator: Mapping[str, Any]) -> str:
    """A comparator for people.

    >>> spelled({"type": "numbers", "abs": 0.0, "rel": 1e-06})
    'numbers (abs 0.0, rel 1e-06)'
    >>> spelled({"type": "exact"})
    'exact'
    """
    fields = {**comparator}
    type_ = str(fields.pop("type", ""))
    told_of = ", ".join(f"{name} {_listed(value)}" for name, value in fields.items())
    return f"{type_} ({told_of})" if told_of else type_


def _listed(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# -- how it is spelled -------------------------------------------------------------------


def canonical(value: object) -> bytes:
    """The one spelling of a value: JSON with sorted keys, no blanks, UTF-8, numbers as short as they
    can be read back. Bytes are written as base64.

    >>> canonical({"b": 1.0, "a": (b"x", None)})
    b'{"a":["eA==",null],"b":1.0}'
    """
    return msgspec.json.encode(value, order="sorted")


def written(statement: Statement, key: bytes, signature: bytes) -> bytes:
    """The certificate as a file."""
    return _spelled(Certificate(key=key, signature=signature, statement=statement))


def _spelled(certificate: Certificate) -> bytes:
    return canonical(certificate) + b"\n"


def _digest(value: object) -> Digest:
    return Digest(hashlib.sha256(canonical(value)).hexdigest())


def _plain(value: object) -> object:
    """A value of the core as plain ones. A field that says nothing, being null or empty, is left out,
    so that one which a later version adds changes no digest of what is there.
    """
    if isinstance(value, Content):
        return {"digest": value.digest, "size": value.size}
    if isinstance(value, Step) and value.secrets:
        return _fields(value) | {"env": _by_digest(value)}
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, enum.Enum) else value


def _by_digest(step: Step) -> dict[str, str]:
    """The environment with each secret as the digest of its value."""
    return {
        name: hashlib.sha256(value.encode()).hexdigest() if name in step.secrets else value
        for name, value in step.env.items()
    }


def _fields(value: msgspec.Struct) -> dict[str, object]:
    config = value.__struct_config__
    found: dict[str, object] = {config.tag_field: config.tag} if config.tag_field else {}
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if inner not in (None, "", (), {}):
            found[name] = _plain(inner)
    return found


# -- how it is checked -------------------------------------------------------------------


def check(data: bytes, trusted: bytes, verify: Verify) -> Statement:
    """What a certificate states, where the key that is trusted signed it and nothing was changed.

    Raises Unreadable where it is no certificate at all, and Refused, saying why.
    """
    found = parse(data)
    if found.key != trusted:
        raise Refused(
            f"It is signed by the key {fingerprint(found.key)}; the key to check it by is "
            f"{fingerprint(trusted)}."
        )
    if not verify(trusted, found.signature, canonical(found.statement)):
        raise Refused("The signature does not belong to the statement: one of them was changed.")
    if found.statement.cluster != fingerprint(trusted):
        raise Refused(f"It speaks for another cluster, that of the key {found.statement.cluster}.")
    return found.statement


def parse(data: bytes) -> Certificate:
    """What a file holds, unchecked but for its form. Raises Unreadable, Refused."""
    _check_kind(data)
    try:
        found = msgspec.json.decode(data, type=Certificate)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"It is not formed as a certificate is: {error}.") from error
    if _spelled(found) != data:
        raise Refused(
            "It is not spelled as certificates are issued: something was added, moved, or changed."
        )
    return found


class _Kind(msgspec.Struct):
    kind: str


class _OfKind(msgspec.Struct):
    statement: _Kind


def _check_kind(data: bytes) -> None:
    try:
        kind = msgspec.json.decode(data, type=_OfKind).statement.kind
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable from error
    if kind != KIND:
        raise Unreadable(f"This is no certificate of the kind {KIND}, but of {kind!r}.")
