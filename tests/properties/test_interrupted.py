"""Stop after the k-th write, whichever it is, and the end is the same.

A story is told once without interruption, and once for each of its writes with the process dying
just before or just after it: what was decided is then not stored, or it is and nobody was told.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accord.core.ids import TaskId
from accord.core.lifecycle import CancelRequested
from accord.core.status import Status
from accord.core.view import status_of
from tests.builders import a_spec
from tests.properties.cluster import AFTER, BEFORE, Cluster

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


def attempt(cluster: Cluster, host: int, id_: TaskId, how: str) -> None:
    """A replica runs its course on a host; each step is repeated until it is heard of."""
    chosen = cluster.hosts[host]
    while not chosen.runs:
        cluster.claim(chosen, id_)
        cluster.poll(chosen)  # what was written but not told is sent again
    for key in list(chosen.runs):
        cluster.end(chosen, key, how)
    while chosen.spool:
        cluster.deliver(chosen, chosen.spool[0])


def cancelled(cluster: Cluster) -> None:
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
    cancelled: Status.CANCELLED,
    two_that_agree: Status.SUCCESS,
}


def told(story: Story, crash_at: int, crash: str) -> Cluster:
    cluster = Cluster(hosts=3, crash_at=crash_at, crash=crash)
    story(cluster)
    cluster.heal()
    return cluster


@pytest.mark.parametrize("crash", [BEFORE, AFTER])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_an_interrupted_story_ends_as_the_uninterrupted_one(story: Story, crash: str) -> None:
    writes = told(story, -1, "").writes
    assert writes >= 2
    for k in range(1, writes + 1):
        cluster = told(story, k, crash)
        ends = [status_of(task) for task in cluster.store.values()]
        assert ends == [STORIES[story]], f"interrupted {crash} {k}"
