"""The executor: takes replicas from a judicator, runs them in boxes, and delivers how they ended.

``Executor`` puts the parts together and owns their threads: slots (``slots``), two pollers and a
pusher (``links``), an uploader (``uploads``). They meet in ``holdings``; finished results lie in
``spool`` until they are stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from accord import logs
from accord.config import Settings
from accord.core.errors import SandboxError
from accord.core.executor import Isolation
from accord.core.languages import PRESETS, Preset
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Judicator
from accord.ports.sandbox import Sandbox
from accord.services import machine
from accord.services.cache import Cache
from accord.services.compiles import Compiles
from accord.services.guarding import check_guarded
from accord.services.holdings import Holdings
from accord.services.inputs import Inputs
from accord.services.links import POLLERS, Link, PollLink, PushLink
from accord.services.outbox import Outbox
from accord.services.run import Tools
from accord.services.slots import Slot
from accord.services.spool import Spool
from accord.services.toolchains import Toolchains, presets_with
from accord.services.uploads import Uploader
from accord.services.watchdog import Watchdog

KILL_BOUND = 10.0
"""Seconds that killed runs get to be seen empty, at a stop."""
DELIVERY_BOUND = 5.0
"""Seconds; an outage of the judicator at the same moment must not hold up the stop for longer."""
HUNG_BOUND = 1.0
"""Seconds for each thread to end where reports hang: some will not."""
_RESTART = 1.0
"""Seconds before a thread that failed goes on."""

_log = logs.get("executor")


class Executor:
    """One machine's executor, from ``start`` to ``stop``; both may be called twice.

    ``polls`` and ``pushes`` are two ways to one judicator, so that a held poll delays nothing;
    ``rebuild`` makes their connections anew, and fails the calls that are under way.
    ``judicators`` are the addresses that no program with network may reach.
    ``data`` is the executor's own directory, ``home`` what ``~`` means in presets, ``delivery`` for how
    many seconds a stop tries to deliver; what is left then stays in the spool.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        *,
        polls: Judicator,
        pushes: Judicator,
        sandbox: Sandbox,
        clock: Clock,
        ids: Ids,
        home: Path | None = None,
        presets: Mapping[str, Preset] = PRESETS,
        delivery: float = DELIVERY_BOUND,
        rebuild: Callable[[], None] = lambda: None,
        judicators: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._data = data
        self._polls = polls
        self._pushes = pushes
        self._sandbox = sandbox
        self._clock = clock
        self._ids = ids
        self._toolchains = Toolchains(
            settings.sandbox.mounts,
            home or Path.home(),
            presets_with(settings.executor.languages, presets),
        )
        self._delivery = delivery
        self._rebuild = rebuild
        self._judicators = judicators
        self._slots = machine.slots(settings.executor)
        self._spool = Spool(data / "spool")
        self._holdings = Holdings(clock, self._slots, lambda: self._spool.full)
        self._lock = machine.DirectoryLock(data)
        self._calls = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._poll_link: PollLink | None = None
        self._stopped = False
        self._over = threading.Event()
        self._failure: str | None = None
        self._hung = False

    @property
    def failure(self) -> str | None:
        """Why the executor cannot go on, where that is so; it is then to be stopped."""
        return self._failure

    @property
    def hung(self) -> bool:
        """Whether that is because reports hang: another process may fare better."""
        return self._hung

    @property
    def languages(self) -> dict[str, str]:
        """The languages that were found at the start, with their versions."""
        return dict(self._toolchains.versions)

    def start(self) -> None:
        """Check the box, find the languages, take over the spool, and begin to take work.

        Raises SandboxError where programs cannot be run safely here, NameTaken where another
        process has the data directory.
        """
        with self._calls:
            if self._threads or self._stopped:
                return
            self._lock.acquire()
            try:
                self._begin()
            except BaseException:  # whatever it is, the directory must be free for the next attempt
                self._lock.release()
                raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the executor cannot go on or was stopped; whether that is so."""
        return self._clock.wait_event(self._over, timeout)

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more work, hand back what waits, and let runs finish, at most ``timeout``
        seconds; whether they did. Their results are delivered as ever.
        """
        self._holdings.drain()
        return self._holdings.wait_for_runs(timeout)

    def stop(self) -> None:
        """Drain for as long as the settings say, kill the rest, deliver what can be, and end."""
        with self._calls:
            if self._stopped:
                return
            self._stopped = True
            if self._threads:
                self._end()
            self._sandbox.close()
            self._lock.release()
            self._over.set()

    # -- the start -----------------------------------------------------------------------

    def _begin(self) -> None:
        isolation = self._isolation()
        self._check_network()
        self._toolchains.probe(self._sandbox, self._slots)
        info = machine.executor_info(
            self._settings.executor,
            key=machine.instance_key(self._data, self._ids),
            session=self._ids.session(),
            languages=self._toolchains.versions,
            isolation=isolation,
            network=self._settings.sandbox.network,
        )
        self._holdings.restore(self._spool.restore())
        lease = self._settings.executor.lease
        watchdog = Watchdog(self._clock, lease, self._rebuild, self._hangs)
        link = Link(info, self._holdings, self._clock, self._ids, self._fail, watchdog)
        self._start_threads(link)
        _log.info(
            "The executor is ready",
            extra={
                "action": "ready",
                "executor": info.name,
                "slots": self._slots,
                "isolation": isolation.level,
                "languages": sorted(info.languages),
            },
        )

    def _isolation(self) -> Isolation:
        isolation = self._sandbox.isolation()
        bad = {
            name: found
            for name, found in isolation.checks.items()
            if not found.startswith(("held", "not run"))
        }
        if bad:
            listed = "; ".join(f"{name}: {found}" for name, found in sorted(bad.items()))
            raise SandboxError(
                f"The box does not hold on this machine, so nothing is run: {listed}."
            )
        return isolation

    def _check_network(self) -> None:
        chosen = self._settings.sandbox
        if chosen.network and not chosen.network_unguarded:
            first = self._settings.executor.first_uid
            check_guarded(self._sandbox, self._judicators, range(first, first + self._slots))

    def _start_threads(self, link: Link) -> None:
        settings = self._settings.executor
        cache = Cache(self._data / "cache", settings.cache_bytes)
        inputs = Inputs(self._pushes, self._data / "spool", cache, self._clock, self._ids)
        tools = Tools(
            sandbox=self._sandbox,
            inputs=inputs,
            compiles=Compiles(cache, self._clock, self._toolchains),
            spool=self._spool,
            toolchains=self._toolchains,
            holdings=self._holdings,
            settings=self._settings.sandbox,
        )
        self._poll_link = PollLink(link, self._polls, settings)
        outbox = Outbox(self._holdings, self._spool, self._clock)
        push = PushLink(link, self._pushes, outbox, settings)
        uploads = Uploader(self._pushes, self._holdings, self._spool, self._clock, self._ids)
        for number in range(self._slots):
            self._thread(f"slot-{number}", Slot(number, tools, self._exhausted).run)
        for number in range(POLLERS):
            self._thread(f"poll-{number}", self._poll_link.run)
        self._thread("push", push.run)
        self._thread("uploads", uploads.run)
        self._thread("watchdog", lambda: link.watchdog.run(self._holdings.ended))

    def _thread(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(
            target=self._supervised, args=(name, body), name=f"executor-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _supervised(self, name: str, body: Callable[[], None]) -> None:
        while not self._holdings.closed:
            try:
                body()
            except Exception:  # noqa: BLE001 - the supervised place of its threads
                _log.exception(
                    "A thread of the executor failed; it goes on in a moment",
                    extra={"action": "thread_failed", "part": name},
                )
                self._clock.wait_event(self._holdings.ended, _RESTART)
            else:
                return

    # -- the end -------------------------------------------------------------------------

    def _exhausted(self) -> None:
        self._fail("No slot is left whose box could be emptied. Restart the executor.")

    def _hangs(self, message: str) -> None:
        self._hung = True
        self._fail(message)

    def _fail(self, message: str) -> None:
        if self._failure is None:
            self._failure = message
            _log.error("The executor cannot go on", extra={"action": "failed", "why": message})
        self._over.set()

    def _end(self) -> None:
        patience = 0.0 if self._failure else self._settings.executor.drain
        if not self.drain(patience):
            self._holdings.stop_all()
            self._holdings.wait_for_runs(KILL_BOUND)
        delivered = not self._failure and self._holdings.wait_for_delivery(self._delivery)
        self._holdings.close()
        if self._hung:
            self._rebuild()  # so that the calls under way end
        elif self._poll_link is not None:
            self._poll_link.farewell()
        bound = HUNG_BOUND if self._hung else self._settings.executor.poll + KILL_BOUND
        for thread in self._threads:
            thread.join(bound)
        left = [thread.name for thread in self._threads if thread.is_alive()]
        _log.info(
            "The executor has stopped",
            extra={"action": "stopped", "all_delivered": delivered, "threads_left": left},
        )
