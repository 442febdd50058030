"""Why a task is in its state: the text that API, command line and website show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.core.executor import ExecutorState, Isolation
from accord.core.explain import Surroundings, explain
from accord.core.ids import ExecutorName
from accord.core.judging import Judging, JudgingState
from accord.core.limits import Limits
from accord.core.replica import Outcome, Phase, Validity, Verdict
from accord.core.standing import Standing
from accord.core.status import Status
from accord.core.task import ErrorMask, Requires, Stage, Task
from accord.core.view import status_of
from tests.builders import (
    NOW,
    a_compile_step,
    a_replica,
    a_result,
    a_spec,
    a_step,
    a_step_result,
    a_task,
    a_task_of,
    an_executor,
    over,
    sent,
)


def told(task: Task, **around: Any) -> str:
    fields: dict[str, Any] = {
        "now": NOW,
        "executors": (an_executor("e1"), an_executor("e2")),
        "weakest": "bwrap+poll",
    }
    return explain(task, Surroundings(**fields | around))


# -- waiting -------------------------------------------------------------------------------


def test_a_task_that_waits_tells_how_many_match_and_its_place() -> None:
    executors = (an_executor("e1"), an_executor("e2", languages={"go": "1.22"}))
    task = a_task(spec=a_spec(language="cpp"))
    assert told(task, executors=executors, position=3) == (
        "Waiting to be sent. 1 of 2 online executors matches it,"
        " and 3 tasks will get a free slot before it."
    )
    assert "it is the next to get a free slot" in told(task)


def test_a_task_that_waits_tells_which_executors_are_kept_from_its_class() -> None:
    kept = [Standing(task_class="cpp", note="n"), Standing(task_class="any", note="other")]
    executors = [an_executor(f"e{n}", standings=tuple(kept)) for n in range(5)]
    task = a_task(spec=a_spec(language="cpp"))
    text = told(task, executors=(*executors, an_executor("e9")))
    assert text.endswith(" Not now on e0 (n) or e1 (n) or e2 (n), nor on 2 more.")
    assert "Not now" not in told(a_task(spec=a_spec(language="c")), executors=tuple(executors))


def test_a_language_that_no_executor_has_is_named_with_those_there_are() -> None:
    text = told(a_task(spec=a_spec(language="go")), now=NOW + 600)
    assert text == (
        "Waiting to be sent. No executor has language go; there are c, cpp, python."
        " Unless one comes, the task fails as unsendable in 50 min."
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"requires": Requires(tags=("gpu",))}, "No executor has tag gpu; they have none at all."),
        (
            {"language": "python", "requires": Requires(language_version="3.12")},
            "No executor has language python 3.12; there is 3.11.",
        ),
        (
            {"language": "go", "requires": Requires(language_version="1")},
            "No executor has language go; there are c, cpp, python.",
        ),
        ({"requires": Requires(cpus=16)}, "No executor has 16 cores."),
        (
            {"requires": Requires(isolation="bwrap+cgv2")},
            "No executor has isolation bwrap+cgv2; there is bwrap+poll.",
        ),
    ],
)
def test_what_no_executor_has_is_named(spec: dict[str, Any], words: str) -> None:
    weak = (an_executor(isolation=Isolation(level="bwrap+poll")),)
    assert words in told(a_task(spec=a_spec(**spec)), executors=weak)


def test_where_each_executor_lacks_something_else_each_is_told() -> None:
    executors = (an_executor("e1", tags=("gpu",)), an_executor("e2", languages={"go": "1.22"}))
    task = a_task(spec=a_spec(language="go", requires=Requires(tags=("gpu",))))
    assert "e1 lacks language go; e2 lacks tag gpu" in told(task, executors=executors)


def test_a_cluster_without_executors_says_so() -> None:
    assert "No executor is known to this cluster: start one." in told(a_task(), executors=())


def test_executors_that_match_but_take_no_work_are_named_with_their_state() -> None:
    executors = (
        an_executor("e1", state=ExecutorState.DRAINING),
        an_executor("e2", state=ExecutorState.LOST),
    )
    assert "e1 is draining, e2 is lost" in told(a_task(), executors=executors)


def test_a_task_that_is_about_to_fail_as_unsendable_says_so() -> None:
    task = a_task(spec=a_spec(language="go"))
    assert "about to fail as unsendable" in told(task, now=NOW + 4000)


def test_a_task_in_its_back_off_tells_what_failed_and_when_the_next_attempt_is() -> None:
    task = a_task(replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1, not_before=NOW + 4)))
    assert told(task) == (
        "Attempt 1 failed on e1: The disk is full. At most 9 more attempts will be made."
        " The next attempt is in 4 s."
    )


def test_a_task_that_waits_again_tells_which_executors_come_later() -> None:
    task = a_task(replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1)))
    assert "2 of 2 online executors match it" in told(task)
    assert "Others are tried before e1." in told(task)
    assert "Others" not in told(task, executors=(an_executor("e1"),))


# -- running -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "doing"),
    [
        (None, "Sent to run"),
        (Phase.FETCHING, "Fetching its files"),
        (Phase.COMPILING, "Compiling"),
        (Phase.RUNNING, "Running"),
        (Phase.JUDGING, "Judging its output"),
    ],
)
def test_a_task_that_runs_tells_where_since_when_and_until_when(
    phase: Phase | None, doing: str
) -> None:
    phases = {0: phase} if phase else {}
    assert told(a_task(replicas=(sent(),)), now=NOW + 3, phases=phases) == (
        f"{doing} on e1, 3 s after it was sent;"
        " it is given up and tried again if nothing is heard for another 1.6 min."
    )


def test_a_task_that_runs_again_tells_what_failed_before() -> None:
    text = told(a_task(replicas=(over(0, Outcome.CLIENT_ERROR), sent(1))))
    assert "Attempt 1 failed on e1: The disk is full." in text


def test_results_that_are_compared_are_counted() -> None:
    task = a_task(replicas=(over(0), over(1)), need_validate=True, min_quorum=2, target_replicas=2)
    assert told(task) == "2 results of 2 are compared."


def judged(**run: Any) -> str:
    judging = Judging(candidates=(0, 1), **run)
    return told(
        a_task(replicas=(over(0), over(1)), need_validate=True, min_quorum=2, judging=judging)
    )


def test_a_task_that_waits_for_a_judging_run_tells_where_that_is() -> None:
    assert judged() == (
        "2 results of 2 are compared. A judging run on an executor that made none of them is to"
        " tell which agree; it waits to be sent. 1 of 2 online executors matches it, and it is the"
        " next to get a free slot."
    )
    out = judged(state=JudgingState.IN_PROGRESS, executor="e9")
    assert out == "2 results of 2 are compared. A judging run on e9 tells which agree."
    again = judged(message="The disk is full.", attempts=1, not_before=NOW + 2)
    assert again == (
        "2 results of 2 are compared. The last run came to nothing: The disk is full."
        " The next judging run is in 2 s."
    )


def test_results_that_are_there_are_told_while_others_are_waited_for() -> None:
    one = told(a_task_of("S=a U"))
    assert one.startswith("1 result of 2 is in. Waiting to be sent.")
    two = told(a_task_of("SC=a SC=b U", target_replicas=3))
    assert two.startswith("2 results of 3 are in, too few of which agree. Waiting to be sent.")


def test_where_all_executors_have_run_it_another_is_asked_for() -> None:
    task = a_task_of("S=a U")
    alone = told(task, executors=(an_executor("e0"),))
    assert (
        "Every executor that could take it has run it already (e0), and its runs are to be on"
        " different ones: start another executor, or submit it with redundancy.distinct none."
        " Unless one comes, the task fails as unsendable in"
    ) in alone
    assert "is the next to get" in told(task, executors=(an_executor("e0"), an_executor("e5")))


def test_a_replica_that_waits_while_another_runs_is_told() -> None:
    text = told(a_task_of("P U"), executors=(an_executor("e0"),))
    assert "Sent to run on e0" in text
    assert "1 more replica waits to be sent. Every executor that could take it has run it" in text


def test_how_many_results_agree_is_told_at_the_end() -> None:
    ended = a_task_of("SV=a SV=a SI=b", canonical=0, target_replicas=3, done_time=NOW)
    assert told(ended).endswith(" 2 of 3 results agree.")


def test_a_task_that_is_being_cancelled_tells_who_has_to_answer() -> None:
    task = a_task(replicas=(sent(),), error_mask=int(ErrorMask.CANCELLED))
    assert told(task).startswith("Cancelling: e1 has been told to stop it.")


# -- the end -------------------------------------------------------------------------------


def done(**result: Any) -> Task:
    spec = a_spec(
        compile=a_compile_step(),
        execute=a_step(limits=Limits(wall=10.0, memory=256 << 20)),
    )
    return a_task(
        spec=spec,
        replicas=(over(0, result=a_result(**result), validity=Validity.VALID),),
        canonical=0,
        done_time=NOW,
        assimilate_state=Stage.DONE,
    )


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({}, "The program ended with exit code 0 on e1 after 500 ms."),
        (
            {"verdict": Verdict.RUNTIME_ERROR, "execute": a_step_result(exit_code=3)},
            "The program ended with exit code 3 on e1 after 500 ms (runtime error)."
            " See stderr for what it says.",
        ),
        (
            {"verdict": Verdict.RUNTIME_ERROR, "execute": a_step_result(exit_code=None, signal=11)},
            "The program was ended by signal 11 (SIGSEGV) on e1 after 500 ms (runtime error)."
            " See stderr for what it says.",
        ),
        (
            {"verdict": Verdict.MEMORY_LIMIT, "execute": a_step_result(limit="memory")},
            "The program was stopped at its limit memory (256 MiB) on e1 after 500 ms"
            " (memory limit). Let it use less, or submit it again with a larger limits.memory.",
        ),
        (
            {
                "verdict": Verdict.COMPILE_ERROR,
                "compile": a_step_result(exit_code=1),
                "execute": None,
            },
            "The compile step ended with exit code 1 on e1 after 500 ms (compile error)."
            " See compile_stderr for what it says.",
        ),
        (
            {"compile": a_step_result(cached=True)},
            "The program ended with exit code 0 on e1 after 500 ms. It was compiled before (cached).",
        ),
        (
            {
                "verdict": Verdict.TIME_LIMIT,
                "compile": a_step_result(limit="wall"),
                "execute": None,
            },
            "The compile step was stopped at its limit wall (1 min) on e1 after 500 ms"
            " (time limit). Let it use less, or submit it again with a larger limits.wall.",
        ),
    ],
)
def test_a_program_that_ran_tells_what_it_did_and_what_to_do(
    result: dict[str, Any], text: str
) -> None:
    assert told(done(**result)) == text


def test_a_program_that_misses_the_network_is_told_that_it_is_off() -> None:
    step = a_step_result(exit_code=1, stderr=b"curl: (6) Could not resolve host: x.org")
    text = told(done(verdict=Verdict.RUNTIME_ERROR, execute=step))
    assert "the network, which is off for this task" in text
    task = done(verdict=Verdict.RUNTIME_ERROR, execute=step)
    assert "network" not in told(msgspec.structs.replace(task, spec=a_spec(network=True)))


@pytest.mark.parametrize(
    ("mask", "why", "what_to_do"),
    [
        (ErrorMask.TOO_MANY_ERRORS, "2 attempts came to nothing", "accord doctor"),
        (ErrorMask.TOO_MANY_LOST, "1 executor went silent", "lower its limits"),
        (ErrorMask.TOO_MANY_REPLICAS, "3 attempts gave no result", "raise max_total_replicas"),
        (ErrorMask.TOO_MANY_SUCCESSES, "of 0 results no 1 agree", "the same on every run"),
        (ErrorMask.COULDNT_SEND, "for 1 h no executor", "Start an executor"),
        (ErrorMask.DEADLINE, "its deadline of 50 s", "a longer deadline"),
        (ErrorMask.BAD_INPUT, "cannot be used", "Mend it"),
    ],
)
def test_a_failed_task_tells_why_and_what_to_do(mask: ErrorMask, why: str, what_to_do: str) -> None:
    faults = (over(0, Outcome.CLIENT_ERROR), over(1, Outcome.NO_REPLY))
    task = a_task(
        spec=a_spec(deadline=50.0),
        replicas=(*faults, over(2, Outcome.CLIENT_ERROR, message="Bad zip.")),
        error_mask=int(mask),
        done_time=NOW,
    )
    text = told(task)
    assert why in text
    assert "Attempt 3 failed on e1: Bad zip." in text
    assert what_to_do in text


def test_a_cancelled_task_tells_how_long_it_took() -> None:
    task = a_task(
        replicas=(over(0, Outcome.ABORTED),),
        error_mask=int(ErrorMask.CANCELLED),
        cancel_requested_at=NOW,
        done_time=NOW + 0.25,
    )
    assert told(task) == (
        "Cancelled 250 ms after it was asked for; nothing of it runs any more."
        " Retry makes a new task of it."
    )


def test_every_status_that_a_task_can_have_is_explained() -> None:
    """Skipped is for a dependency that failed, which no task can have."""
    from accord.core.explain import _TEXTS

    assert set(_TEXTS) == set(Status) - {Status.SKIPPED}


@pytest.mark.parametrize("verdict", [Verdict.WRONG_ANSWER, Verdict.FORMAT_ERROR])
def test_a_judged_output_is_told_by_its_verdict(verdict: Verdict) -> None:
    task = done(verdict=verdict)
    assert status_of(task).value == verdict.value
    assert f"({verdict.replace('_', ' ')})" in told(task)


def test_an_unnamed_executor_does_not_trip_it() -> None:
    task = a_task(replicas=(over(0, Outcome.NO_REPLY, executor=ExecutorName("x")), a_replica(1)))
    assert "Attempt 1 failed on x: no reply." in told(task)
