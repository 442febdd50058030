"""What a certificate states of a task, and which tasks have one."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from accord.core import lifecycle
from accord.core.certificate import (
    KIND,
    Piece,
    Statement,
    Unreadable,
    _plain,
    agreed_by,
    canonical,
    parse,
    result_digest,
    spec_digest,
    spelled,
    statement_of,
    written,
)
from accord.core.cluster_key import fingerprint, from_pem, to_pem
from accord.core.errors import Invalid, NoResult, NotDone
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.judging import Judgement, Judging, JudgingState
from accord.core.lifecycle import Judged, JudgingClaimed, Reported, Tick
from accord.core.policy import Policy
from accord.core.replica import Content, Outcome, Stage, Validity, Verdict, content
from accord.core.task import ErrorMask, Exact, Files, Numbers, Program, Source, Spec, Task
from accord.core.validation import validate
from tests.builders import (
    NOW,
    a_compile_step,
    a_result,
    a_spec,
    a_step,
    a_step_result,
    a_task,
    a_task_of,
    over,
    spelled_all,
)

KEY = bytes(range(32))
POLICY = Policy()
replace = msgspec.structs.replace


def stated(task: Task) -> Statement:
    """Its statement, issued a minute after tests begin."""
    return statement_of(task, KEY, NOW + 60)


def judged(codes: str, **changes: Any) -> Task:
    """The task after validation."""
    return validate(a_task_of(codes, need_validate=True, **changes), NOW, POLICY)


# -- what is stated ----------------------------------------------------------------------


def test_of_one_result_it_says_that_nobody_confirmed_it():
    task = validate(
        a_task(replicas=(over(owner="lab"),), need_validate=True, name="sum"), NOW, POLICY
    )
    task = replace(task, done_time=NOW + 1)
    statement = stated(task)
    assert (statement.kind, statement.cluster) == (KIND, fingerprint(KEY))
    assert (statement.task, statement.user, statement.name) == (task.id, "alice", "sum")
    assert (statement.quorum, statement.agreed, statement.verdict) == (1, 1, Verdict.OK)
    assert (statement.added, statement.decided, statement.issued) == (NOW, NOW + 1, NOW + 60)
    assert statement.comparator == {"type": "default"}
    assert statement.stdout == Piece(digest=content(b"hello\n").digest, size=6)
    [run] = statement.runs
    assert (run.number, run.executor, run.owner) == (0, "e1", "lab")
    assert (run.outcome, run.validity, run.verdict) == (Outcome.SUCCESS, Validity.VALID, "ok")
    assert (run.sent, run.received, run.result) == (NOW, NOW, statement.result)


@pytest.mark.parametrize("quorum", [2, 3])
def test_of_several_it_counts_those_that_agreed_and_lists_every_run_that_was_sent(quorum):
    task = judged("S=x E " + "S=a " * quorum + "P U", min_quorum=quorum)
    statement = stated(task)
    assert (statement.quorum, statement.agreed) == (quorum, quorum)
    assert [run.executor for run in statement.agreeing] == [f"e{n + 2}" for n in range(quorum)]
    # The one in progress is listed too; that which was never sent is not.
    assert [run.number for run in statement.runs] == list(range(quorum + 3))
    wrong, failed, *_, out = statement.runs
    assert (wrong.validity, wrong.verdict) == (Validity.INVALID, Verdict.OK)
    assert wrong.result not in (None, statement.result)
    assert (failed.outcome, failed.verdict, failed.result) == (Outcome.CLIENT_ERROR, None, None)
    assert (out.outcome, out.received) == (None, None)


def test_a_straggler_that_agrees_counts_once_it_is_in():
    task = judged("S=a S=a")
    more = replace(task, replicas=(*task.replicas, over(2, result=a_result(b"a"))))
    assert stated(more).agreed == 2
    late = validate(replace(more, need_validate=True), NOW, POLICY)
    assert stated(late).agreed == 3


def test_the_quorum_that_holds_is_stated_not_that_of_the_policy():
    task = judged("S=a", quorum=1)
    assert (stated(task).quorum, stated(task).agreed) == (1, 1)


def test_results_that_differ_within_the_comparators_tolerance_agree():
    statement = stated(judged("S=1.0 S=1.01", comparator=Numbers(rel=0.1)))
    assert statement.agreed == 2
    assert len({run.result for run in statement.runs}) == 2
    assert statement.result == statement.runs[0].result
    assert statement.comparator == {"type": "numbers", "abs": 0.0, "rel": 0.1}
    assert spelled(statement.comparator) == "numbers (abs 0.0, rel 0.1)"


def test_who_judged_is_stated_and_a_program_by_its_digest():
    program = Program(execute=a_step(command="x" * 100_000))
    e9, s9 = ExecutorName("e9"), SessionId("s9")
    task = a_task_of("S=1.0 P", comparator=program)
    end = Reported(number=1, executor=ExecutorName("e1"), session=SessionId("s1"), end=a_result())
    task = lifecycle.decide(task, end, NOW, POLICY).task
    task = lifecycle.decide(
        task, JudgingClaimed(executor=e9, session=s9, owner="judge"), NOW, POLICY
    ).task
    with pytest.raises(NotDone, match="validating"):
        stated(task)
    answer = Judged(number=1, executor=e9, session=s9, end=Judgement(groups=((0, 1),)))
    statement = stated(lifecycle.decide(task, answer, NOW, POLICY).task)
    assert (statement.agreed, statement.judged_by) == (2, "e9")
    assert set(statement.comparator) == {"type", "digest"}
    assert len(canonical(statement)) < 4096


def test_a_majority_of_the_quorum_suffices():
    statement = stated(a_task_of("SV=a SI=b SV=a", canonical=0, min_quorum=3, target_replicas=3))
    assert (statement.agreed, statement.majority, statement.quorum) == (2, 2, 3)


def test_who_judged_stays_on_record_while_a_late_result_is_judged():
    later = Judging(number=1, candidates=(0, 2), state=JudgingState.UNSENT)
    task = a_task_of("SV=a SV=b S=c", canonical=0, judging=later, judged_by=ExecutorName("e9"))
    assert stated(task).judged_by == "e9"


def test_nobody_judged_where_a_judging_run_gave_no_answer():
    out = Judging(state=JudgingState.IN_PROGRESS, executor=ExecutorName("e9"))
    assert stated(a_task_of("SV=a SV=a", canonical=0, judging=out)).judged_by is None


def test_a_result_that_an_audit_disputes_is_certified_with_the_dispute():
    task = a_task_of("SV=a SV=a", canonical=0, disputed_by=TaskId("01ARZ3NDEKTSV4RRFFQ69G5FAV"))
    assert stated(task).disputed_by == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert stated(a_task_of("SV=a SV=a", canonical=0)).disputed_by is None


def test_only_runs_to_a_verdict_agree():
    lost = over(2, Outcome.NO_REPLY, validity=Validity.VALID)
    task = judged("S=a S=a")
    assert stated(replace(task, replicas=(*task.replicas, lost))).agreed == 2


def test_kept_files_are_stated_and_a_program_that_did_not_compile_put_out_nothing():
    kept = {"b/é.csv": content(b"1"), "a": content(b"")}
    result = a_result(kept=kept)
    statement = stated(judged("S S", replicas=(over(0, result=result), over(1, result=result))))
    assert {path: piece.size for path, piece in statement.kept.items()} == {"b/é.csv": 1, "a": 0}
    broken = a_result(verdict=Verdict.COMPILE_ERROR, compile=a_step_result(), execute=None)
    statement = stated(judged("S S", replicas=(over(0, result=broken), over(1, result=broken))))
    assert (statement.verdict, statement.stdout) == (Verdict.COMPILE_ERROR, None)


def test_it_stays_the_same_when_files_are_deleted_by_their_age():
    task = judged("S=a S=a", spec=a_spec(min_quorum=2, data=content(b"zip")))
    gone = replace(
        task,
        file_delete_state=Stage.DONE,
        replicas=tuple(replace(r, file_delete_state=Stage.DONE) for r in task.replicas),
    )
    assert stated(gone) == stated(task)
    assert agreed_by(gone)


def test_a_tick_after_the_deletion_delay_leaves_it_to_be_certified():
    task = lifecycle.decide(judged("S=a S=a", assimilate_state=Stage.DONE), Tick(), NOW, POLICY)
    later = lifecycle.decide(task.task, Tick(), NOW + 90 * 86400, POLICY).task
    assert statement_of(later, KEY, NOW).result == stated(task.task).result


# -- which tasks have one ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "error", "status"),
    [
        (a_task(), NotDone, "pending"),
        (a_task_of("SV=a P"), NotDone, "running"),
        (a_task_of("E E E", error_mask=ErrorMask.TOO_MANY_ERRORS), NoResult, "failed"),
        (a_task_of("S=a S=b", error_mask=ErrorMask.TOO_MANY_SUCCESSES), NoResult, "failed"),
        (a_task_of("G G", error_mask=ErrorMask.CANCELLED), NoResult, "cancelled"),
        (a_task_of("P G", error_mask=ErrorMask.CANCELLED), NotDone, "cancelling"),
    ],
    ids=["pending", "running", "failed", "no consensus", "cancelled", "cancelling"],
)
def test_what_has_no_agreed_result_says_why(task, error, status):
    with pytest.raises(error, match=status) as caught:
        stated(task)
    assert caught.value.fields["status"] == status
    assert agreed_by(task) == ()


def test_a_chosen_result_that_too_few_agree_with_is_not_certified():
    with pytest.raises(NoResult, match="Only 1 results of the task agree, of 2"):
        stated(a_task_of("SV=a SI=b", canonical=0))


# -- digests -----------------------------------------------------------------------------


def blob(data: bytes) -> Content:
    """As it is written once it lies in the blob store."""
    return replace(content(data), inline=None)


def test_where_contents_are_stored_makes_no_difference():
    def spec(put: Any) -> Any:
        return a_spec(
            source=Source(files={"main.c": put(b"c"), "x": put(b"y")}),
            data=put(b"zip"),
            compile=a_compile_step(stdin=put(b"c")),
            execute=a_step(stdin=put(b"in"), env={"inline": "x", "digest": "y", "size": "1"}),
            comparator=Program(execute=a_step(stdin=put(b"p"))),
        )

    assert spec_digest(spec(content)) == spec_digest(spec(blob))
    step = a_step_result(stdout=b"")

    def result(put: Any) -> Any:
        return a_result(execute=replace(step, stdout=put(b"out")), kept={"a": put(b"b")})

    assert result_digest(result(content)) == result_digest(result(blob))


SPEC = a_spec(data=content(b"zip"), language="c")


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": content(b"zap")},
        {"language": "cpp"},
        {"network": True},
        {"execute": a_step(command="/bin/echo hello")},
        {"execute": a_step(args=("hello",))},
        {"execute": a_step(env={"inline": "1"})},
        {"execute": a_step(limits=replace(a_step().limits, wall=61.0))},
        {"outputs": ("*",)},
        {"deadline": 5.0},
        {"redundancy": replace(SPEC.redundancy, min_quorum=2)},
        {"redundancy": replace(SPEC.redundancy, comparator=Exact())},
        {"redundancy": replace(SPEC.redundancy, comparator=Files(paths=("a",)))},
    ],
)
def test_whatever_is_asked_otherwise_has_another_digest(changes):
    assert spec_digest(replace(SPEC, **changes)) != spec_digest(SPEC)


def test_a_secret_counts_by_its_digest():
    def spec(value: str, *secrets: str) -> Spec:
        return a_spec(execute=a_step(env={"A": "1", "T": value}, secrets=secrets))

    hashed = hashlib.sha256(b"hush").hexdigest()
    assert spec_digest(spec("hush", "T")) != spec_digest(spec("rush", "T"))
    assert spec_digest(spec("hush", "T")) != spec_digest(spec("hush"))
    plain = {"command": ["/bin/echo", "hello"], "env": {"A": "1", "T": hashed}, "secrets": ["T"]}
    told = _plain(spec("hush", "T"))
    assert isinstance(told, dict)
    assert told["execute"].items() >= plain.items()


RESULT = a_result(kept={"a": content(b"b")})
STEP = a_step_result()


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": Verdict.RUNTIME_ERROR},
        {"kept": {}},
        {"kept": {"b": content(b"b")}},
        {"kept": {"a": content(b"c")}},
        {"execute": None},
        {"execute": replace(STEP, exit_code=1)},
        {"execute": replace(STEP, exit_code=None, signal=9)},
        {"execute": replace(STEP, stdout=content(b"x"))},
    ],
)
def test_whatever_comparators_see_is_in_the_digest_of_a_result(changes):
    assert result_digest(replace(RESULT, **changes)) != result_digest(RESULT)


@pytest.mark.parametrize(
    "changes",
    [
        {"compile": a_step_result(b"warning")},
        {"execute": replace(STEP, wall_time=9.0, cpu_time=8.0, peak_memory=7, processes=6)},
        {"execute": replace(STEP, stderr=content(b"at 12:30"))},
        {"kept_dropped": ("too-large",)},
    ],
)
def test_what_they_do_not_see_is_not(changes):
    assert result_digest(replace(RESULT, **changes)) == result_digest(RESULT)


def test_digests_are_the_same_for_ever():
    """Whoever kept a certificate compares digests with those of a later version."""
    assert spec_digest(a_spec()) == SPEC_DIGEST
    assert result_digest(a_result()) == RESULT_DIGEST


SPEC_DIGEST = "2eacd54d5af8e99496fcd0885f207457210667c909cb9a66805c5e4814faed7b"
RESULT_DIGEST = "0cd1ac4b47503278dbb03eec166334eea17cffde75d472f9b7a5ea350b36a066"


# -- keys and files ----------------------------------------------------------------------


def test_a_file_reads_back_as_it_was_written():
    statement = stated(judged("S=a S=a", name='"é\u2028\x7f\\'))
    data = written(statement, KEY, b"s" * 64)
    assert data.endswith(b"}}\n")
    assert data.count(b"\n") == 1
    found = parse(data)
    assert (found.key, found.signature, found.statement) == (KEY, b"s" * 64, statement)
    assert data[data.index(b'"statement":') + 12 : -2] == canonical(statement)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"statement":{}}', b"[" * 100_000, b"-----BEGIN"],
    ids=lambda data: data[:12],
)
def test_what_is_no_certificate_is_told_apart(data):
    with pytest.raises(Unreadable, match="no certificate"):
        parse(data)


def test_one_of_another_kind_is_named():
    with pytest.raises(Unreadable, match=r"accord\.certificate/2"):
        parse(b'{"statement":{"kind":"accord.certificate/2","more":1}}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        to_pem(KEY)[:-40],
        to_pem(KEY[:31]),
        to_pem(KEY + b"x"),
        to_pem(KEY).replace("MCow", "MCox"),
        to_pem(KEY).replace("PUBLIC", "PRIVATE"),
        to_pem(KEY).replace("A", "!"),
    ],
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(Invalid, match="accord key"):
        from_pem(text)


def test_the_task_of_these_tests_is_valid():
    assert spelled_all(judged("S=x S=a S=a")) == "SI SV SV"
