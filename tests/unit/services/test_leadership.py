"""Terms are won, renewed, trusted for less than they last, and given back."""

from __future__ import annotations

import pytest

from accord.adapters.memory.registry import MemoryRegistry
from accord.core.errors import Unavailable
from accord.ports.registry import Member
from accord.services.leadership import Leadership
from accord.testing.clock import FakeClock

TTL = 10.0


class SlowRegistry(MemoryRegistry):
    """A registry whose answers take their time, or that is away."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.slow = 0.0
        self.away = False
        self._fake = clock

    def campaign(self, name: str, ttl: float) -> int | None:
        won = super().campaign(name, ttl)
        self._fake.advance(self.slow)
        return won

    def announce(self, member: Member, ttl: float) -> None:
        if self.away:
            raise Unavailable
        super().announce(member, ttl)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> SlowRegistry:
    return SlowRegistry(clock)


def leadership(registry: SlowRegistry, clock: FakeClock, name: str = "a") -> Leadership:
    return Leadership(registry, clock, Member(name=name, address=f"{name}:7001"), TTL)


def test_the_first_to_campaign_leads_and_the_other_does_not(
    registry: SlowRegistry, clock: FakeClock
) -> None:
    first, second = leadership(registry, clock), leadership(registry, clock, "b")
    first.step()
    second.step()
    assert (first.leading, second.leading) == (True, False)
    assert (first.term, second.term) == (1, None)
    assert [m.name for m in registry.judicators()] == ["a", "b"]


def test_a_term_is_renewed_for_as_long_as_it_is_stepped(
    registry: SlowRegistry, clock: FakeClock
) -> None:
    first = leadership(registry, clock)
    for _ in range(10):
        pause = first.step()
        assert first.leading
        clock.advance(pause)
    assert first.term == 1


def test_a_term_is_trusted_for_less_than_it_lasts(registry: SlowRegistry, clock: FakeClock) -> None:
    first = leadership(registry, clock)
    first.step()
    clock.advance(TTL * 0.95)
    assert not first.leading
    assert registry.campaign("b", TTL) is None  # the registry would still hold it


def test_trust_counts_from_when_the_attempt_began(registry: SlowRegistry, clock: FakeClock) -> None:
    registry.slow = 6.0
    first = leadership(registry, clock)
    first.step()
    assert first.leading
    clock.advance(3.5)
    assert not first.leading


def test_whoever_cannot_reach_the_registry_stops_leading_by_itself(
    registry: SlowRegistry, clock: FakeClock
) -> None:
    first = leadership(registry, clock)
    first.step()
    registry.away = True
    for _ in range(3):
        clock.advance(TTL / 3)
        with pytest.raises(Unavailable):
            first.step()
    assert not first.leading
    second = leadership(registry, clock, "b")
    registry.away = False
    clock.advance(1)
    second.step()
    first.step()
    assert (first.leading, second.leading) == (False, True)
    assert second.term == 2


def test_a_stop_gives_the_term_back_at_once_and_withdraws(
    registry: SlowRegistry, clock: FakeClock
) -> None:
    first, second = leadership(registry, clock), leadership(registry, clock, "b")
    first.step()
    first.stop()
    first.stop()
    assert not first.leading
    assert registry.judicators() == []
    second.step()
    assert second.leading


def test_a_belated_stop_does_nothing_to_a_later_term(
    registry: SlowRegistry, clock: FakeClock
) -> None:
    first, second = leadership(registry, clock), leadership(registry, clock, "b")
    first.step()
    clock.advance(TTL + 1)
    second.step()
    first.stop()
    assert second.leading
    assert registry.leader() == "b"


def test_gaining_a_term_is_told_once(registry: SlowRegistry, clock: FakeClock) -> None:
    told = []
    member = Member(name="a", address="a:7001")
    first = Leadership(registry, clock, member, TTL, lambda: told.append(1))
    first.step()
    first.step()
    assert told == [1]
