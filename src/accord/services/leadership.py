"""Who runs the duties: the judicator that won the present term.

A term is trusted only until the moment at which the attempt that won or renewed it *began*, plus
its length, minus a margin: by then at the latest the registry may give it to another. Whoever
cannot renew stops by itself, without hearing from anybody. That two lead for a moment is
harmless, since every write of a duty is a compare-and-set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from accord import logs
from accord.core.errors import AccordError
from accord.ports.clock import Clock
from accord.ports.registry import Member, Registry
from accord.services.looping import Loop

MARGIN = 0.1
"""The part of a term that is not trusted, for clocks that run at different pace."""

_log = logs.get("leadership")


class Leadership:
    """Campaigns, renews, resigns; and keeps this judicator announced in the registry.

    ``gained`` is called, from the loop's thread, whenever a term begins here. ``start`` and
    ``stop`` may each be called twice.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        member: Member,
        ttl: float,
        gained: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._member = member
        self._ttl = ttl
        self._gained = gained
        self._lock = threading.Lock()
        self._term: int | None = None
        self._trusted_until = 0.0
        self._stopped = False
        self._loop = Loop("leadership", self.step, clock)

    @property
    def leading(self) -> bool:
        """Whether the term is this judicator's, as far as can be trusted now."""
        with self._lock:
            return self._term is not None and self._clock.monotonic() < self._trusted_until

    @property
    def term(self) -> int | None:
        """The number of the term that is led here, if one is."""
        return self._term if self.leading else None

    def start(self) -> None:
        """Begin to campaign."""
        self._loop.start()

    def stop(self) -> None:
        """Resign, and withdraw the announcement."""
        self._loop.stop()
        with self._lock:
            term, self._term = self._term, None
            stopped, self._stopped = self._stopped, True
        if stopped:
            return
        try:
            if term is not None:
                self._registry.resign(self._member.name, term)
            self._registry.withdraw(self._member.name)
        except AccordError as error:  # both run out by themselves
            extra = {"action": "resign_failed", "term": term}
            _log.warning("The registry could not be told of the stop", extra=extra, exc_info=error)

    def step(self) -> float:
        """Announce, then renew the term or campaign for the next; seconds until the next step."""
        self._registry.announce(self._member, self._ttl)
        if not self._renew():
            self._campaign()
        return self._ttl / 3

    def _renew(self) -> bool:
        term, began = self._term, self._clock.monotonic()
        if term is None:
            return False
        held = self._registry.renew(self._member.name, term, self._ttl)
        self._trust(term if held else None, began)
        if not held:
            _log.warning("The term was lost", extra={"action": "term_lost", "term": term})
        return held

    def _campaign(self) -> None:
        began = self._clock.monotonic()
        term = self._registry.campaign(self._member.name, self._ttl)
        self._trust(term, began)
        if term is not None:
            _log.info("A term began", extra={"action": "term_began", "term": term})
            self._gained()

    def _trust(self, term: int | None, began: float) -> None:
        with self._lock:
            self._term = term
            self._trusted_until = began + self._ttl * (1 - MARGIN)
