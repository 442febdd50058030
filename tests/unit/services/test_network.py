"""Tasks with network: asked for where that is allowed, run where it is given, never unguarded."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest

from accord.config import SandboxSettings
from accord.core.errors import Invalid, SandboxError
from accord.core.policy import Policy
from accord.core.replica import ErrorClass
from accord.core.status import Status
from accord.core.view import status_of
from accord.ports.sandbox import Command
from accord.services.guarding import check_guarded
from accord.testing.scripted_sandbox import Act, ScriptedSandbox
from tests.builders import a_spec
from tests.unit.services.platform import Platform

ON = SandboxSettings(network=True)
UIDS = range(200_000, 200_002)
WITH_NETWORK = a_spec(network=True)


def guarded(command: Command) -> Act:
    """The box tries what it is to try, and reaches nothing."""
    return Act(stdout=b"tried\n")


def unguarded(command: Command) -> Act:
    return Act(stdout=b"".join(a.encode() + b"\n" for a in command.argv[4:]) + b"tried\n")


ACTS = {"/bin/echo": Act(stdout=b"hello\n"), "python3": guarded}


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    made = Platform(tmp_path, Policy(network_allowed=True))
    yield made
    made.close()


def test_nobody_may_ask_for_the_network_by_default(tmp_path):
    platform = Platform(tmp_path)
    with (
        contextlib.closing(platform),
        pytest.raises(Invalid, match="may not use the network") as no,
    ):
        platform.add(spec=WITH_NETWORK)
    assert no.value.fields["field"] == "network"


def test_a_task_with_network_runs_in_a_box_with_it_where_that_is_given(platform):
    platform.executor(ACTS, name="off", data="off")
    _, sandbox = platform.executor(ACTS, name="on", data="on", boxes=ON)
    task = platform.done(platform.add(spec=WITH_NETWORK))
    assert status_of(task) is Status.SUCCESS
    assert [r.executor for r in task.replicas] == ["on"]
    assert sandbox.boxes[-1].network


def test_a_task_without_network_runs_without_it_there_too(platform):
    _, sandbox = platform.executor(ACTS, boxes=ON)
    platform.done(platform.add())
    assert not sandbox.boxes[-1].network


def test_while_no_executor_gives_it_the_task_waits_and_says_for_what(platform):
    platform.executor(ACTS)
    id_ = platform.add(spec=WITH_NETWORK)
    assert platform.judicator.get(id_).status is Status.PENDING
    assert "No executor has network" in platform.judicator.explain(id_)


def test_an_executor_without_network_gives_none_whatever_it_is_sent(platform):
    polls = platform.line()

    def altered(report, orders):
        sent = tuple(
            msgspec.structs.replace(
                a,
                task=msgspec.structs.replace(
                    a.task, spec=msgspec.structs.replace(a.task.spec, network=True)
                ),
            )
            for a in orders.assign
        )
        return msgspec.structs.replace(orders, assign=sent)

    polls.altered = altered
    _, sandbox = platform.executor(ACTS, polls=polls)
    id_ = platform.add(spec=a_spec())
    sandbox.wait_for(lambda _: True)
    polls.wait_for(lambda: bool(platform.judicator.get(id_).task.replicas[0].outcome))
    replica = platform.judicator.get(id_).task.replicas[0]
    assert replica.error_class is ErrorClass.INTERNAL_FAIL
    assert "network, which is off" in replica.message
    assert not any(box.network for box in sandbox.boxes)


# -- the guard ---------------------------------------------------------------------------


def test_an_executor_whose_boxes_reach_the_loopback_does_not_start(platform):
    executor, _ = platform.executor(ACTS | {"python3": unguarded}, boxes=ON, start=False)
    with pytest.raises(SandboxError, match="reach this machine's loopback"):
        executor.start()
    assert platform.judicator.executors() == []


def test_it_starts_where_the_administrator_says_so_all_the_same(platform):
    boxes = SandboxSettings(network=True, network_unguarded=True)
    platform.executor(ACTS | {"python3": unguarded}, boxes=boxes)
    assert status_of(platform.done(platform.add(spec=WITH_NETWORK))) is Status.SUCCESS


def test_what_cannot_be_tried_is_not_taken_for_guarded():
    with pytest.raises(SandboxError, match="no python3 ran"):
        check_guarded(ScriptedSandbox({"python3": Act(exit_code=127)}), (), UIDS)


def test_a_judicator_elsewhere_is_tried_too_and_only_while_it_answers():
    tried: list[str] = []

    def noting(command: Command) -> Act:
        tried.extend(command.argv[4:])
        return Act(stdout=b"tried\n")

    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104  # an address that is no loopback
        address = f"0.0.0.0:{listener.getsockname()[1]}"
        check_guarded(ScriptedSandbox({"python3": noting}), (address, "127.0.0.1:7001"), UIDS)
        assert tried[1:] == [address]
        assert tried[0].startswith("127.0.0.1:")
    with pytest.raises(SandboxError, match="while it is away"):
        check_guarded(ScriptedSandbox({"python3": noting}), (address,), UIDS)
