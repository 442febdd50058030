"""The executor against a real judicator: what was promised holds over lost answers, restarts,
outages, cancellations and stops.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from accord.core.errors import NameTaken, SandboxError
from accord.core.executor import ExecutorState, Isolation
from accord.core.ids import TaskId
from accord.core.replica import ErrorClass, Outcome, Phase, ReplicaState, Verdict, content
from accord.core.status import Status
from accord.core.task import Source
from accord.core.view import status_of
from accord.ports.judicator import Orders, Report
from accord.ports.sandbox import Command
from accord.services.pace import MOST_AHEAD
from accord.testing.scripted_sandbox import Act, ScriptedSandbox
from tests.builders import a_compile_step, a_spec, a_step
from tests.unit.services.platform import PATIENCE, Platform, once

HELLO = Act(stdout=b"hello\n")


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    yield made
    made.close()


def runs_of(sandbox: ScriptedSandbox, program: str) -> int:
    return sum(argv[0] == program for argv in sandbox.runs)


def a_program(*command: str, **changes: Any) -> dict[str, Any]:
    return {"spec": a_spec(execute=a_step(command=command), **changes)}


def holding() -> tuple[Act, threading.Event]:
    """A program that runs until the event is set."""
    release = threading.Event()
    return Act(stdout=b"done\n", until=release), release


# -- the plain path ----------------------------------------------------------------------


def test_a_task_is_run_and_its_result_read_back(platform):
    platform.executor({"/bin/echo": HELLO})
    task = platform.done(platform.add())
    assert status_of(task) is Status.SUCCESS
    assert task.replicas[0].result is not None
    assert task.replicas[0].result.execute.stdout.inline == b"hello\n"


def test_what_was_stored_is_no_longer_spooled(platform):
    line = platform.line()
    platform.executor({"/bin/echo": HELLO}, pushes=line)
    id_ = platform.add()
    platform.done(id_)
    line.wait_for(lambda: any((id_, 0) in orders.stored for _, orders in line.answered))
    platform.close()
    assert list((platform.root / "e1" / "spool").iterdir()) == []


def test_work_that_comes_while_all_slots_are_busy_starts_when_one_comes_free(platform):
    act, release = holding()
    polls = platform.line()
    _, sandbox = platform.executor({"slow": act, "/bin/echo": HELLO}, polls=polls, poll=PATIENCE)
    first = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    polls.wait_for(lambda: polls.sent[-1].vacant == 0)
    second = platform.add()
    release.set()
    platform.done(first)
    platform.done(second)  # would take half a minute if the held poll were not superseded


def test_two_slots_run_two_at_once(platform):
    act, release = holding()
    _, sandbox = platform.executor({"slow": act}, slots=2)
    ids = [platform.add(**a_program("slow")) for _ in range(3)]
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 2)
    release.set()
    assert {status_of(platform.done(id_)) for id_ in ids} == {Status.SUCCESS}
    assert {box.slot for box in sandbox.boxes} == {0, 1}


def test_many_tasks_each_run_once(platform):
    def echo(command: Command) -> Act:
        return Act(stdout=command.argv[1].encode())

    _, sandbox = platform.executor({"say": echo}, slots=2)
    ids = [platform.add(**a_program("say", str(n))) for n in range(60)]
    outputs = [platform.done(id_).replicas[0].result.execute.stdout.inline for id_ in ids]
    assert outputs == [str(n).encode() for n in range(60)]
    assert runs_of(sandbox, "say") == 60


def far_away(report: Report, orders: Orders) -> Orders:
    """The answer of a judicator that seems to be a second away."""
    return msgspec.structs.replace(orders, held=orders.held - 1.0)


def test_where_runs_are_short_one_poll_brings_several_and_one_push_delivers_several(platform):
    polls, pushes = platform.line(), platform.line()
    polls.altered = far_away
    ids = [platform.add() for _ in range(60)]
    _, sandbox = platform.executor({"/bin/echo": HELLO}, slots=4, polls=polls, pushes=pushes)
    assert {status_of(platform.done(id_)) for id_ in ids} == {Status.SUCCESS}
    assert runs_of(sandbox, "/bin/echo") == 60
    brought = [len(orders.assign) for _, orders in polls.answered if orders.assign]
    assert sum(brought) == 60
    assert max(brought) > 4
    assert len(brought) <= 30
    assert sum(bool(report.complete) for report, _ in pushes.answered) < 60


def test_no_more_waits_than_is_asked_ahead_and_what_waits_is_handed_back_on_drain(platform):
    act, release = holding()
    polls = platform.line()
    polls.altered = far_away
    acts = {"/bin/echo": HELLO, "slow": act}
    executor, sandbox = platform.executor(acts, slots=2, polls=polls, drain=PATIENCE)
    for _ in range(4):
        platform.done(platform.add())
    slow = [platform.add(**a_program("slow")) for _ in range(2)]
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 2)
    most = 2 * MOST_AHEAD
    rest = [platform.add() for _ in range(most + 3)]
    polls.wait_for(lambda: len({held.task for held in polls.sent[-1].holds} & {*rest}) == most)
    waiting = {held.task for held in executor._holdings.holds()} - {*slow}
    assert len(waiting) == most
    stopping = threading.Thread(target=executor.stop)
    stopping.start()
    for id_ in waiting:
        platform.handed_back(id_)
    release.set()
    stopping.join(PATIENCE)
    assert {status_of(platform.done(id_)) for id_ in slow} == {Status.SUCCESS}
    assert [platform.judicator.get(id_).status for id_ in rest] == [Status.PENDING] * len(rest)
    assert runs_of(sandbox, "/bin/echo") == 4


def test_long_runs_are_not_asked_ahead_for(platform):
    polls = platform.line()
    polls.altered = lambda report, orders: msgspec.structs.replace(orders, held=orders.held + 1.0)
    platform.executor({"/bin/echo": HELLO}, slots=2, polls=polls)
    for id_ in [platform.add() for _ in range(20)]:
        platform.done(id_)
    assert max(report.vacant for report in polls.sent) == 2


def test_inputs_and_long_outputs_travel_as_blobs(platform):
    long = bytes(range(256)) * 2000
    acts = {"cat": Act(echo_stdin=True, files={"out.bin": long[:70_000]})}
    platform.executor(acts)
    upload = "upload-1"
    platform.judicator.write_blob(upload, 0, long)
    digest, size = platform.judicator.commit_blob(upload)
    blob = type(content(b""))(digest=digest, size=size)
    step = a_step(command=("cat",), stdin=blob)
    task = platform.done(platform.add(spec=a_spec(execute=step, outputs=("*.bin",))))
    result = task.replicas[0].result
    assert result.execute.stdout.digest == digest
    kept = result.kept["out.bin"]
    assert platform.judicator.read_blob(kept.digest, 0, 1 << 20) == long[:70_000]


def test_a_bad_archive_fails_the_task_with_its_message(platform):
    platform.executor({"/bin/echo": HELLO})
    spec = a_spec(source=Source(archive=content(b"PK no zip")))
    task = platform.done(platform.add(spec=spec))
    assert status_of(task) is Status.FAILED
    assert task.replicas[0].error_class is ErrorClass.BAD_INPUT
    assert "no zip" in task.replicas[0].message
    assert len(task.replicas) == 1


def test_a_compile_error_is_a_result(platform):
    platform.executor({"gcc": Act(exit_code=1, stderr=b"error\n")})
    task = platform.done(platform.add(spec=a_spec(compile=a_compile_step())))
    assert status_of(task) is Status.COMPILE_FAILED
    assert task.replicas[0].result.compile.stderr.inline == b"error\n"


# -- lost answers ------------------------------------------------------------------------


def test_an_assignment_lost_on_its_way_is_sent_again_and_run_once(platform):
    polls = platform.line()
    polls.lost = once(lambda report, orders: bool(orders.assign))
    _, sandbox = platform.executor({"/bin/echo": HELLO}, polls=polls)
    task = platform.done(platform.add())
    assert status_of(task) is Status.SUCCESS
    assert sum(bool(orders.assign) for _, orders in polls.answered) == 2
    assert runs_of(sandbox, "/bin/echo") == 1


def test_a_result_whose_acknowledgement_was_lost_is_repeated_and_taken_once(platform):
    pushes = platform.line()
    pushes.lost = once(lambda report, orders: bool(report.complete))
    _, sandbox = platform.executor({"/bin/echo": HELLO}, pushes=pushes)
    id_ = platform.add()
    task = platform.done(id_)
    pushes.wait_for(lambda: sum(bool(r.complete) for r, _ in pushes.answered) == 2)
    version = platform.judicator.get(id_).task.version
    assert version == task.version
    assert runs_of(sandbox, "/bin/echo") == 1


def test_a_result_that_the_store_failed_on_is_repeated(platform):
    pushes = platform.line()
    failed = once(lambda report, orders: bool(report.complete))

    def cut(report: Report) -> Report:
        if failed(report, Orders(sequence=0)):
            return msgspec.structs.replace(report, complete=())
        return report

    pushes.cut = cut
    _, sandbox = platform.executor({"/bin/echo": HELLO}, pushes=pushes)
    assert status_of(platform.done(platform.add())) is Status.SUCCESS
    assert runs_of(sandbox, "/bin/echo") == 1


def test_an_assignment_that_a_newer_poll_did_not_name_is_not_run_once_it_is_cancelled(platform):
    """The judicator concludes from the newer poll that it never arrived, and that it is dead."""
    act, release = holding()
    polls = platform.line()
    overtaken, on_its_way = threading.Event(), threading.Event()

    def altered(report: Report, orders: Orders) -> Orders:
        late = any(a.task.spec.execute.command == ("/bin/echo", "hello") for a in orders.assign)
        if late and not on_its_way.is_set():
            on_its_way.set()
            assert overtaken.wait(PATIENCE)
        return orders

    polls.altered = altered
    _, sandbox = platform.executor(
        {"slow": act, "/bin/echo": HELLO}, polls=polls, slots=2, poll=PATIENCE
    )
    first = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    polls.wait_for(lambda: polls.sent[-1].vacant == 1)
    late = platform.add()
    assert on_its_way.wait(PATIENCE)
    platform.judicator.cancel(late)
    release.set()
    platform.done(first)
    assert status_of(platform.done(late)) is Status.CANCELLED
    overtaken.set()
    platform.done(platform.add(**a_program("slow")))
    assert runs_of(sandbox, "/bin/echo") == 0


def test_every_report_repeated_changes_nothing(platform):
    pushes = platform.line()
    pushes.twice = True
    _, sandbox = platform.executor({"/bin/echo": HELLO}, pushes=pushes)
    ids = [platform.add() for _ in range(10)]
    for id_ in ids:
        assert len(platform.done(id_).replicas) == 1
    assert runs_of(sandbox, "/bin/echo") == 10


def test_half_of_all_answers_lost_loses_and_doubles_nothing(platform):
    count = iter(range(1_000_000))
    lines = [platform.line(), platform.line()]
    for line in lines:
        line.lost = lambda report, orders: next(count) % 2 == 0
    _, sandbox = platform.executor({"/bin/echo": HELLO}, slots=2, polls=lines[0], pushes=lines[1])
    ids = [platform.add() for _ in range(20)]
    assert [status_of(platform.done(id_)) for id_ in ids] == [Status.SUCCESS] * 20
    assert runs_of(sandbox, "/bin/echo") == 20


def test_results_that_end_while_a_push_is_under_way_go_together_with_the_next(platform):
    act, release = holding()
    pushes = platform.line()
    under_way, go_on = threading.Event(), threading.Event()

    def altered(report: Report, orders: Orders) -> Orders:
        if report.complete and not under_way.is_set():
            under_way.set()
            assert go_on.wait(PATIENCE)
        return orders

    pushes.altered = altered
    executor, sandbox = platform.executor({"/bin/echo": HELLO, "slow": act}, slots=4, pushes=pushes)
    slow = [platform.add(**a_program("slow")) for _ in range(3)]
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 3)
    first = platform.add()
    assert under_way.wait(PATIENCE)
    release.set()
    assert executor._holdings.wait_for_runs(PATIENCE)
    go_on.set()
    for id_ in [first, *slow]:
        platform.done(id_)
    carried = [{f.task for f in report.complete} for report, _ in pushes.answered]
    assert [tasks for tasks in carried if tasks] == [{first}, {*slow}]


# -- outages and restarts ----------------------------------------------------------------


def test_a_judicator_that_is_away_gets_the_result_when_it_is_back(platform):
    act, release = holding()
    polls, pushes = platform.line(), platform.line()
    _, sandbox = platform.executor({"slow": act}, polls=polls, pushes=pushes)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    polls.away = pushes.away = True
    release.set()
    pushes.wait_for(lambda: pushes.failed >= 2)
    pushes.away = polls.away = False
    assert status_of(platform.done(id_)) is Status.SUCCESS
    assert runs_of(sandbox, "slow") == 1


def test_a_result_with_long_output_is_delivered_by_the_next_process(platform):
    long = b"0123456789" * 20_000
    pushes = platform.line()
    release = threading.Event()
    acts = {"slow": Act(stdout=long, until=release)}
    executor, sandbox = platform.executor(acts, pushes=pushes, delivery=0.0, drain=PATIENCE)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    pushes.away = True
    release.set()
    executor.stop()
    assert platform.judicator.get(id_).status is Status.RUNNING
    _, second = platform.executor({})
    task = platform.done(id_)
    assert status_of(task) is Status.SUCCESS
    assert len(task.replicas) == 1
    assert task.replicas[0].result.execute.stdout.digest == hashlib.sha256(long).hexdigest()
    assert runs_of(second, "slow") == 0


def test_a_restarted_executor_s_lost_runs_are_lost_at_once(platform):
    act, release = holding()
    polls, pushes = platform.line(), platform.line()
    _, sandbox = platform.executor({"slow": act}, polls=polls, pushes=pushes, delivery=0.0)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    polls.away = pushes.away = True  # as if it had been killed
    data = platform.root / "e1" / "instance_key"
    (platform.root / "e2").mkdir()
    (platform.root / "e2" / "instance_key").write_bytes(data.read_bytes())
    platform.executor({"slow": Act(stdout=b"second\n")}, data="e2")
    task = platform.done(id_)
    release.set()
    assert [r.outcome for r in task.replicas] == [Outcome.DETACHED, Outcome.SUCCESS]


def test_a_session_that_the_judicator_forgot_is_introduced_again(platform):
    platform.executor({"/bin/echo": HELLO}, poll=0.1)
    platform.done(platform.add())
    platform.store.forget_executor(platform.judicator.executors()[0].name)
    platform.judicator._roster.refresh()  # as its housekeeping does from time to time
    assert status_of(platform.done(platform.add())) is Status.SUCCESS


def test_a_damaged_output_in_the_spool_makes_the_task_run_again(platform):
    long = b"x" * 100_000
    release = threading.Event()
    pushes = platform.line()
    acts = {"slow": Act(stdout=long, until=release)}
    executor, sandbox = platform.executor(acts, pushes=pushes, delivery=0.0, drain=PATIENCE)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    pushes.away = True
    release.set()
    executor.stop()
    (stream,) = (platform.root / "e1" / "spool").glob("*/stdout")
    stream.write_bytes(b"y" * 100_000)
    platform.executor({"slow": Act(stdout=long)})
    task = platform.done(id_)
    assert [r.outcome for r in task.replicas] == [Outcome.CLIENT_ERROR, Outcome.SUCCESS]
    assert "damaged" in task.replicas[0].message


# -- cancellation ------------------------------------------------------------------------


def test_a_running_task_is_killed_and_its_box_seen_empty_before_it_is_cancelled(platform):
    act, _ = holding()
    _, sandbox = platform.executor({"slow": act}, poll=PATIENCE)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    platform.judicator.cancel(id_)
    task = platform.done(id_)
    assert status_of(task) is Status.CANCELLED
    assert task.replicas[0].killed_at is not None
    assert sandbox.boxes[-1].closed


def test_a_cancel_between_compile_and_execute_is_obeyed(platform):
    compiled = threading.Event()
    _, sandbox = platform.executor({"gcc": Act(until=compiled), "/bin/echo": HELLO})
    id_ = platform.add(spec=a_spec(compile=a_compile_step()))
    sandbox.wait_for(lambda s: runs_of(s, "gcc") == 1)
    platform.judicator.cancel(id_)
    sandbox.wait_for(lambda s: s.boxes[-1].kills > 0)
    compiled.set()
    assert status_of(platform.done(id_)) is Status.CANCELLED
    assert runs_of(sandbox, "/bin/echo") == 0


def test_a_cancelled_run_that_still_lives_keeps_its_slot(platform):
    closing, closed = threading.Event(), threading.Event()

    class Slow(ScriptedSandbox):
        def on_close(self) -> None:
            closing.set()
            assert closed.wait(PATIENCE)
            super().on_close()

    act, _ = holding()
    sandbox = Slow({"slow": act, "/bin/echo": HELLO})
    executor, _ = platform.executor(sandbox)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    platform.judicator.cancel(id_)
    assert closing.wait(PATIENCE)
    assert executor._holdings.vacant() == 0
    assert platform.judicator.get(id_).status is Status.CANCELLING
    second = platform.add()
    closed.set()
    assert status_of(platform.done(id_)) is Status.CANCELLED
    assert status_of(platform.done(second)) is Status.SUCCESS


def test_a_box_that_cannot_be_emptied_takes_its_slot_out_of_service(platform):
    executor, sandbox = platform.executor({"/bin/echo": HELLO})
    sandbox.close_fails = SandboxError("A process does not die.")
    id_ = platform.add()
    assert executor.wait(PATIENCE)
    assert executor.failure is not None
    assert "No slot is left" in executor.failure
    executor.stop()
    replica = platform.judicator.get(id_).task.replicas[0]
    assert replica.state is ReplicaState.IN_PROGRESS or replica.outcome is Outcome.CLIENT_ERROR
    assert runs_of(sandbox, "/bin/echo") == 1


def test_with_one_slot_of_two_out_of_service_work_goes_on_in_the_other(platform):
    bad = SandboxError("A process does not die.")
    _, sandbox = platform.executor({"/bin/echo": HELLO}, slots=2)
    sandbox.close_fails = bad
    first = platform.add()
    sandbox.wait_for(lambda s: any(b.closed for b in s.boxes))
    sandbox.close_fails = None
    ids = [platform.add() for _ in range(4)]
    assert [status_of(platform.done(i)) for i in [first, *ids]] == [Status.SUCCESS] * 5


# -- stopping ----------------------------------------------------------------------------


def test_a_stop_lets_short_runs_finish_and_delivers_them(platform):
    act, release = holding()
    executor, sandbox = platform.executor({"slow": act}, drain=PATIENCE)
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    stopping = threading.Thread(target=executor.stop)
    stopping.start()
    release.set()
    stopping.join(PATIENCE)
    assert status_of(platform.judicator.get(id_).task) is Status.SUCCESS


def test_a_stop_kills_what_does_not_finish_and_has_it_tried_elsewhere(platform):
    act, _ = holding()
    executor, sandbox = platform.executor({"slow": act})
    id_ = platform.add(**a_program("slow"))
    sandbox.wait_for(lambda s: runs_of(s, "slow") == 1)
    executor.stop()
    task = platform.judicator.get(id_).task
    assert task.replicas[0].outcome is Outcome.CLIENT_ERROR
    assert "stopped" in task.replicas[0].message
    assert all(box.closed for box in sandbox.boxes)
    platform.executor({"slow": Act(stdout=b"again\n")}, name="e2", data="e2")
    assert status_of(platform.done(id_)) is Status.SUCCESS


def test_a_stop_waits_no_longer_than_the_limit_and_finishes_what_can_be(platform):
    act, _ = holding()
    short, release = holding()
    executor, sandbox = platform.executor({"slow": act, "short": short}, slots=2, drain=0.5)
    slow, quick = platform.add(**a_program("slow")), platform.add(**a_program("short"))
    sandbox.wait_for(lambda s: len(s.runs) == 2)
    stopping = threading.Thread(target=executor.stop)
    stopping.start()
    release.set()
    assert status_of(platform.done(quick)) is Status.SUCCESS
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert "stopped" in platform.judicator.get(slow).task.replicas[0].message


def test_what_is_spooled_is_named_by_the_next_process_and_delivered_once(platform):
    pushes, replay = platform.line(), platform.line()
    acts = {"say": lambda command: Act(stdout=command.argv[1].encode())}
    executor, sandbox = platform.executor(
        acts, slots=2, pushes=pushes, delivery=0.0, drain=PATIENCE
    )
    pushes.lost = lambda report, orders: bool(report.complete)
    pushes.cut = lambda report: msgspec.structs.replace(report, complete=())
    ids = [platform.add(**a_program("say", str(n))) for n in range(6)]
    sandbox.wait_for(lambda s: len(s.runs) == 6)
    executor.stop()
    spool = platform.root / "e1" / "spool"
    assert len(list(spool.glob("*.result"))) == 6
    polls = platform.line()
    _, second = platform.executor(acts, polls=polls, pushes=replay)
    outputs = [platform.done(id_).replicas[0].result.execute.stdout.inline for id_ in ids]
    assert outputs == [str(n).encode() for n in range(6)]
    assert {held.task for held in polls.sent[0].holds} == {*ids}
    replay.wait_for(lambda: {k for _, o in replay.answered for k, _ in o.stored} == {*ids})
    assert second.runs == []


def test_a_draining_executor_takes_no_work(platform):
    polls = platform.line()
    executor, sandbox = platform.executor({"/bin/echo": HELLO}, polls=polls, poll=0.1)
    assert executor.drain(PATIENCE)
    polls.wait_for(lambda: any(r.draining for r, _ in polls.answered))
    id_ = platform.add()
    executor.stop()
    assert platform.judicator.get(id_).status is Status.PENDING
    assert runs_of(sandbox, "/bin/echo") == 0
    assert platform.judicator.executors()[0].state is ExecutorState.DRAINING


def test_a_stop_with_the_judicator_away_ends_and_keeps_the_result(platform):
    polls, pushes = platform.line(), platform.line()
    executor, sandbox = platform.executor(
        {"/bin/echo": HELLO}, polls=polls, pushes=pushes, delivery=0.0, drain=PATIENCE
    )
    pushes.away = True
    platform.add()
    sandbox.wait_for(lambda s: runs_of(s, "/bin/echo") == 1)
    polls.away = True
    executor.stop()
    assert len(list((platform.root / "e1" / "spool").glob("*.result"))) == 1


def test_start_and_stop_may_come_twice_and_in_any_order(platform):
    executor, sandbox = platform.executor({"/bin/echo": HELLO})
    executor.start()
    executor.stop()
    executor.stop()
    assert sandbox.closed
    assert executor.wait(0)
    never, _ = platform.executor({}, data="e2", start=False)
    never.stop()
    never.stop()
    never.start()
    assert never.wait(0)


# -- who may run -------------------------------------------------------------------------


def test_a_second_process_on_the_same_data_is_refused(platform):
    platform.executor({})
    second, _ = platform.executor({}, start=False)
    with pytest.raises(NameTaken, match="Another executor runs on"):
        second.start()


def test_an_executor_whose_name_is_taken_stops_with_a_clear_reason(platform):
    polls = platform.line()
    platform.executor({"/bin/echo": HELLO}, polls=polls)
    polls.wait_for(lambda: bool(polls.answered))
    clone, sandbox = platform.executor({"/bin/echo": HELLO}, data="e2", name="e1")
    assert clone.wait(PATIENCE)
    assert clone.failure is not None
    assert "e1" in clone.failure
    platform.done(platform.add())
    assert runs_of(sandbox, "/bin/echo") == 0


def test_a_box_that_does_not_hold_runs_nothing(platform):
    checks = {"fork": "held", "network": "not run: no control", "shadow": "read /etc/shadow"}
    sandbox = ScriptedSandbox({}, Isolation(level="bwrap+cgv2", checks=checks))
    executor, _ = platform.executor(sandbox, start=False)
    with pytest.raises(SandboxError, match="shadow: read /etc/shadow"):
        executor.start()
    assert platform.judicator.executors() == []


def test_the_heart_beats_each_third_of_a_lease_with_nothing_to_tell(platform):
    polls, pushes = platform.line(), platform.line()
    platform.executor({}, polls=polls, pushes=pushes, lease=0.15, poll=PATIENCE)
    pushes.wait_for(lambda: len(pushes.answered) >= 3)  # not held up by the first poll either
    assert polls.sent[0].hello is not None
    assert all(not (r.complete or r.progress or r.output) for r, _ in pushes.answered)


# -- live output and phases --------------------------------------------------------------


def followed(
    platform: Platform, id_: TaskId, enough: Callable[[dict[str, bytes]], bool], number: int = 0
) -> None:
    """Follow the live output of a replica until there is enough of it."""
    seen: dict[str, bytes] = {}
    cursor = ""
    while not enough(seen):
        news = platform.judicator.follow(id_, cursor, PATIENCE)
        assert not news.done, "the output was to be seen while the program ran"
        cursor = news.cursor
        for chunk in news.chunks:
            if chunk.number != number:
                continue
            there = seen.get(chunk.stream, b"")
            assert chunk.offset == len(there)
            seen[chunk.stream] = there + chunk.data


@pytest.mark.parametrize("drops", [False, True])
def test_live_output_is_exact_while_the_program_runs(platform, drops):
    data = bytes(i % 251 for i in range(300_000))
    release = threading.Event()
    pushes = platform.line()
    if drops:
        count = iter(range(1_000_000))
        pushes.lost = lambda report, orders: bool(report.output) and next(count) % 2 == 0
    pieces = [data[i : i + 7_001] for i in range(0, len(data), 7_001)]
    act = Act(stderr=b"err\n", pieces=lambda: pieces, until=release)
    platform.executor({"talk": act}, pushes=pushes)
    id_ = platform.add(**a_program("talk"))
    want = {"stdout": data, "stderr": b"err\n"}
    followed(platform, id_, lambda seen: seen == want)
    release.set()
    platform.done(id_)


def test_live_output_that_was_stored_outlives_its_executor(platform):
    polls, pushes = platform.line(), platform.line()
    release = threading.Event()
    acts = {"talk": Act(stdout=b"lost \xff\n", until=release)}
    platform.executor(acts, polls=polls, pushes=pushes, delivery=0.0)
    id_ = platform.add(**a_program("talk"))
    followed(platform, id_, lambda seen: seen == {"stdout": b"lost \xff\n"})
    polls.away = pushes.away = True  # as if it had been killed
    followed(platform, id_, lambda seen: seen == {"stdout": b"lost \xff\n"})
    data = platform.root / "e1" / "instance_key"
    (platform.root / "e2").mkdir()
    (platform.root / "e2" / "instance_key").write_bytes(data.read_bytes())
    second = threading.Event()
    platform.executor({"talk": Act(stdout=b"again\n", until=second)}, data="e2")
    followed(platform, id_, lambda seen: seen == {"stdout": b"again\n"}, number=1)
    release.set()
    second.set()
    assert platform.done(id_).replicas[1].result.execute.stdout.inline == b"again\n"


def test_live_output_that_was_not_stored_is_sent_again(platform):
    release = threading.Event()
    pushes = platform.line()
    unstored = threading.Event()

    def cut(report: Report) -> Report:
        if report.output and not unstored.is_set():
            return msgspec.structs.replace(report, output=())
        return report

    def altered(report: Report, orders: Orders) -> Orders:
        if report.output and not unstored.is_set():
            unstored.set()
            return msgspec.structs.replace(orders, output_stored=False)
        return orders

    pushes.cut, pushes.altered = cut, altered
    platform.executor({"talk": Act(stdout=b"hello\n", until=release)}, pushes=pushes)
    id_ = platform.add(**a_program("talk"))
    followed(platform, id_, lambda seen: seen == {"stdout": b"hello\n"})
    release.set()
    platform.done(id_)


def test_a_push_carries_little_output_and_not_often(platform):
    data = b"x" * (1 << 20)
    release = threading.Event()
    pushes = platform.line()
    act = Act(pieces=lambda: [data] * 8, until=release)
    platform.executor({"flood": act}, pushes=pushes)
    id_ = platform.add(**a_program("flood"))
    pushes.wait_for(lambda: sum(len(r.output) for r, _ in pushes.answered) >= 3)
    release.set()
    task = platform.done(id_)
    chunks = [c for r, _ in pushes.answered for c in r.output]
    assert max(len(c.data) for c in chunks) <= 64 << 10
    assert task.replicas[0].result.execute.stdout.size == 8 << 20


def test_a_program_that_is_over_at_once_costs_one_push(platform):
    pushes = platform.line()
    platform.executor({"/bin/echo": HELLO}, pushes=pushes)
    platform.done(platform.add())
    carried = [r for r, _ in pushes.answered if r.complete or r.output or r.progress]
    assert len(carried) == 1


def test_the_phases_of_a_long_run_are_seen(platform):
    compiled, ran = threading.Event(), threading.Event()
    acts = {"gcc": Act(until=compiled), "/bin/echo": Act(until=ran)}
    platform.executor(acts)
    id_ = platform.add(spec=a_spec(compile=a_compile_step()))
    seen: list[Phase] = []
    cursor = ""
    while seen[-1:] != [Phase.RUNNING]:
        news = platform.judicator.follow(id_, cursor, PATIENCE)
        cursor = news.cursor
        if news.view and (phase := news.view.phases.get(0)) and phase not in seen:
            seen.append(phase)
            if phase is Phase.COMPILING:
                compiled.set()
    ran.set()
    assert status_of(platform.done(id_)) is Status.SUCCESS
    assert seen[-2:] == [Phase.COMPILING, Phase.RUNNING]


# -- its own faults ----------------------------------------------------------------------


def test_a_fault_of_a_slot_is_reported_and_the_slot_goes_on(platform, monkeypatch):
    broken = threading.Event()

    def breaks(command: Command) -> Act:
        if broken.is_set():
            return HELLO
        broken.set()
        raise RuntimeError("a fault of our own")

    platform.executor({"/bin/echo": breaks})
    task = platform.done(platform.add())
    assert [r.outcome for r in task.replicas] == [Outcome.CLIENT_ERROR, Outcome.SUCCESS]
    assert task.replicas[0].error_class is ErrorClass.INTERNAL_FAIL
    assert "a fault of our own" in task.replicas[0].message


def test_an_end_that_cannot_be_written_down_is_a_fault_and_frees_the_slot(platform):
    broken = threading.Event()

    def breaks(command: Command) -> Act:
        if broken.is_set():
            return HELLO
        broken.set()
        raise RuntimeError("a name that is no text: \udcff")

    platform.executor({"/bin/echo": breaks})
    task = platform.done(platform.add())
    assert [r.outcome for r in task.replicas] == [Outcome.CLIENT_ERROR, Outcome.SUCCESS]
    assert "UnicodeEncodeError" in task.replicas[0].message


def test_a_fault_of_a_link_does_not_end_it(platform):
    pushes = platform.line()
    failed = once(lambda report, orders: bool(report.complete))

    def lost(report: Report, orders: Orders) -> bool:
        if failed(report, orders):
            raise RuntimeError("a fault of our own")
        return False

    pushes.lost = lost
    platform.executor({"/bin/echo": HELLO}, pushes=pushes)
    platform.done(platform.add())
    pushes.wait_for(lambda: sum(bool(r.complete) for r, _ in pushes.answered) == 2)


def test_verdicts_reach_the_task(platform):
    platform.executor({"/bin/echo": Act(signal=9, limit="memory")})
    task = platform.done(platform.add())
    assert status_of(task) is Status.RUN_FAILED
    assert task.replicas[0].verdict is Verdict.MEMORY_LIMIT
