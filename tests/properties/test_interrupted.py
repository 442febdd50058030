"""Stop after the k-th write, whichever it is, and the end is the same.

A story is told once without interruption, and once for each of its writes with the process dying
just before or just after it: what was decided is then not stored, or it is and nobody was told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accord.core.ids import TaskId
from accord.core.lifecycle import CancelRequested
from accord.core.replica import Stage
from accord.core.status import Status
from accord.core.task import Program, Spec
from accord.core.view import status_of
from tests.builders import a_spec, a_step
from tests.properties.cluster import AFTER, BEFORE, Cluster, Host

Story = Callable[[Cluster], None]


def one_success(cluster: Cluster) -> None:
    cluster.submit(a_spec())


def a_fault_first(cluster: Cluster) -> None:
    id_ = cluster.submit(a_spec())
    attempt(cluster, 0, id_, "internal_fail")
    cluster.now += 1.5


def an_executor_vanishes(cluster: Cluster) -> None:
    id_ = cluster.submit(a_spec())
    cluster.claim(cluster.hosts[0], id_)
    cluster.vanish(cluster.hosts[0])
    cluster.expire(cluster.hosts[0])


def a_result_comes_late(cluster: Cluster) -> None:
    id_ = cluster.submit(a_spec(delay_bound=10.0))
    cluster.claim(cluster.hosts[0], id_)
    cluster.now += 11
    cluster.sweep()
    for host, key in cluster.runs():
        cluster.end(host, key, "result")
    for host, message in cluster.messages():
        cluster.deliver(host, message)


def bad_input(cluster: Cluster) -> None:
    id_ = cluster.submit(a_spec())
    attempt(cluster, 0, id_, "bad_input")


def two_that_agree(cluster: Cluster) -> None:
    cluster.submit(a_spec(min_quorum=2, target_replicas=2))


def two_that_differ_and_a_third(cluster: Cluster) -> None:
    id_ = cluster.submit(two())
    for host, stdout in enumerate((b"a", b"b", b"a")):
        attempt(cluster, host, id_, "result", stdout)


def none_that_agree(cluster: Cluster) -> None:
    id_ = cluster.submit(two(max_success_replicas=2))
    for host, stdout in enumerate((b"a", b"b", b"c")):
        attempt(cluster, host, id_, "result", stdout)


def a_straggler_after_the_end(cluster: Cluster) -> None:
    """Its result is on its way when the others agree."""
    id_ = cluster.submit(two(target_replicas=3))
    late = cluster.hosts[2]
    claimed(cluster, late, id_)
    for host in (0, 1):
        attempt(cluster, host, id_, "result")
    for key in list(late.runs):
        cluster.end(late, key, "result", b"b")


def judged(cluster: Cluster) -> None:
    """A program says that b and c are the same."""
    id_ = cluster.submit(two(comparator=A_PROGRAM))
    for host, stdout in enumerate((b"b", b"c")):
        attempt(cluster, host, id_, "result", stdout)
    judging(cluster, 2, id_, "answer")


def a_judging_run_that_fails_first(cluster: Cluster) -> None:
    id_ = cluster.submit(two(comparator=A_PROGRAM))
    for host, stdout in enumerate((b"b", b"c")):
        attempt(cluster, host, id_, "result", stdout)
    judging(cluster, 2, id_, "fail")
    cluster.now += 10


def a_judging_run_that_is_lost(cluster: Cluster) -> None:
    id_ = cluster.submit(two(comparator=A_PROGRAM))
    for host, stdout in enumerate((b"b", b"c")):
        attempt(cluster, host, id_, "result", stdout)
    cluster.claim_judging(cluster.hosts[2], id_)
    cluster.vanish(cluster.hosts[2])
    cluster.expire(cluster.hosts[2])


def cancelled_while_it_is_judged(cluster: Cluster) -> None:
    id_ = cluster.submit(two(comparator=A_PROGRAM))
    for host, stdout in enumerate((b"b", b"c")):
        attempt(cluster, host, id_, "result", stdout)
    cluster.claim_judging(cluster.hosts[2], id_)
    for _ in range(3):
        cluster.step(id_, CancelRequested())


def one_that_is_trusted(cluster: Cluster) -> None:
    id_ = cluster.submit(two(adaptive=True))
    attempt(cluster, 0, id_, "result")


def one_that_is_not_trusted(cluster: Cluster) -> None:
    id_ = cluster.submit(two(adaptive=True))
    attempt(cluster, 1, id_, "result")


def of_one_platform(cluster: Cluster) -> None:
    id_ = cluster.submit(two(homogeneous="os"))
    attempt(cluster, 0, id_, "result")


A_PROGRAM = Program(execute=a_step())


def two(**policy: Any) -> Spec:
    return a_spec(**{"min_quorum": 2, "target_replicas": 2, **policy})


def claimed(cluster: Cluster, host: Host, id_: TaskId) -> None:
    """Asked for until it is heard of, or until there is nothing to be had."""
    for _ in range(4):
        cluster.claim(host, id_)
        cluster.poll(host)  # what was written but not told is sent again
        if host.runs:
            return


def attempt(cluster: Cluster, host: int, id_: TaskId, how: str, stdout: bytes = b"a") -> None:
    """A replica runs its course on a host; each step is repeated until it is heard of."""
    chosen = cluster.hosts[host]
    claimed(cluster, chosen, id_)
    for key in list(chosen.runs):
        cluster.end(chosen, key, how, stdout)
    while chosen.spool:
        cluster.deliver(chosen, chosen.spool[0])


def judging(cluster: Cluster, host: int, id_: TaskId, how: str) -> None:
    chosen = cluster.hosts[host]
    for _ in range(4):
        if id_ not in chosen.judgings:
            cluster.claim_judging(chosen, id_)
            cluster.poll(chosen)
    if id_ in chosen.judgings:
        cluster.end_judging(chosen, id_, how)
    while chosen.spool:
        cluster.deliver(chosen, chosen.spool[0])


def cancelled_while_it_runs(cluster: Cluster) -> None:
    id_ = cluster.submit(a_spec())
    cluster.claim(cluster.hosts[0], id_)
    for _ in range(3):  # a user whose request was not answered repeats it
        cluster.step(id_, CancelRequested())


STORIES: dict[Story, Status] = {
    one_success: Status.SUCCESS,
    a_fault_first: Status.SUCCESS,
    an_executor_vanishes: Status.SUCCESS,
    a_result_comes_late: Status.SUCCESS,
    bad_input: Status.FAILED,
    cancelled_while_it_runs: Status.CANCELLED,
    two_that_agree: Status.SUCCESS,
    two_that_differ_and_a_third: Status.SUCCESS,
    none_that_agree: Status.FAILED,
    a_straggler_after_the_end: Status.SUCCESS,
    judged: Status.SUCCESS,
    a_judging_run_that_fails_first: Status.SUCCESS,
    a_judging_run_that_is_lost: Status.SUCCESS,
    cancelled_while_it_is_judged: Status.CANCELLED,
    one_that_is_trusted: Status.SUCCESS,
    one_that_is_not_trusted: Status.SUCCESS,
    of_one_platform: Status.SUCCESS,
}


def told(story: Story, crash_at: int, crash: str) -> Cluster:
    """The story, its end, and a month later."""
    cluster = Cluster(hosts=3, crash_at=crash_at, crash=crash)
    story(cluster)
    cluster.heal()
    for _ in range(3):
        cluster.now += cluster.policy.delete_delay
        cluster.sweep()
    return cluster


def ends(cluster: Cluster) -> list[tuple[Status, set[Stage]]]:
    """How the tasks ended, and what became of their files."""
    return [
        (
            status_of(task),
            {task.file_delete_state, *(r.file_delete_state for r in task.replicas if r.result)},
        )
        for task in cluster.store.values()
    ]


@pytest.mark.parametrize("crash", [BEFORE, AFTER])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_an_interrupted_story_ends_as_the_uninterrupted_one(story: Story, crash: str) -> None:
    writes = told(story, -1, "").writes
    assert writes >= 2
    for k in range(1, writes + 1):
        cluster = told(story, k, crash)
        expected = [(STORIES[story], {Stage.DONE})]
        assert ends(cluster) == expected, f"interrupted {crash} {k}"
