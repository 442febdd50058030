"""What every clock and maker of names must do: one test for each sentence of ``ports.clock``.

Subclass ``ClockSuite`` and ``IdsSuite``; the former says how time is made to pass.
"""

from __future__ import annotations

import threading
from functools import partial

from accord.core import ids
from accord.ports.clock import Clock, Ids
from accord.testing.together import in_background, together


class ClockSuite:
    """See the module's docstring."""

    clock: Clock

    def make_clock(self) -> Clock:
        """The clock."""
        raise NotImplementedError(f"{type(self).__name__} must say how a clock is made")

    def let_pass(self, seconds: float) -> None:
        """Called when somebody has begun to wait that long: see to it that the time passes."""
        raise NotImplementedError(f"{type(self).__name__} must say how time passes")

    def setup_method(self) -> None:
        """Make a clock for each test."""
        self.clock = self.make_clock()

    def test_now_is_in_seconds_since_the_epoch(self) -> None:
        assert 1.6e9 < self.clock.now() < 1e10

    def test_monotonic_never_runs_backwards(self) -> None:
        times = [self.clock.monotonic() for _ in range(1000)]
        assert times == sorted(times)

    def test_waiting_on_a_condition_ends_where_time_runs_out(self) -> None:
        condition = threading.Condition()
        before = self.clock.monotonic()
        answer = in_background(partial(self._wait, condition, 0.05))
        self.let_pass(0.05)
        assert answer() is False
        assert self.clock.monotonic() - before >= 0.05

    def _wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        with condition:
            return self.clock.wait(condition, timeout)

    def test_waiting_on_a_condition_ends_where_it_is_notified(self) -> None:
        for timeout in (3600.0, None):
            condition = threading.Condition()
            entered = threading.Event()
            answer = in_background(partial(self._wait_entered, condition, timeout, entered))
            entered.wait()
            with condition:  # taken only once the waiter has let go of it
                condition.notify()
            assert answer() is True

    def _wait_entered(
        self, condition: threading.Condition, timeout: float | None, entered: threading.Event
    ) -> bool:
        with condition:
            entered.set()
            return self.clock.wait(condition, timeout)

    def test_a_condition_is_held_again_after_the_wait(self) -> None:
        condition = threading.Condition()
        with condition:
            self.clock.wait(condition, 0)
            assert not in_background(lambda: condition.acquire(blocking=False))()

    def test_no_time_to_wait_is_over_at_once(self) -> None:
        assert self._wait(threading.Condition(), 0) is False
        assert self.clock.wait_event(threading.Event(), 0) is False

    def test_waiting_for_an_event_tells_whether_it_is_set(self) -> None:
        event = threading.Event()
        answer = in_background(partial(self.clock.wait_event, event, 0.05))
        self.let_pass(0.05)
        assert answer() is False
        event.set()
        assert self.clock.wait_event(event, 0) is True
        assert self.clock.wait_event(event, 3600) is True

    def test_waiting_for_an_event_ends_when_it_is_set(self) -> None:
        for timeout in (3600.0, None):
            event = threading.Event()
            answers = [
                in_background(partial(self.clock.wait_event, event, timeout)) for _ in range(3)
            ]
            event.set()
            assert [answer() for answer in answers] == [True] * 3


class IdsSuite:
    """See the module's docstring."""

    ids: Ids

    def make_ids(self) -> Ids:
        """The maker of names."""
        raise NotImplementedError(f"{type(self).__name__} must say how names are made")

    def setup_method(self) -> None:
        """Make one for each test."""
        self.ids = self.make_ids()

    def test_task_ids_are_ulids_of_their_time(self) -> None:
        early, late = self.ids.task(1_700_000_000.0), self.ids.task(1_700_000_000.001)
        assert ids.task_id(early) == early
        assert early[:10] == "01HF7YAT00"  # by the definition of ULIDs
        assert late[:10] == "01HF7YAT01"

    def test_task_ids_rise_strictly_within_a_millisecond(self) -> None:
        made = [self.ids.task(1_700_000_000.0) for _ in range(1000)]
        assert made == sorted(set(made))

    def test_task_ids_rise_strictly_where_time_runs_backwards(self) -> None:
        made = [self.ids.task(1_700_000_000.0 - n) for n in range(100)]
        assert made == sorted(set(made))

    def test_task_ids_of_many_threads_are_distinct(self) -> None:
        made = together([self._hundred] * 8)
        assert len({id_ for some in made for id_ in some}) == 800
        assert all(some == sorted(some) for some in made)

    def _hundred(self) -> list[str]:
        return [self.ids.task(1_700_000_000.0) for _ in range(100)]

    def test_sessions_and_tokens_are_new_each_time(self) -> None:
        assert len({self.ids.session() for _ in range(100)}) == 100
        tokens = [self.ids.token() for _ in range(100)]
        assert len({id_ for id_, _ in tokens}) == len({secret for _, secret in tokens}) == 100

    def test_a_secret_is_long_enough_and_fit_for_a_header(self) -> None:
        _, secret = self.ids.token()
        assert len(secret) >= 27  # 160 bits in base 64
        assert set(secret) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
        )

    def test_jitter_lies_between_0_and_1(self) -> None:
        assert all(0 <= self.ids.jitter() < 1 for _ in range(1000))
