"""Adding tasks: checked, given ids and their first replicas, stored all or none."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accord.core.errors import AccordError, Invalid, KeyReused
from accord.core.ids import TaskId, UserName
from accord.core.lifecycle import submitted
from accord.core.limits import Limits
from accord.core.policy import Policy
from accord.core.task import NewTask, Task
from accord.ports.blobs import Blobs
from accord.ports.clock import Ids
from accord.ports.store import Store
from accord.services.admission import MOST_TASKS, check, check_blobs


class Adding:
    """See the module's docstring."""

    def __init__(self, store: Store, blobs: Blobs, ids: Ids, caps: Limits, policy: Policy) -> None:
        self._store = store
        self._blobs = blobs
        self._ids = ids
        self._caps = caps
        self._policy = policy

    def add(self, new: Sequence[NewTask]) -> list[Task]:
        """Add them (port ``Judicator.add``)."""
        if len(new) > MOST_TASKS:
            raise Invalid(f"At most {MOST_TASKS} tasks are added at once.", field="tasks")
        for number, one in enumerate(new):
            self._check(one, number if len(new) > 1 else None)
        _check_keys(new)
        now = self._store.now()
        tasks = [submitted(one, self._ids.task(now), now, self._policy) for one in new]
        stored = self._store.add(tasks) if tasks else []
        self._check_same(new, tasks, stored)
        return stored

    def _check(self, one: NewTask, number: int | None) -> None:
        try:
            check(one, self._caps)
            check_blobs(one, self._blobs)
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
            if there.id not in ours and not _same(one, there):
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


def _same(one: NewTask, there: Task) -> bool:
    asked = {f: getattr(one, f) for f in NewTask.__struct_fields__}
    return all(getattr(there, f) == value for f, value in asked.items())


def again(task: Task, retry_of: TaskId) -> NewTask:
    """The content of a task, to be run once more as a new one. The key stays with the first."""
    fields = {f: getattr(task, f) for f in NewTask.__struct_fields__}
    return msgspec.structs.replace(NewTask(**fields), key=None, retry_of=retry_of)
