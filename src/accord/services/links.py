"""The two connections to a judicator: the poll takes orders, the push delivers.

A poll is held by the judicator until there is work, but it speaks of the vacancy of the moment when
it was sent. So there are two pollers: while one is held, the other sends a new poll as soon as more
slots are free than the held one told; the judicator answers the older at once (Superseded), and its
poller stands by. A slot that comes free has thus its next task after one exchange, and cancellations
arrive at any time. Where runs are shorter than that takes, the vacancy counts some work ahead too
(``pace``); for the sake of that alone no poll is superseded.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from accord import logs
from accord.config import ExecutorSettings
from accord.core.errors import AccordError, NameTaken, Superseded, Unavailable, UnknownSession
from accord.core.executor import ExecutorInfo
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Judicator, Orders, Report
from accord.services.backoff import Backoff
from accord.services.holdings import Holdings
from accord.services.outbox import Batch, Outbox
from accord.services.watchdog import Watchdog

POLLERS = 2
LINGER = 0.02
"""Seconds without a poll after the last slot was filled: a short program is over by then, and its
slot need not supersede anything."""
UNCHANGED_FIRST, UNCHANGED_MOST = 0.02, 0.25
"""The pauses after answers that came before their time and told nothing new."""

_log = logs.get("executor.links")


class Link:
    """What both links share: who we are, and whether the judicator knows it."""

    def __init__(
        self,
        info: ExecutorInfo,
        holdings: Holdings,
        clock: Clock,
        ids: Ids,
        fatal: Callable[[str], None],
        watchdog: Watchdog,
    ) -> None:
        self.info = info
        self.holdings = holdings
        self.clock = clock
        self.ids = ids
        self._fatal = fatal
        self.watchdog = watchdog
        self._introduced = False

    @property
    def introduced(self) -> bool:
        """Whether this session has been accepted."""
        return self._introduced

    def met(self, *, known: bool) -> None:
        """The judicator knows this session, or says that it does not."""
        with self.holdings.changed:
            if self._introduced is not known:
                self._introduced = known
                self.holdings.notify_everyone()

    def refused(self, error: AccordError, link: str) -> None:
        """What an error changes, apart from the pause before the next attempt."""
        if isinstance(error, UnknownSession):
            self.met(known=False)
        elif isinstance(error, NameTaken):
            self._fatal(error.message)
        elif not isinstance(error, Superseded):
            _log.warning(
                "A report did not go through",
                extra={"action": "report_failed", "link": link, "why": error.message},
            )


class PollLink:
    """Takes orders. ``run`` is the body of each of its POLLERS threads."""

    def __init__(self, link: Link, judicator: Judicator, settings: ExecutorSettings) -> None:
        self._link = link
        self._judicator = judicator
        self._settings = settings
        self._holdings = link.holdings
        self._clock = link.clock
        self._backoff = Backoff(link.ids)
        self._unchanged = Backoff(link.ids, UNCHANGED_FIRST, UNCHANGED_MOST)
        self._sequence = 0
        self._newest: Report | None = None
        """The poll under way that was sent last."""
        self._not_before = 0.0
        self._full_until = 0.0

    def run(self) -> None:
        """Poll until the holdings are closed."""
        while (report := self._next()) is not None:
            try:
                self._exchange(report)
            finally:
                with self._holdings.changed:
                    if self._newest is report:
                        self._newest = None
                        self._holdings.changed.notify_all()

    def farewell(self) -> None:
        """Tell the judicator that nothing is held any more; brings back a poll that it holds."""
        report = self._report(wait=0.0)
        try:
            self._judicator.report(report)
        except AccordError as error:
            _log.info(
                "The judicator could not be told of the end",
                extra={"action": "farewell_failed", "why": error.message},
            )

    def _next(self) -> Report | None:
        with self._holdings.changed:
            while not self._holdings.closed:
                pause = self._pause()
                if pause is not None and pause <= 0:
                    self._newest = self._report(self._wait())
                    return self._newest
                self._clock.wait(self._holdings.changed, pause)
        return None

    def _pause(self) -> float | None:
        """Seconds before the next poll; None where a change must come first."""
        now = self._clock.monotonic()
        if now < self._not_before:
            return self._not_before - now
        if self._newest is not None:
            return 0.0 if self._outdated(self._newest) else None
        if not self._holdings.hungry() and now < self._full_until:
            return self._full_until - now
        return 0.0

    def _outdated(self, held: Report) -> bool:
        if held.hello is not None:
            return False
        if not self._link.introduced or self._holdings.draining is not held.draining:
            return True
        if not held.vacant and self._holdings.hungry():
            return True
        return self._holdings.vacant() > held.vacant

    def _wait(self) -> float:
        if not self._link.introduced:
            return 0.0  # so that the push, which waits for this, may begin
        return self._settings.poll * (0.75 + 0.25 * self._link.ids.jitter())

    def _report(self, wait: float) -> Report:
        with self._holdings.changed:
            self._sequence += 1
            return Report(
                executor=self._link.info.name,
                session=self._link.info.session,
                sequence=self._sequence,
                poll=True,
                hello=None if self._link.introduced else self._link.info,
                holds=self._holdings.holds(),
                vacant=self._holdings.wanted(),
                wait=wait,
                draining=self._holdings.draining,
            )

    def _exchange(self, report: Report) -> None:
        began = self._clock.monotonic()
        try:
            with self._link.watchdog.watching("poll", report.wait):
                orders = _answer(self._judicator, report)
        except AccordError as error:
            self._failed(report, error)
            return
        self._holdings.travelled(self._clock.monotonic() - began - orders.held)
        self._backoff.reset()
        self._link.met(known=True)
        self._obey(report, orders)

    def _failed(self, report: Report, error: AccordError) -> None:
        self._link.refused(error, "poll")
        with self._holdings.changed:
            newest = self._newest is report
            again = isinstance(error, UnknownSession) and report.hello is None
            if newest and not again:
                self._not_before = self._clock.monotonic() + self._backoff.next()

    def _obey(self, report: Report, orders: Orders) -> None:
        news = self._assigned(report, orders)
        news += self._holdings.cancel(orders.cancel, self._link.info.session)
        now = self._clock.monotonic()
        with self._holdings.changed:
            self._full_until = now + LINGER
            if news or not (orders.assign or orders.cancel):
                self._unchanged.reset()
            else:
                self._not_before = now + self._unchanged.next()

    def _assigned(self, report: Report, orders: Orders) -> int:
        """Take what was assigned, save by an answer that a newer poll has overtaken: that one did
        not name it, so the judicator concludes that it never arrived, and sends it again.
        """
        with self._holdings.changed:
            return self._holdings.assign(orders.assign) if self._newest is report else 0


class PushLink:
    """Delivers, and beats the heart. ``run`` is the body of its one thread."""

    def __init__(
        self, link: Link, judicator: Judicator, outbox: Outbox, settings: ExecutorSettings
    ) -> None:
        self._link = link
        self._judicator = judicator
        self._outbox = outbox
        self._holdings = link.holdings
        self._clock = link.clock
        self._backoff = Backoff(link.ids)
        self._beat = settings.lease / 3
        self._sequence = 0
        self._last = self._clock.monotonic()
        self._not_before = 0.0
        self._failures = 0

    def run(self) -> None:
        """Push until the holdings are closed."""
        while (batch := self._next()) is not None:
            self._exchange(batch)

    def _next(self) -> Batch | None:
        with self._holdings.outgoing:
            while not self._holdings.closed:
                pause = self._pause()
                if pause is not None and pause <= 0:
                    self._holdings.push_at = (
                        -math.inf
                    )  # nobody need wake us: we look again after it
                    return self._outbox.collect()
                self._holdings.push_at = (
                    math.inf if pause is None else self._clock.monotonic() + pause
                )
                self._clock.wait(self._holdings.outgoing, pause)
        return None

    def _pause(self) -> float | None:
        if not self._link.introduced:
            return None
        now = self._clock.monotonic()
        due = self._outbox.due()
        beat = self._last + self._beat
        soonest = beat if due is None else min(beat, due)
        return max(soonest, self._not_before) - now

    def _exchange(self, batch: Batch) -> None:
        self._sequence += 1
        report = Report(
            executor=self._link.info.name,
            session=self._link.info.session,
            sequence=self._sequence,
            poll=False,
            complete=batch.complete,
            progress=batch.progress,
            output=batch.output,
            draining=self._holdings.draining,
        )
        try:
            with self._link.watchdog.watching("push", 0.0):
                orders = _answer(self._judicator, report)
        except AccordError as error:
            self._link.refused(error, "push")
            if self._failures:  # twice in a row is more than a lost answer
                self._outbox.failed(batch)
            self._failures += 1
            self._not_before = self._clock.monotonic() + self._backoff.next()
            return
        self._backoff.reset()
        self._failures = 0
        self._last = self._clock.monotonic()
        self._outbox.answered(batch, orders)
        self._holdings.cancel(orders.cancel, self._link.info.session)


def _answer(judicator: Judicator, report: Report) -> Orders:
    orders = judicator.report(report)
    if orders.sequence != report.sequence:
        raise Unavailable("A report was answered with the orders of another.")
    return orders
