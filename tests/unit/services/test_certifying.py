"""Issuing certificates over a store: deleted files, other processes, and what is too large."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.adapters.signing import verify
from accord.core.certificate import check
from accord.core.errors import TooLarge
from accord.core.policy import Policy
from accord.core.replica import Stage, content
from accord.core.task import Files, Task
from accord.core.validation import validate
from tests.builders import NOW, a_result, a_task_of, over
from tests.unit.services.judicator_world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def stored(world: World, paths: tuple[str, ...] = ("a",), **changes: Any) -> Task:
    """A task on which two agreed."""
    kept = {path: content(b"1") for path in paths}
    replicas = tuple(over(n, result=a_result(kept=kept), executor=f"e{n}") for n in range(2))
    task = a_task_of("", replicas=replicas, need_validate=True, **changes)
    world.store.add([task := validate(task, NOW, Policy())])
    return task


def test_every_process_over_the_store_signs_with_the_same_key(world):
    task = stored(world)
    first = world.judicator
    other = world.new_judicator()
    assert check(other.certificate(task.id), first.public_key(), verify).agreed == 2


def test_a_certificate_outlives_the_files(world):
    task = stored(world)
    key = world.judicator.public_key()
    before = check(world.judicator.certificate(task.id), key, verify)
    gone = tuple(
        msgspec.structs.replace(r, file_delete_state=Stage.DONE)
        for r in world.store.get([task.id])[task.id].replicas
    )
    world.store.apply([msgspec.structs.replace(task, replicas=gone, file_delete_state=Stage.DONE)])
    world.clock.advance(90 * 86400)
    after = check(world.judicator.certificate(task.id), key, verify)
    assert after == msgspec.structs.replace(before, issued=after.issued)
    assert after.issued == before.issued + 90 * 86400


def test_what_would_be_too_large_is_refused(world):
    paths = tuple(f"{n:0500}" for n in range(2000))
    task = stored(world, paths, comparator=Files(paths=paths))
    with pytest.raises(TooLarge) as caught:
        world.judicator.certificate(task.id)
    assert caught.value.fields["bound"] == 1 << 20
