"""How long files are kept."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import retention
from accord.core.lifecycle import Assimilated, CancelRequested, Tick, decide, replace
from accord.core.policy import Policy
from accord.core.replica import Content, Stage
from accord.core.task import Source, Task, blobs
from tests.builders import NOW, a_result, a_spec, a_step_result, a_task, a_task_of, over, replicas

MONTH = 30 * 86400.0
POLICY = Policy()
EAGER = Policy(delete_delay=0.0)


def states(task: Task) -> tuple[str, str]:
    """Of the inputs, and of the outputs in the order of the replicas, by first letters."""
    return str(task.file_delete_state)[0], "".join(r.file_delete_state[0] for r in task.replicas)


def deleted(task: Task, policy: Policy = EAGER, now: float = NOW) -> tuple[str, str]:
    return states(retention.delete(task, now, policy))


def finished(codes: str, **changes: Any) -> Task:
    fields: dict[str, Any] = {"canonical": 0, "assimilate_state": Stage.DONE}
    return a_task_of(codes, **fields | changes)


@pytest.mark.parametrize("stage", [Stage.INIT, Stage.READY])
def test_t14_nothing_goes_before_the_task_is_assimilated(stage: Stage) -> None:
    task = finished("SV SV", assimilate_state=stage)
    assert retention.delete(task, NOW, EAGER) is task


def test_t14_a_settled_task_keeps_nothing() -> None:
    assert deleted(finished("SV SI SC SN SL E")) == ("r", "rrrrrr")


def test_t14_what_left_nothing_has_nothing_to_be_deleted() -> None:
    assert deleted(finished("SV G X D CS")) == ("r", "riiii")


def test_q5_outputs_that_could_not_be_read_or_never_came_go_too() -> None:
    assert deleted(finished("SV VE N")) == ("r", "rrr")


@pytest.mark.parametrize("codes", ["SV SV S", "SV SV P"])
def test_t14_until_the_task_is_settled_inputs_and_canonical_outputs_stay(codes: str) -> None:
    assert deleted(finished(codes)) == ("i", "iri")


def test_t14_a_failed_task_has_no_canonical_outputs_to_keep() -> None:
    assert deleted(finished("E SN P", canonical=None, error_mask=2)) == ("i", "rri")


def test_t14_the_delay_counts_from_the_last_result() -> None:
    late = tuple(replace(r, received_time=NOW + 50 * r.number) for r in replicas("SV SV"))
    task = finished("", replicas=late)
    assert retention.keep_until(task, POLICY) == NOW + 50 + MONTH
    assert deleted(task, POLICY, NOW + 50 + MONTH - 1) == ("i", "ii")
    assert deleted(task, POLICY, NOW + 50 + MONTH) == ("r", "rr")
    assert retention.waits_until(task, NOW, POLICY) == NOW + 50 + MONTH


def test_what_was_never_sent_keeps_its_inputs_for_as_long() -> None:
    task = decide(a_task(), CancelRequested(), NOW, POLICY).task
    task = decide(task, Assimilated(), NOW, POLICY).task
    assert task.transition_time == NOW + MONTH
    assert decide(task, Tick(), NOW + MONTH - 1, POLICY).task is task
    gone = decide(task, Tick(), NOW + MONTH, POLICY).task
    assert gone.file_delete_state is Stage.DONE


def ended(**changes: Any) -> Task:
    """A task of two that agree, as the write that assimilates it leaves it."""
    task = decide(a_task_of("S=a S=a", **changes), Tick(), NOW, POLICY).task
    return decide(task, Assimilated(), NOW, POLICY).task


def test_what_nobody_will_ask_for_goes_with_assimilation() -> None:
    assert states(ended()) == ("i", "id")


def test_the_rest_goes_a_month_later_and_nothing_is_waited_for_then() -> None:
    task = ended()
    assert task.transition_time == NOW + MONTH
    gone = decide(task, Tick(), NOW + MONTH, POLICY).task
    assert states(gone) == ("d", "dd")
    assert gone.transition_time > NOW + 1e9
    assert decide(gone, Tick(), NOW + 2 * MONTH, POLICY).task is gone


def test_tidying_waits_for_what_still_runs() -> None:
    task = decide(a_task_of("S=a S=a P", target_replicas=3), Tick(), NOW, POLICY).task
    assert states(decide(task, Assimilated(), NOW, POLICY).task) == ("i", "iii")


def blob(letter: str) -> Content:
    return Content(digest=letter * 64, size=9)  # type: ignore[arg-type]


def test_d1_blobs_of_deleted_files_are_called_for_no_more() -> None:
    kept = [over(n, result=a_result(execute=stored(c))) for n, c in enumerate("bc")]
    spec = a_spec(source=Source(archive=blob("a")))
    task = a_task(spec=spec, replicas=tuple(kept))
    assert blobs(task) == {c * 64 for c in "abc"}
    other = replace(kept[1], file_delete_state=Stage.DONE)
    task = replace(task, replicas=(kept[0], other))
    assert blobs(task) == {c * 64 for c in "ab"}
    assert blobs(replace(task, file_delete_state=Stage.DONE)) == {"b" * 64}


def stored(letter: str) -> Any:
    return replace(a_step_result(), stdout=blob(letter))


def test_d1_what_is_to_be_deleted_is() -> None:
    task = retention.delete(finished("SV SV"), NOW, EAGER)
    assert states(retention.deleted(task, NOW, EAGER)) == ("d", "dd")


def test_d2_a_document_may_go_when_its_files_are_gone_and_it_is_old_enough() -> None:
    task = finished("SV SV", done_time=NOW)
    assert not retention.purgeable(task, NOW + 1e9, 10.0)
    task = replace(task, file_delete_state=Stage.DONE)
    assert not retention.purgeable(task, NOW + 9, 10.0)
    assert retention.purgeable(task, NOW + 10, 10.0)
    assert not retention.purgeable(replace(task, done_time=None), NOW + 10, 10.0)
