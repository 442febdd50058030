"""What every registry must do: one test for each sentence of ``ports.registry.Registry``.

``RegistrySuite`` holds for all, also for one whose only judicator stands in the configuration;
``SharedRegistrySuite`` adds what several that compete can see of each other.
"""

from __future__ import annotations

from functools import partial

from accord.ports.clock import Clock
from accord.ports.registry import Member, Registry
from accord.testing.clock import FakeClock
from accord.testing.together import together

MEMBER = Member(name="j1", address="127.0.0.1:7001")
TTL = 10.0


class RegistrySuite:
    """See the module's docstring. One judicator, ``MEMBER``."""

    clock: FakeClock
    registry: Registry

    def open_registry(self, clock: Clock) -> Registry:
        """A new registry in which nobody leads yet. May be called again within a test for one
        after a restart.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how a registry is made")

    def setup_method(self) -> None:
        """Open a registry for each test."""
        self.clock = FakeClock()
        self.registry = self.open_registry(self.clock)

    def campaign(self, name: str = "j1") -> int:
        """Become the leader; the term."""
        term = self.registry.campaign(name, TTL)
        assert term is not None
        return term

    def test_an_announced_judicator_is_there(self) -> None:
        self.registry.announce(MEMBER, TTL)
        assert list(self.registry.judicators()) == [MEMBER]
        self.registry.announce(MEMBER, TTL)
        assert list(self.registry.judicators()) == [MEMBER]

    def test_withdraw_may_be_called_twice_and_for_strangers(self) -> None:
        self.registry.announce(MEMBER, TTL)
        for name in ("j1", "j1", "stranger"):
            self.registry.withdraw(name)

    def test_who_campaigns_where_nobody_leads_becomes_the_leader(self) -> None:
        assert self.registry.leader() is None
        self.campaign()
        assert self.registry.leader() == "j1"

    def test_terms_rise_strictly(self) -> None:
        terms = []
        for _ in range(3):
            terms.append(self.campaign())
            self.registry.resign("j1", terms[-1])
        assert terms == sorted(set(terms))

    def test_a_term_holds_while_it_is_renewed(self) -> None:
        term = self.campaign()
        for _ in range(5):
            self.clock.advance(TTL - 1)
            assert self.registry.renew("j1", term, TTL)
        assert self.registry.leader() == "j1"

    def test_only_the_latest_term_of_its_holder_is_renewed(self) -> None:
        term = self.campaign()
        assert not self.registry.renew("j1", term + 1, TTL)
        assert not self.registry.renew("j1", term - 1, TTL)
        assert not self.registry.renew("j2", term, TTL)

    def test_a_resigned_term_is_over(self) -> None:
        term = self.campaign()
        self.registry.resign("j1", term)
        assert not self.registry.renew("j1", term, TTL)
        assert self.registry.leader() is None
        self.registry.resign("j1", term)

    def test_resigning_does_nothing_to_a_later_term(self) -> None:
        first = self.campaign()
        self.registry.resign("j1", first)
        second = self.campaign()
        self.registry.resign("j1", first)
        self.registry.resign("j2", second)
        assert self.registry.renew("j1", second, TTL)


class SharedRegistrySuite(RegistrySuite):
    """What holds besides where several judicators come and go."""

    def test_announcements_end_after_their_time_unless_renewed(self) -> None:
        other = Member(name="j0", address="127.0.0.1:7002")
        self.registry.announce(MEMBER, TTL)
        self.registry.announce(other, TTL)
        assert list(self.registry.judicators()) == [other, MEMBER]
        self.clock.advance(TTL - 1)
        self.registry.announce(MEMBER, TTL)
        self.clock.advance(1)
        assert list(self.registry.judicators()) == [MEMBER]

    def test_a_renewed_announcement_may_change_the_address(self) -> None:
        self.registry.announce(MEMBER, TTL)
        moved = Member(name="j1", address="127.0.0.1:7009")
        self.registry.announce(moved, TTL)
        assert list(self.registry.judicators()) == [moved]

    def test_a_withdrawn_announcement_is_gone(self) -> None:
        self.registry.announce(MEMBER, TTL)
        self.registry.withdraw("j1")
        assert list(self.registry.judicators()) == []

    def test_nobody_else_becomes_leader_while_a_term_holds(self) -> None:
        self.campaign()
        assert self.registry.campaign("j2", TTL) is None
        assert self.registry.leader() == "j1"

    def test_a_term_ends_after_its_time(self) -> None:
        term = self.campaign()
        self.clock.advance(TTL)
        assert self.registry.leader() is None
        assert not self.registry.renew("j1", term, TTL)
        assert self.campaign("j2") > term

    def test_of_many_that_campaign_at_once_one_leads(self) -> None:
        rivals = [f"j{n}" for n in range(8)]
        terms = together([partial(self.registry.campaign, name, TTL) for name in rivals])
        assert sum(term is not None for term in terms) == 1
        leader = self.registry.leader()
        assert leader is not None
        assert terms[rivals.index(leader)] is not None
