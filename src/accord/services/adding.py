"""Adding tasks: checked, given ids and their first replicas, stored all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from accord.core.errors import AccordError, Invalid, KeyReused
from accord.core.ids import BatchId, TaskId, UserName
from accord.core.lifecycle import Origin, submitted, unfit
from accord.core.limits import Limits
from accord.core.parameters import Axis, Rows, fill
from accord.core.policy import Policy
from accord.core.task import NewTask, Scalar, Task
from accord.ports.assimilator import Assimilator
from accord.ports.blobs import Blobs
from accord.ports.clock import Ids
from accord.ports.store import Store
from accord.services.admission import MOST_TASKS, check, check_blobs, check_stored


class Adding:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        ids: Ids,
        caps: Limits,
        policy: Policy,
        handlers: Mapping[str, Assimilator],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._ids = ids
        self._caps = caps
        self._policy = policy
        self._handlers = handlers

    def add(self, new: Sequence[NewTask]) -> list[Task]:
        """Add them (port ``Judicator.add``)."""
        self.check_all(new)
        _check_keys(new)
        now = self._store.now()
        tasks = [self.made(one, self._ids.task(now), now) for one in new]
        stored = self._store.add(tasks) if tasks else []
        self._check_same(new, tasks, stored)
        return stored

    def made(self, one: NewTask, id_: TaskId, now: float, origin: Origin = Origin()) -> Task:
        """The task as it is stored first. Invalid."""
        return submitted(one, id_, now, self._policy, origin)

    def filled(
        self,
        template: NewTask,
        values: Mapping[str, Scalar],
        id_: TaskId,
        now: float,
        batch: BatchId,
    ) -> Task:
        """The task that a template makes of these values. One that comes out unfit to be run ends
        at once, as failed, and says why: the others of its batch go on.
        """
        origin = Origin(batch=batch, parameters=values)
        try:
            new = fill(template, values)
            self._check_alone(new)
        except Invalid as error:
            why = f"The template gives no valid task for these parameters: {error.message}"
            return unfit(template, id_, now, self._policy, origin, why)
        return self.made(new, id_, now, origin)

    def check_all(self, new: Sequence[NewTask]) -> None:
        """Check what one call brings. Invalid, NotFound, naming the index."""
        if len(new) > MOST_TASKS:
            raise Invalid(f"At most {MOST_TASKS} tasks are added at once.", field="tasks")
        for number, one in enumerate(new):
            self._check(one, number if len(new) > 1 else None)

    def check(self, one: NewTask) -> None:
        """Check one. Invalid, NotFound."""
        self._check_alone(one)
        check_blobs(one, self._blobs)

    def check_rows(self, axes: Sequence[Axis]) -> None:
        """Check that tables are stored. NotFound, Invalid."""
        for axis in axes:
            if isinstance(axis, Rows):
                check_stored("csv", axis.rows, self._blobs)

    def _check_alone(self, one: NewTask) -> None:
        check(one, self._caps, self._handlers, network=self._policy.network_allowed)

    def _check(self, one: NewTask, number: int | None) -> None:
        try:
            self.check(one)
        except AccordError as error:
            if number is not None:
                error.fields["index"] = number
            raise

    def _check_same(
        self, new: Sequence[NewTask], tasks: Sequence[Task], stored: Sequence[Task]
    ) -> None:
        """Where a key was taken, it must have been by the same content: else none is added."""
        ours = {task.id for task in tasks}
        for number, (one, there) in enumerate(zip(new, stored, strict=True)):
            if there.id not in ours and not same(one, there):
                self._store.purge([t.id for t in stored if t.id in ours])
                raise KeyReused(key=one.key, id=there.id, index=number)


def _check_keys(new: Sequence[NewTask]) -> None:
    """Two tasks of one call may share a key only where they are the same."""
    seen: dict[tuple[UserName, str], NewTask] = {}
    for number, one in enumerate(new):
        if one.key is None:
            continue
        first = seen.setdefault((one.user, one.key), one)
        if first != one:
            raise KeyReused(key=one.key, index=number)


def same(one: NewTask, there: Task) -> bool:
    """Whether a stored task is what was asked for."""
    asked = {f: getattr(one, f) for f in NewTask.__struct_fields__}
    return all(getattr(there, f) == value for f, value in asked.items())


def again(task: Task, retry_of: TaskId) -> NewTask:
    """The content of a task, to be run once more as a new one. The key stays with the first."""
    fields = {f: getattr(task, f) for f in NewTask.__struct_fields__}
    return msgspec.structs.replace(NewTask(**fields), key=None, retry_of=retry_of)
