"""Reliability of executors: quota, quarantine, trust, lessons and credit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.core import lifecycle, reliability
from accord.core.documents import decode, encode
from accord.core.ids import ExecutorName, SessionId
from accord.core.policy import Policy
from accord.core.reliability import Average, Kind, Reliability, TrustPolicy
from accord.core.replica import ErrorClass, Outcome, Validity
from tests.builders import (
    NOW,
    a_failure,
    a_new_task,
    a_replica,
    a_result,
    a_spec,
    a_step_result,
    a_task,
    a_task_id,
    over,
    sent,
)

POLICY = TrustPolicy(daily_quota=500)


def a_record(**changes):
    return Reliability(**{"executor": ExecutorName("e1"), "task_class": "any", **changes})


def valid(record, *, replicated=True, turnaround=10.0):
    return reliability.after_valid(record, turnaround=turnaround, replicated=replicated)


# -- documents and classes


def test_a_record_is_a_document():
    record = valid(a_record(failures=2))
    assert decode(encode(record), Reliability) == record


@pytest.mark.parametrize(
    ("labels", "language", "class_"),
    [
        ({"app": "seti"}, "c", "seti"),
        ({}, "c", "c"),
        ({"other": "x"}, None, "any"),
        ({"app": "python"}, "c", "app:python"),
        ({"app": "any"}, "c", "app:any"),
    ],
)
def test_the_class_is_the_app_else_the_language_else_any(labels, language, class_):
    assert reliability.task_class(a_task(labels=labels, spec=a_spec(language=language))) == class_


# -- averages


def test_few_samples_give_the_plain_mean_and_variance():
    average = Average()
    for x in (1.0, 2.0, 3.0, 6.0):
        average = reliability.averaged(average, x)
    assert (average.count, average.mean, average.variance) == (4, 3.0, 3.5)


def test_many_samples_are_followed_slowly():
    settled = Average(count=19, mean=10.0)
    assert reliability.averaged(settled, 20.0).mean == pytest.approx(10.1)
    early = Average(count=18, mean=10.0)
    assert reliability.averaged(early, 29.0).mean == pytest.approx(11.0)


def test_the_variance_of_many_samples_follows_slowly():
    settled = Average(count=50, mean=10.0, variance=4.0)
    assert reliability.averaged(settled, 20.0).variance == pytest.approx(4.0 + 0.01 * 96)


def test_an_outlier_counts_as_ten_means_and_a_negative_sample_not_at_all():
    assert reliability.averaged(Average(count=1, mean=1.0), 1e6).mean == 5.5
    assert reliability.averaged(Average(count=1, mean=1.0), -1.0) == Average(count=1, mean=1.0)


# -- quota


def test_a_quota_of_one_is_one_in_all_and_more_count_by_slots():
    """Vector S12."""
    assert reliability.limit(a_record(quota=1), 4, POLICY) == 1
    assert reliability.limit(a_record(quota=2), 4, POLICY) == 8
    assert reliability.limit(a_record(), 4, POLICY) == 2000


def test_errors_take_one_from_the_quota_and_a_success_doubles_it():
    record = a_record()
    for _ in range(3):
        record = reliability.after_error(record, POLICY, NOW)
    assert record.quota == 497
    assert reliability.after_success(a_record(quota=100), POLICY).quota == 200
    assert reliability.after_success(a_record(quota=497), POLICY).quota == 500


def test_errors_leave_a_quota_of_one():
    assert reliability.after_error(a_record(quota=1), POLICY, NOW).quota == 1


def test_a_grown_quota_falls_back_below_the_standard_with_an_error():
    assert reliability.after_error(a_record(quota=900), POLICY, NOW).quota == 499


def test_successes_raise_the_quota_without_bound_and_what_is_valid_does_not():
    assert reliability.after_success(a_record(quota=500), POLICY).quota == 501
    assert reliability.after_success(a_record(), POLICY).quota == 501
    assert reliability.after_success(a_record(quota=800), POLICY).quota == 801
    assert valid(a_record(quota=800)).quota == 800


def test_one_error_after_thousands_of_successes_does_not_end_the_day():
    record = a_record(
        quota=90_000, sent_today=89_500, day=reliability.after_sent(a_record(), NOW).day
    )
    after = reliability.after_error(record, POLICY, NOW)
    assert reliability.room(after, POLICY, NOW, slots=4, running=0) == 4
    again = reliability.after_error(reliability.after_sent(after, NOW), POLICY, NOW)
    assert (again.quota, again.sent_today) == (498, 1)


def test_an_invalid_result_lowers_only_a_quota_above_the_standard():
    assert reliability.after_invalid(a_record(quota=501), POLICY, NOW).quota == 500
    assert reliability.after_invalid(a_record(quota=500), POLICY, NOW).quota == 500


def test_what_was_begun_is_counted_by_days():
    record = reliability.after_sent(reliability.after_sent(a_record(), NOW), NOW)
    assert reliability.begun_today(record, NOW) == 2
    assert reliability.begun_today(record, NOW + reliability.DAY) == 0
    assert reliability.after_sent(record, NOW + reliability.DAY).sent_today == 1


def test_days_begin_at_different_hours():
    names = [ExecutorName(f"e{n}") for n in range(50)]
    days = {
        reliability.after_sent(a_record(executor=name), float(hour) * 3600).day
        for name in names
        for hour in (0, 23)
    }
    changed = [
        reliability.after_sent(a_record(executor=name), 3600.0).day
        != reliability.after_sent(a_record(executor=name), 13 * 3600.0).day
        for name in names
    ]
    assert days == {0, 1}
    assert 10 < sum(changed) < 40


def test_no_room_when_the_days_quota_is_used_up():
    record = reliability.after_sent(a_record(quota=1), NOW)
    assert reliability.room(record, POLICY, NOW, slots=4, running=0) == 0
    assert reliability.room(a_record(quota=1), POLICY, NOW, slots=4, running=0) == 1
    assert reliability.room(a_record(), POLICY, NOW, slots=4, running=1) == 3


# -- consecutive valid


def test_consecutive_valid_counts_only_what_others_could_contradict():
    """Vector S5, second half."""
    assert valid(a_record(consecutive_valid=100)).consecutive_valid == 101
    assert valid(a_record(consecutive_valid=100), replicated=False).consecutive_valid == 100


@pytest.mark.parametrize("fault", ["invalid", "error", "timeout"])
def test_any_fault_resets_the_run_of_valid_results(fault):
    record = a_record(consecutive_valid=50)
    after = {
        "invalid": lambda: reliability.after_invalid(record, POLICY, NOW),
        "error": lambda: reliability.after_error(record, POLICY, NOW),
        "timeout": lambda: reliability.after_timeout(record, POLICY, NOW, delay_bound=9.0),
    }[fault]()
    assert after.consecutive_valid == 0
    assert after.error_rate > record.error_rate


def test_a_timeout_counts_as_a_turnaround_of_all_the_time_it_had():
    after = reliability.after_timeout(a_record(), POLICY, NOW, delay_bound=600.0)
    assert after.turnaround.mean == 600.0


def test_silence_does_not_reset_what_was_checked_but_a_wrong_result_does():
    record = a_record(checked=50)
    assert reliability.after_timeout(record, POLICY, NOW, delay_bound=1.0).checked == 50
    caught = reliability.after_invalid(record, POLICY, NOW)
    assert (caught.checked, caught.caught) == (0, 1)


def test_the_error_rate_comes_to_the_share_of_faults():
    record = a_record()
    for number in range(4000):
        record = (
            reliability.after_invalid(record, POLICY, NOW) if number % 4 == 0 else valid(record)
        )
    assert record.error_rate == pytest.approx(0.25, abs=0.03)


# -- quarantine


def failed(times, record=None, now=NOW):
    record = record or a_record()
    for _ in range(times):
        record = reliability.after_error(record, POLICY, now)
    return record


def test_a_run_of_failures_quarantines_and_one_less_does_not():
    assert not reliability.quarantined(failed(4), POLICY, NOW)
    assert reliability.quarantined(failed(5), POLICY, NOW)
    assert reliability.room(failed(5), POLICY, NOW, slots=4, running=0) == 0


def test_after_the_pause_it_gets_one_probe():
    later = NOW + POLICY.quarantine_first
    record = failed(5)
    assert not reliability.quarantined(record, POLICY, later)
    assert reliability.room(record, POLICY, later, slots=4, running=0) == 1
    assert reliability.room(record, POLICY, later, slots=4, running=1) == 0


def test_a_probe_that_succeeds_lets_it_back():
    back = reliability.after_success(failed(9), POLICY)
    assert reliability.room(back, POLICY, NOW, slots=4, running=0) == 4


def test_probes_that_fail_double_the_pause_up_to_the_longest():
    pauses = [failed(n).quarantined_until - NOW for n in (5, 6, 7, 50, 5000)]
    assert pauses == [60.0, 120.0, 240.0, 3600.0, 3600.0]


def test_a_success_between_ends_the_run():
    record = failed(4, reliability.after_success(failed(4), POLICY))
    assert not reliability.probing(record, POLICY)


def lost(record, at):
    return reliability.after_timeout(record, POLICY, at, delay_bound=9.0)


def test_what_is_lost_at_once_is_one_failure():
    record = a_record()
    for slot in range(8):
        record = lost(record, NOW + slot)
    assert (record.failures, record.quota) == (1, 492)
    for time in range(1, 5):
        record = lost(record, NOW + time * reliability.TOGETHER)
    assert reliability.quarantined(record, POLICY, NOW + 4 * reliability.TOGETHER)


def test_a_person_ends_quarantine_and_rest():
    record = reliability.released(reliability.after_invalid(failed(5), POLICY, NOW))
    assert reliability.room(record, POLICY, NOW, slots=4, running=0) == 4


# -- reliable


def test_reliable_is_who_is_right_at_hand_and_quick():
    good = a_record(consecutive_valid=10, turnaround=Average(count=11, mean=3600.0))
    assert reliability.reliable(good, POLICY)
    change = reliability.replace
    assert not reliability.reliable(change(good, consecutive_valid=9), POLICY)
    assert not reliability.reliable(change(good, quota=499), POLICY)
    assert not reliability.reliable(change(good, turnaround=Average(count=11, mean=3601.0)), POLICY)
    assert reliability.reliable(change(good, turnaround=Average(count=10, mean=9e9)), POLICY)


def test_high_priorities_want_reliable_executors():
    assert [reliability.wants_reliable(p, POLICY) for p in (9, 10)] == [False, True]


def test_a_long_estimate_lengthens_the_reduced_bound_to_less_than_twice():
    policy = TrustPolicy(reliable_delay=0.25)
    bounds = [reliability.reduced_delay_bound(100.0, e, policy) for e in (5.0, 20.0, 24.9, 30.0)]
    assert bounds == [25.0, 40.0, 49.8, 25.0]


# -- trust


def test_below_ten_in_a_row_nobody_is_trusted():
    """Vectors S4, S5."""
    assert not reliability.trusted(a_record(consecutive_valid=9), POLICY, 0.999)
    assert reliability.trusted(a_record(consecutive_valid=100), POLICY, 0.5)
    assert not reliability.trusted(a_record(consecutive_valid=10), POLICY, 0.1)
    assert reliability.trusted(a_record(consecutive_valid=10), POLICY, 0.1001)


def test_probation_doubles_each_time_one_is_caught():
    lengths = [reliability.probation(a_record(caught=n), POLICY) for n in (0, 1, 2, 6, 7, 99)]
    assert lengths == [50, 100, 200, 3200, 3200, 3200]


def test_a_proven_executor_is_still_checked_at_the_floor():
    record = a_record(checked=10**6)
    assert not reliability.spared(record, POLICY, POLICY.check_floor - 0.001)
    assert reliability.spared(record, POLICY, POLICY.check_floor)
    assert not reliability.spared(a_record(checked=49), POLICY, 0.999)


def test_a_short_probation_is_checked_more_often_than_the_floor():
    policy = TrustPolicy(probation=2)
    assert not reliability.spared(a_record(checked=2), policy, 0.4)
    assert reliability.spared(a_record(checked=2), policy, 0.5)


def test_who_was_caught_rests_longer_each_time():
    once = reliability.after_invalid(a_record(), POLICY, NOW)
    twice = reliability.after_invalid(once, POLICY, NOW)
    assert (once.rests_until, twice.rests_until) == (NOW + 600, NOW + 1200)
    assert reliability.room(once, POLICY, NOW + 599, slots=1, running=0) == 0
    assert reliability.room(once, POLICY, NOW + 600, slots=1, running=0) == 1


def test_who_is_acquitted_is_trusted_as_before():
    record = a_record(checked=80)
    back = reliability.acquitted(reliability.after_invalid(record, POLICY, NOW), 80)
    assert reliability.proven(back, POLICY)
    assert (back.caught, back.rests_until) == (0, 0.0)


# -- credibility


def test_credibility_is_bounded_by_the_share_of_the_faulty_and_grows_with_checks():
    values = [reliability.credibility(k, 0.1) for k in (0, 1, 10, 100, 1000)]
    assert values == sorted(values)
    assert values[0] == 0.9
    assert values[3] == pytest.approx(1 - 0.1 / 0.9 / 100 / math.e)


@given(st.lists(st.lists(st.floats(0.5, 0.999), min_size=1, max_size=3), min_size=1, max_size=4))
def test_group_credibilities_are_probabilities_that_exclude_each_other(groups):
    found = reliability.group_credibility(groups)
    assert all(0 <= p <= 1 for p in found)
    assert sum(found) <= 1 + 1e-9


def test_group_credibility_by_its_definition():
    """Of all combinations of right and wrong members that are possible, the group's share."""
    groups = [[0.9, 0.8], [0.7]]
    both = 0.9 * 0.8 * 0.3
    other = 0.1 * 0.2 * 0.7
    neither = 0.1 * 0.2 * 0.3
    total = both + other + neither
    assert reliability.group_credibility(groups) == pytest.approx([both / total, other / total])


# -- lessons


def kinds(before, after):
    return [(lesson.number, lesson.kind) for lesson in reliability.lessons(before, after)]


def test_a_report_teaches_success_then_validity():
    before = a_task(replicas=(sent(0), sent(1, executor=ExecutorName("e2"))), min_quorum=2)
    reported = a_task(replicas=(over(0), before.replicas[1]), min_quorum=2)
    judged = a_task(replicas=(over(0, validity=Validity.VALID), before.replicas[1]), min_quorum=2)
    assert kinds(before, reported) == [(0, Kind.SUCCESS)]
    assert kinds(reported, judged) == [(0, Kind.VALID)]
    assert kinds(before, judged) == [(0, Kind.SUCCESS), (0, Kind.VALID)]
    assert kinds(judged, judged) == []


@pytest.mark.parametrize(
    ("replica", "learnt"),
    [
        (over(0, Outcome.CLIENT_ERROR, validity=Validity.INVALID), [Kind.ERROR]),
        (over(0, Outcome.NO_REPLY), [Kind.TIMEOUT]),
        (over(0, Outcome.VALIDATE_ERROR, validity=Validity.INVALID), []),
        (over(0, validity=Validity.INVALID), [Kind.SUCCESS, Kind.INVALID]),
        (over(0, validity=Validity.INCONCLUSIVE), [Kind.SUCCESS]),
        (over(0, validity=Validity.TOO_LATE), [Kind.SUCCESS]),
        (over(0, Outcome.ABORTED), []),
        (over(0, Outcome.DIDNT_NEED), []),
        (over(0, Outcome.DETACHED), []),
        (over(0, Outcome.CLIENT_ERROR, error_class=ErrorClass.BAD_INPUT), []),
    ],
)
def test_what_an_end_teaches(replica, learnt):
    found = reliability.lessons(a_task(replicas=(sent(0),)), a_task(replicas=(replica,)))
    assert [lesson.kind for lesson in found] == learnt


UNREADABLE = over(0, Outcome.VALIDATE_ERROR, validity=Validity.INVALID)
RIGHT = over(1, executor=ExecutorName("e2"), validity=Validity.VALID)


def test_what_could_not_be_read_was_wrong_once_another_result_is_right():
    waiting = a_task(replicas=(UNREADABLE, sent(1)), min_quorum=2)
    done = a_task(replicas=(UNREADABLE, RIGHT), canonical=1, min_quorum=2)
    assert kinds(a_task(replicas=(over(0), sent(1)), min_quorum=2), waiting) == []
    assert (0, Kind.INVALID) in kinds(waiting, done)
    assert kinds(done, done) == []
    late = a_task(replicas=(over(0), RIGHT), canonical=1, min_quorum=2)
    assert kinds(late, done) == [(0, Kind.INVALID)]


def test_where_an_executor_may_confirm_itself_validity_says_nothing_of_trust():
    policy = {"distinct": "none", "min_quorum": 2, "target_replicas": 2}
    before = a_task(replicas=(over(0), sent(1)), **policy)
    wrong = a_task(replicas=(over(0, validity=Validity.INVALID), RIGHT), canonical=1, **policy)
    right = a_task(replicas=(over(0, validity=Validity.VALID), RIGHT), canonical=1, **policy)
    unreadable = a_task(replicas=(UNREADABLE, RIGHT), canonical=1, **policy)
    assert [number for number, kind in kinds(before, wrong) if kind is Kind.INVALID] == []
    assert kinds(a_task(replicas=(over(0), RIGHT), canonical=1, **policy), unreadable) == []
    record = a_record()
    for lesson in reliability.lessons(before, right):
        record = reliability.learnt(record, lesson, POLICY, NOW)
    assert (record.consecutive_valid, record.checked, record.caught) == (0, 0, 0)


@pytest.mark.parametrize(("checked", "rests"), [(49, False), (50, True)])
def test_only_who_was_proven_rests(checked, rests):
    lesson = reliability.Lesson(
        executor=ExecutorName("e1"), kind=Kind.INVALID, number=0, adaptive=True
    )
    after = reliability.learnt(a_record(checked=checked), lesson, POLICY, NOW)
    assert (after.caught, after.rests_until > NOW) == (1, rests)


def test_a_late_result_of_a_lost_replica_teaches_its_success():
    before = a_task(replicas=(over(0, Outcome.NO_REPLY),))
    assert kinds(before, a_task(replicas=(over(0),))) == [(0, Kind.SUCCESS)]


def test_a_time_out_teaches_the_time_that_it_had():
    (lesson,) = reliability.lessons(
        a_task(replicas=(sent(0),)), a_task(replicas=(over(0, Outcome.NO_REPLY),))
    )
    assert lesson.turnaround == 100.0


def test_what_says_nothing_new_teaches_nothing():
    before = a_task(replicas=(over(0, validity=Validity.VALID),))
    assert kinds(before, a_task(replicas=(over(0, validity=Validity.VALID, credit=3.0),))) == []


def test_an_unsent_replica_teaches_nothing():
    never = a_replica(0, state="over", outcome=Outcome.COULDNT_SEND)
    assert kinds(a_task(), a_task(replicas=(never,))) == []


def test_the_core_s_own_changes_teach_each_executor_once():
    """Two agree and the third contradicts them: as it happens in a task's whole life."""
    new = a_new_task(spec=a_spec(min_quorum=2, target_replicas=3))
    task = lifecycle.submitted(new, a_task_id(), NOW, Policy())
    session = SessionId("s")
    learnt: list[Any] = []
    names = [ExecutorName(n) for n in ("liar", "b", "c")]
    events: list[Any] = [
        lifecycle.Claimed(number=n, executor=name, session=session) for n, name in enumerate(names)
    ]
    for number, (name, out) in enumerate(zip(names, (b"no", b"yes", b"yes"), strict=True)):
        events.append(
            lifecycle.Reported(number=number, executor=name, session=session, end=a_result(out))
        )
    for at, event in enumerate(events):
        after = lifecycle.decide(task, event, NOW + at, Policy()).task
        learnt += reliability.lessons(task, after)
        task = after
    found = sorted((lesson.executor, lesson.kind.value) for lesson in learnt)
    assert found == [
        ("b", "success"),
        ("b", "valid"),
        ("c", "success"),
        ("c", "valid"),
        ("liar", "invalid"),
        ("liar", "success"),
    ]
    assert all(x.replicated for x in learnt if x.kind is not Kind.SUCCESS)


def test_a_failure_that_was_reported_is_learnt_as_an_error():
    new = a_new_task()
    task = lifecycle.submitted(new, a_task_id(), NOW, Policy())
    who: dict[str, Any] = {"number": 0, "executor": ExecutorName("e1"), "session": SessionId("s1")}
    task = lifecycle.decide(task, lifecycle.Claimed(**who), NOW, Policy()).task
    event = lifecycle.Reported(**who, end=a_failure())
    after = lifecycle.decide(task, event, NOW + 5, Policy()).task
    (lesson,) = reliability.lessons(task, after)
    record = reliability.learnt(a_record(), lesson, POLICY, NOW + 5)
    assert (lesson.kind, record.failures, record.quota) == (Kind.ERROR, 1, 499)


def test_a_single_result_is_valid_but_proves_nothing():
    before = a_task(replicas=(sent(0),))
    after = a_task(replicas=(over(0, validity=Validity.VALID, received_time=NOW + 7),))
    record = a_record()
    for lesson in reliability.lessons(before, after):
        record = reliability.learnt(record, lesson, POLICY, NOW)
    assert (record.consecutive_valid, record.checked, record.turnaround.mean) == (0, 0, 7.0)


# -- credit


def with_cpu(number, cpu, **changes):
    result = a_result(execute=a_step_result(cpu_time=cpu))
    name = ExecutorName(f"e{number}")
    return over(number, executor=name, validity=Validity.VALID, result=result, **changes)


def test_the_valid_share_the_median_of_their_claims():
    task = a_task(replicas=(with_cpu(0, 1.0), with_cpu(1, 2.0), with_cpu(2, 900.0)))
    paid = reliability.granted(task, {})
    assert [r.credit for r in paid.replicas] == [2.0, 2.0, 2.0]


def test_a_claim_is_cpu_seconds_times_the_benchmark():
    fast = {ExecutorName("e0"): 2.0, ExecutorName("e1"): 1.0}
    paid = reliability.granted(a_task(replicas=(with_cpu(0, 5.0), with_cpu(1, 10.0))), fast)
    assert [r.credit for r in paid.replicas] == [10.0, 10.0]


def test_compiling_counts():
    step = a_step_result(cpu_time=3.0)
    replica = over(0, validity=Validity.VALID, result=a_result(compile=step, execute=step))
    assert reliability.claimed_credit(replica, 2.0) == 12.0
    assert replica.result is not None
    cached = reliability.replace(replica.result, compile=reliability.replace(step, cached=True))
    spared = reliability.replace(replica, result=cached)
    assert reliability.claimed_credit(spared, 2.0) == 6.0, "what was not run earns nothing"


def test_only_the_valid_are_paid_and_nothing_twice():
    wrong = over(1, validity=Validity.INVALID)
    task = a_task(replicas=(with_cpu(0, 4.0), wrong))
    paid = reliability.granted(task, {})
    assert [r.credit for r in paid.replicas] == [4.0, 0.0]
    assert reliability.granted(paid, {ExecutorName("e0"): 99.0}) is paid


def test_who_is_valid_later_gets_what_the_others_got():
    """V1."""
    task = a_task(replicas=(with_cpu(0, 4.0, credit=4.0), with_cpu(1, 50.0)))
    assert [r.credit for r in reliability.granted(task, {}).replicas] == [4.0, 4.0]


def test_nothing_valid_nothing_granted():
    task = a_task()
    assert reliability.granted(task, {}) is task
