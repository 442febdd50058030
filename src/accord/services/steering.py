"""What a person does with an executor."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from accord import logs
from accord.core.errors import Invalid, NotFound
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.lifecycle import Lost
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.polls import Polls
from accord.services.reputation import Reputation
from accord.services.roster import Roster

_log = logs.get("judicator")
_replace = msgspec.structs.replace


class Steering:
    """Draining ends with the executor's next start; a person's quarantine holds until it is
    released, which also ends those that its failures brought it.
    """

    def __init__(
        self,
        store: Store,
        changes: Changes,
        roster: Roster,
        polls: Polls,
        reputation: Reputation,
    ) -> None:
        self._reputation = reputation
        self._store = store
        self._changes = changes
        self._roster = roster
        self._polls = polls

    def steer(self, name: ExecutorName, verb: str) -> Executor:
        """Do it (port ``Judicator.steer``)."""
        if verb == "forget":
            return self._forget(name)
        change = _VERBS.get(verb)
        if change is None:
            known = ", ".join([*_VERBS, "forget"])
            raise Invalid(f"There is no verb {verb!r}. There are: {known}.", field="verb")
        _, after = self._roster.edit(name, lambda there: change(_known(there, name)))
        if verb == "release":
            self._reputation.release(name)
        _log.info("An executor was steered", extra={"action": verb, "executor": name})
        self._polls.look((name,))  # a released one may have work at once
        return after

    def _forget(self, name: ExecutorName) -> Executor:
        self._roster.refresh()
        there = _known(self._roster.get(name), name)
        if there.state is not ExecutorState.LOST:
            raise _cannot(there, "forgotten: only a lost one can be. Stop it first")
        held = self._store.held_by(name)
        self._changes.many_of(held, {task.id: (Lost(executor=name),) for task in held})
        self._roster.forget(name)
        self._reputation.forget(name)
        _log.info("An executor was forgotten", extra={"action": "forget", "executor": name})
        return there


def _drain(there: Executor) -> Executor:
    if there.state in (ExecutorState.LOST, ExecutorState.QUARANTINED):
        raise _cannot(there, "drained: it gets no work anyway")
    return _with(there, ExecutorState.DRAINING)


def _quarantine(there: Executor) -> Executor:
    state = there.state if there.state is ExecutorState.LOST else ExecutorState.QUARANTINED
    return _with(there, state, held=True)


def _release(there: Executor) -> Executor:
    if there.state is ExecutorState.LOST:
        if not there.held:
            raise _cannot(there, "released: it gets work once it comes back")
        return _with(there, ExecutorState.LOST)
    return _with(there, ExecutorState.ONLINE)


_VERBS: dict[str, Callable[[Executor], Executor]] = {
    "drain": _drain,
    "quarantine": _quarantine,
    "release": _release,
}


def _with(there: Executor, state: ExecutorState, *, held: bool = False) -> Executor:
    if (there.state, there.held) == (state, held):
        return there
    return _replace(there, state=state, held=held)


def _known(there: Executor | None, name: ExecutorName) -> Executor:
    if there is None:
        raise NotFound(f"There is no executor {name}.", executor=name)
    return there


def _cannot(there: Executor, what: str) -> Invalid:
    return Invalid(f"{there.name} is {there.state} and cannot be {what}.", field="verb")
