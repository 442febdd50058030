"""The clocks and makers of names keep the port's contract."""

import threading

import pytest

from accord.adapters.system import SystemClock, SystemIds
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.clock_suite import ClockSuite, IdsSuite
from accord.testing.together import in_background


class TestSystemClock(ClockSuite):
    def make_clock(self):
        return SystemClock()

    def let_pass(self, seconds):
        """It passes by itself."""


class TestFakeClock(ClockSuite):
    clock: FakeClock

    def make_clock(self):
        return FakeClock()

    def let_pass(self, seconds):
        self.clock.wait_for_waiters(1)
        self.clock.advance(seconds)

    def test_it_moves_by_hand_only(self):
        before = (self.clock.now(), self.clock.monotonic())
        assert (self.clock.now(), self.clock.monotonic()) == before
        self.clock.advance(1.5)
        assert (self.clock.now(), self.clock.monotonic()) == (before[0] + 1.5, before[1] + 1.5)
        with pytest.raises(ValueError, match="forward"):
            self.clock.advance(-1)

    def test_set_now_moves_the_wall_clock_alone(self):
        self.clock.set_now(5.0)
        assert (self.clock.now(), self.clock.monotonic()) == (5.0, 0.0)

    def test_waits_end_one_by_one_as_their_time_comes(self):
        def wait(seconds):
            return self.clock.wait_event(threading.Event(), seconds)

        short, long = in_background(lambda: wait(5)), in_background(lambda: wait(9))
        self.clock.wait_for_waiters(2)
        assert self.clock.deadlines() == [5, 9]
        self.clock.advance(5)
        assert short() is False
        assert self.clock.waiters == 1
        self.clock.advance(4)
        assert long() is False
        assert self.clock.waiters == 0

    def test_others_on_a_condition_wait_on_when_the_time_of_one_is_over(self):
        condition = threading.Condition()
        ready: list[bool] = []

        def wait(seconds):
            with condition:
                while not ready and self.clock.wait(condition, seconds):
                    pass
                return bool(ready)

        short, long = in_background(lambda: wait(5)), in_background(lambda: wait(9))
        self.clock.wait_for_waiters(2)
        self.clock.advance(5)
        assert short() is False
        with condition:
            ready.append(True)
            condition.notify_all()
        assert long() is True

    def test_nobody_who_waits_is_told_of(self):
        with pytest.raises(TimeoutError, match="1 waiters were expected"):
            self.clock.wait_for_waiters(1, patience=0)


class TestSystemIds(IdsSuite):
    def make_ids(self):
        return SystemIds()

    def test_two_processes_make_different_names(self):
        one, other = SystemIds(), SystemIds()
        assert one.task(1.0) != other.task(1.0)
        assert one.session() != other.session()
        assert one.token() != other.token()


class TestFakeIds(IdsSuite):
    def make_ids(self):
        return FakeIds()

    def test_names_repeat_in_every_run(self):
        one, other = FakeIds(), FakeIds()
        assert one.task(1.0) == other.task(1.0)
        assert (one.session(), one.token()) == (other.session(), other.token())
