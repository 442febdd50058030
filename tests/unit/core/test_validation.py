"""The validator, rule by rule, and what it asks of judging runs."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import judging, validation
from accord.core.ids import ExecutorName, SessionId
from accord.core.judging import Judgement, Judging, JudgingState
from accord.core.policy import Policy
from accord.core.replica import Replica, Stage, Verdict, content
from accord.core.task import NEVER, ErrorMask, Files, Json, Numbers, Program, Task
from accord.core.transition import replace_replicas
from accord.core.validation import Reading
from tests.builders import (
    NOW,
    a_coded_replica,
    a_result,
    a_step,
    a_task_of,
    over,
    spelled_all,
)

POLICY = Policy()
A_PROGRAM = Program(execute=a_step())


def wanted(codes: str, **changes: Any) -> Task:
    return a_task_of(codes, need_validate=True, **changes)


def validated(task: Task, comparison: Any = None) -> Task:
    return validation.validate(task, NOW, POLICY, comparison)


def change(task: Task, number: int, **changes: Any) -> Task:
    replica = task.replica(number)
    assert replica is not None
    return replace_replicas(task, [validation.replace(replica, **changes)])


class Table:
    """A comparison by hand: what cannot be read, what cannot be read now, and what agrees."""

    def __init__(self, bad: str = "", later: str = "", same: str = "") -> None:
        self.bad, self.later, self.same = bad, later, same.split()

    def read(self, replica: Replica) -> Reading:
        text = _text(replica)
        if text in self.bad:
            return Reading.UNREADABLE
        return Reading.LATER if text in self.later else Reading.GOOD

    def agree(self, one: Replica, other: Replica) -> bool | None:
        pair = _text(one) + _text(other)
        return pair[0] == pair[1] or pair in self.same or pair[::-1] in self.same


def _text(replica: Replica) -> str:
    assert replica.result is not None
    assert replica.result.execute is not None
    return (replica.result.execute.stdout.inline or b"").decode()


def test_nothing_is_done_where_nothing_is_wanted() -> None:
    task = a_task_of("S=a S=a")
    assert validated(task) is task


# -- V1: a canonical result is known ---------------------------------------------------------


@pytest.mark.parametrize(("text", "code"), [("a", "SV"), ("b", "SI")])
def test_v1_a_straggler_is_held_against_the_canonical_result(text: str, code: str) -> None:
    task = wanted(f"SV=a SV=a S={text}", canonical=0, transition_time=NEVER)
    after = validated(task)
    assert spelled_all(after) == f"SV SV {code}"
    assert (after.need_validate, after.transition_time) == (False, NOW)


def test_v1_one_that_agrees_gets_the_credit_that_the_canonical_one_got() -> None:
    task = change(wanted("SV=a S=a S=b", canonical=0), 0, credit=7.0)
    assert [r.credit for r in validated(task).replicas] == [7.0, 7.0, 0.0]


def test_v1_what_was_inconclusive_is_judged_too() -> None:
    assert spelled_all(validated(wanted("SV=a SC=a SC=b", canonical=0))) == "SV SV SI"


def test_v1_what_cannot_be_read_is_a_validate_error() -> None:
    assert spelled_all(validated(wanted("SV=a SV=a S=x", canonical=0), Table(bad="x"))) == (
        "SV SV VE"
    )


def test_v1_what_cannot_be_read_now_is_tried_again_and_those_before_it_are_judged() -> None:
    task = wanted("SV=a S=a S=x S=b", canonical=0, transition_time=NEVER)
    after = validated(task, Table(later="x"))
    assert spelled_all(after) == "SV SV S S"
    assert after.transition_time == NOW + 6 * 3600
    assert not after.need_validate


def test_v1_where_nothing_is_late_nothing_but_the_wish_changes() -> None:
    task = wanted("SV=a SV=a", canonical=0, transition_time=NEVER)
    assert validated(task) == validation.replace(task, need_validate=False)


def test_v1_where_the_canonical_replica_is_missing_the_wish_stays() -> None:
    task = wanted("SV=a S=a", canonical=9)
    assert validated(task) is task


@pytest.mark.parametrize("state", [Stage.READY, Stage.DONE])
def test_q7_a_straggler_is_not_to_blame_where_the_canonical_files_are_going(state: Stage) -> None:
    task = change(wanted("SV=a SV=a S=b", canonical=0), 0, file_delete_state=state)
    assert spelled_all(validated(task)) == "SV SV SL"


# -- V2-V5: none is known yet ------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["", "S", "S SI", "S VE", "S P U"])
def test_v2_fewer_than_the_quorum_clear_the_wish(codes: str) -> None:
    task = wanted(codes)
    assert validated(task) == validation.replace(task, need_validate=False)


def test_v2_results_that_were_not_checked_or_inconclusive_count() -> None:
    assert spelled_all(validated(wanted("SC=a SN=a SL=b", min_quorum=3))) == "SV SV SI"


def test_v3_what_cannot_be_read_is_a_validate_error_and_invalid() -> None:
    after = validated(wanted("S=a S=x"), Table(bad="x"))
    assert spelled_all(after) == "SC VE"
    assert after.replicas[1].validity == "invalid"
    assert after.transition_time == NOW
    assert after.target_replicas == 2  # one good result of two: nothing disagrees yet


def test_v3_a_result_that_is_not_there_cannot_be_read() -> None:
    assert spelled_all(validated(wanted("S=a S=a S!"))) == "SV SV VE"


def test_v3_json_that_is_none_is_a_validate_error_where_it_has_to_be_read() -> None:
    task = wanted("S=[1] S=[1 S=[1.0]", comparator=Json())
    assert spelled_all(validated(task)) == "SV VE SV"


def test_v3_what_all_replicas_fail_to_write_alike_is_their_result() -> None:
    assert spelled_all(validated(wanted("S=[1 S=[1", comparator=Json()))) == "SV SV"
    missing = Files(paths=("out",))
    assert spelled_all(validated(wanted("S=a S=a", comparator=missing))) == "SV SV"


def test_v3_a_file_that_none_kept_makes_no_results_one() -> None:
    missing = Files(paths=("out",))
    assert spelled_all(validated(wanted("S=a S=b", comparator=missing))) == "VE VE"


def test_v3_what_cannot_be_read_is_an_error_though_another_is_like_it() -> None:
    task = wanted("S=[1 S=[1 S=[1]", comparator=Json())
    assert spelled_all(validated(task)) == "VE VE SC"


def test_v3_a_file_that_one_did_not_keep_is_a_validate_error() -> None:
    kept = over(1, executor="e1", result=a_result(kept={"out": content(b"1")}))
    task = wanted("S", comparator=Files(paths=("out",)))
    task = validation.replace(task, replicas=(*task.replicas, kept))
    assert spelled_all(validated(task)) == "VE SC"


@pytest.mark.parametrize(
    ("quorum", "codes", "expected", "canonical"),
    [
        (2, "S=a S=b S=b", "SI SV SV", 1),
        (2, "S=a S=b S=a", "SV SI SV", 0),
        (3, "S=a S=b S=b", "SI SV SV", 1),
        (3, "S=a S=b S=c", "SC SC SC", None),
        (5, "S=a S=a S=b S=b S=b", "SI SI SV SV SV", 2),
        (1, "S=a S=b", "SV SI", 0),
    ],
)
def test_v4_the_majority_of_the_quorum_decides_and_the_first_of_it_is_canonical(
    quorum: int, codes: str, expected: str, canonical: int | None
) -> None:
    after = validated(wanted(codes, min_quorum=quorum))
    assert spelled_all(after) == expected
    assert after.canonical == canonical


def test_v4_results_are_only_held_against_the_canonical_one() -> None:
    """With a tolerance agreement is not transitive: 1 and 3 both agree with 2 only."""
    near = Numbers(abs=1.0)
    task = wanted("S=2 S=1 S=3", comparator=near, min_quorum=3)
    assert spelled_all(validated(task)) == "SV SV SV"
    task = wanted("S=1 S=2 S=3", comparator=near, min_quorum=3)
    assert spelled_all(validated(task)) == "SV SV SI"


def test_v4_two_that_fail_alike_agree() -> None:
    failed = a_result(verdict=Verdict.RUNTIME_ERROR)
    replicas = tuple(a_coded_replica(n, "S", result=failed) for n in (0, 1))
    assert validated(wanted("", replicas=replicas)).canonical == 0


def test_v5_what_was_not_sent_is_not_needed_and_assimilation_is_due() -> None:
    after = validated(wanted("S=a S=a U I P"))
    assert spelled_all(after) == "SV SV D D P"
    assert (after.assimilate_state, after.transition_time) == (Stage.READY, NEVER)


class Counting(Table):
    """Counts what it is asked."""

    asked = 0

    def agree(self, one: Replica, other: Replica) -> bool | None:
        self.asked += 1
        return super().agree(one, other)


def test_v4_a_candidate_is_given_up_once_too_many_differ() -> None:
    count = Counting()
    task = wanted("S=a S=b S=c S=d S=e S=e S=e S=e", min_quorum=6, max_success_replicas=9)
    assert validated(task, count).canonical == 4
    assert count.asked == 4 * 5 + 7 + 7  # a to d: five that differ; e: all; then who is valid


def numbered(count: int, size: int = 1, **changes: Any) -> Task:
    """So many results that are one within the tolerance, and no two of the same bytes."""
    texts = [b"1 " * size + b"%d" % n for n in range(count)]
    task = wanted(" ".join("S" for _ in texts), comparator=Numbers(abs=100.0), **changes)
    return replace_replicas(
        task,
        [
            validation.replace(r, result=a_result(text))
            for r, text in zip(task.replicas, texts, strict=True)
        ],
    )


@pytest.mark.parametrize(
    ("count", "size", "judged"), [(16, 1, False), (17, 1, True), (9, 3000, False), (12, 3000, True)]
)
def test_very_many_that_differ_are_for_a_judging_run(count: int, size: int, judged: bool) -> None:
    task = validated(numbered(count, size, min_quorum=count, target_replicas=count))
    assert (task.judging is not None) is judged
    assert (task.canonical == 0) is not judged


def test_they_are_held_against_a_canonical_one_all_the_same() -> None:
    task = numbered(17, canonical=0)
    assert spelled_all(validated(task)).split() == ["SV"] * 17


# -- V6: no agreement --------------------------------------------------------------------------


def test_v6_too_many_that_disagree_are_an_error() -> None:
    after = validated(wanted("S=a S=b S=c", max_success_replicas=2))
    assert after.error_mask == ErrorMask.TOO_MANY_SUCCESSES
    assert after.transition_time == NOW


def test_v6_the_target_only_grows_where_it_is_reached() -> None:
    after = validated(wanted("S=a S=b P", target_replicas=3, transition_time=NOW + 100))
    assert after.target_replicas == 3
    assert after.transition_time == NOW + 100


def test_v6_q3_what_could_not_be_read_for_now_stays_fresh() -> None:
    task = wanted("S=a S=x", target_replicas=3, transition_time=NEVER)
    after = validated(task, Table(later="x"))
    assert spelled_all(after) == "SC S"
    assert after.transition_time == NOW + 6 * 3600


def test_v7_the_wish_is_cleared_though_nothing_came_of_it() -> None:
    assert not validated(wanted("S=a S=b")).need_validate


# -- judging runs ------------------------------------------------------------------------------


def program(codes: str, **changes: Any) -> Task:
    return wanted(codes, comparator=A_PROGRAM, **changes)


def answered(task: Task, *groups: tuple[int, ...], unreadable: tuple[int, ...] = ()) -> Task:
    assert task.judging is not None
    answer = Judgement(groups=groups, unreadable=unreadable)
    return validation.replace(task, judging=judging.answered(task.judging, answer))


def exhausted(task: Task) -> Task:
    run = judging.abandoned(task.judging or Judging(), "lost", POLICY)
    return validation.replace(task, judging=run)


def test_what_core_cannot_tell_is_asked_of_a_judging_run_and_nothing_changes_until_then() -> None:
    task = program("S=a S=b")
    after = validated(task)
    assert after.need_validate
    assert after.judging == Judging(candidates=(0, 1), since=NOW)
    assert spelled_all(after) == "S S"
    assert after.target_replicas == 2
    assert validated(after) is after


def test_q3_results_stay_init_while_a_judging_run_is_out() -> None:
    task = validated(program("S=a S=b"))
    assert task.judging is not None
    out = judging.sent(task.judging, ExecutorName("e9"), SessionId("s1"), NOW, POLICY)
    task = validation.replace(task, judging=out)
    assert validated(task) is task


def test_no_judging_run_is_made_where_the_bytes_tell() -> None:
    after = validated(program("S=a S=a"))
    assert after.judging is None
    assert after.canonical == 0


def test_no_judging_run_is_made_for_one_result_alone() -> None:
    assert validated(program("S=a", min_quorum=1)).canonical == 0


def test_the_answer_of_a_judging_run_decides() -> None:
    task = validated(program("S=a S=b S=c", min_quorum=3))
    assert spelled_all(validated(answered(task, (0,), (1, 2)))) == "SI SV SV"
    assert spelled_all(validated(answered(task, (0, 1, 2)))) == "SV SV SV"
    differ = validated(answered(task, (0,), (1,), (2,)))
    assert spelled_all(differ) == "SC SC SC"
    assert differ.target_replicas == 4


def test_what_a_judging_run_cannot_read_is_a_validate_error() -> None:
    task = validated(program("S=a S=b S=c"))
    after = validated(answered(task, (0, 2), unreadable=(1,)))
    assert spelled_all(after) == "SV VE SV"


def test_what_core_cannot_read_is_an_error_before_the_others_are_judged() -> None:
    after = validated(program("S=a S! S=b"))
    assert spelled_all(after) == "S VE S"
    assert after.judging is not None
    assert after.judging.candidates == (0, 2)


def test_the_runs_of_a_task_are_bounded_whatever_was_answered_between() -> None:
    task = validated(program("S=a S=b"))
    assert task.judging is not None
    once = judging.failed(task.judging, "lost", NOW, POLICY)
    task = answered(validation.replace(task, judging=once), (0,), (1,))
    late = validation.replace(task, replicas=(*task.replicas, a_coded_replica(2, "S=c")))
    after = validated(late)
    assert after.judging is not None
    assert (after.judging.attempts, after.judging.pending) == (1, True)


def test_what_a_judging_run_names_nowhere_is_alone() -> None:
    task = validated(program("S=a S=b"))
    assert spelled_all(validated(answered(task))) == "SC SC"


def test_a_result_that_came_after_the_answer_is_judged_by_another_run() -> None:
    task = answered(validated(program("S=a S=b")), (0,), (1,))
    late = validation.replace(
        task, replicas=(*task.replicas, a_coded_replica(2, "S=c")), target_replicas=3
    )
    after = validated(late)
    assert after.judging is not None
    assert after.judging.candidates == (0, 1, 2)
    assert after.judging.pending


def test_a_run_that_was_not_sent_yet_takes_in_what_came_meanwhile() -> None:
    task = validated(program("S=a S=b"))
    task = validation.replace(task, replicas=(*task.replicas, a_coded_replica(2, "S=c")))
    after = validated(task)
    assert after.judging is not None
    assert after.judging.candidates == (0, 1, 2)


def test_a_straggler_is_judged_beside_the_canonical_result() -> None:
    task = validated(program("SV=a SV=a S=b S=c", canonical=0))
    assert task.judging is not None
    assert task.judging.candidates == (0, 2, 3)
    assert task.need_validate
    assert spelled_all(validated(answered(task, (0, 3), (2,)))) == "SV SV SI SV"


def test_where_no_more_runs_are_made_what_only_they_could_tell_differs() -> None:
    after = validated(exhausted(validated(program("S=a S=b"))))
    assert spelled_all(after) == "SC SC"
    assert after.target_replicas == 3
    assert not after.need_validate
    third = validation.replace(
        after, replicas=(*after.replicas, a_coded_replica(2, "S=b")), need_validate=True
    )
    assert spelled_all(validated(third)) == "SN SV SV"  # equal bytes; nobody can tell of the other


def test_where_no_more_runs_are_made_a_straggler_is_held_against_nobody() -> None:
    after = validated(exhausted(program("SV=a SV=a S=b", canonical=0)))
    assert spelled_all(after) == "SV SV SN"


@pytest.mark.parametrize("state", list(JudgingState))
def test_an_answer_is_not_taken_for_others_than_were_asked_about(state: JudgingState) -> None:
    run = Judging(candidates=(0, 1), state=state, answer=Judgement(groups=((0, 1, 2),)))
    assert judging.same(run, 0, 1) is True
    assert judging.same(run, 0, 2) is None
