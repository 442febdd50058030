"""The registries keep the port's contract; then what only the fixed one promises."""

import shutil
import tempfile
from pathlib import Path

import pytest

from accord.adapters.embedded import FixedRegistry
from accord.adapters.memory import MemoryRegistry
from accord.core.errors import Corrupt, Unavailable
from accord.ports.registry import Member
from accord.testing.registry_suite import MEMBER, TTL, RegistrySuite, SharedRegistrySuite


class TestMemoryRegistry(SharedRegistrySuite):
    def open_registry(self, clock):
        return MemoryRegistry(clock)


class TestFixedRegistry(RegistrySuite):
    def setup_method(self):
        self.folder = Path(tempfile.mkdtemp(prefix="accord-"))
        super().setup_method()

    def teardown_method(self):
        shutil.rmtree(self.folder)

    def open_registry(self, clock):
        return FixedRegistry([MEMBER], self.folder / "store" / "term")

    def test_the_members_are_those_of_the_configuration(self):
        self.registry.announce(Member(name="other", address="10.0.0.1:7001"), TTL)
        self.registry.withdraw("j1")
        assert list(self.registry.judicators()) == [MEMBER]

    def test_the_one_judicator_leads_whenever_it_asks(self):
        assert self.campaign() < self.campaign()
        assert self.registry.campaign("other", TTL) is None

    def test_terms_rise_over_restarts(self):
        before = [self.campaign(), self.campaign()]
        self.registry = self.open_registry(self.clock)
        assert self.registry.leader() is None
        assert not self.registry.renew("j1", before[-1], TTL)
        assert self.campaign() > max(before)

    def test_without_a_file_for_terms_nobody_campaigns_but_the_leader_is_known(self):
        elsewhere = FixedRegistry([MEMBER])
        assert elsewhere.campaign("j1", TTL) is None
        assert elsewhere.leader() == "j1"
        assert FixedRegistry([]).leader() is None

    def test_a_file_that_holds_no_number_is_told_of(self):
        (self.folder / "store").mkdir()
        (self.folder / "store" / "term").write_text("many\n")
        with pytest.raises(Corrupt, match="must hold the number"):
            self.campaign()

    def test_a_file_that_cannot_be_written_is_told_of(self):
        (self.folder / "store").write_text("a file where a directory is wanted")
        with pytest.raises(Unavailable, match="term"):
            self.campaign()
