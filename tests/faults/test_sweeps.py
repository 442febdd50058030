"""A sweep whose generator is killed again and again makes every task, and none of them twice."""

from __future__ import annotations

import random  # noqa: TID251  # seeded, and the seed is printed
import secrets  # noqa: TID251  # makes the seed
from functools import partial
from pathlib import Path

import pytest

from accord.client import Client
from tests.acceptance.platforms import RunningPlatform
from tests.acceptance.waiting import until

TASKS = 150
KILLS = 5


@pytest.fixture
def platform(tmp_path: Path):
    running = RunningPlatform(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def test_a_sweep_survives_kills_of_the_judicator_at_random(platform: RunningPlatform) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - so that a failure can be repeated
    chance = random.Random(seed)
    with Client(platform.url) as client:
        batch = client.create_batch(
            template={"execute": {"command": ["/bin/echo", "{n}"]}},
            parameters={"n": {"range": [0, TASKS]}},
            finish={"execute": {"command": "wc -l < data/results.jsonl"}},
            cushion=10,
        )
        for kill in range(KILLS):
            target = chance.randrange(kill * TASKS // KILLS, (kill + 1) * TASKS // KILLS)
            until(partial(has_done, client, batch.id, target), 60)
            former = platform.kill("judicator")
            platform.wait_replaced("judicator", former)
        batch = client.wait_batch(batch.id, 90)
        results = list(client.batch_results(batch.id))
        assert batch.counts == {"success": TASKS}
        assert [(line["index"], line["parameters"], line["stdout"]) for line in results] == [
            (n, {"n": n}, f"{n}\n") for n in range(TASKS)
        ]
        everything = {task.id for task in client.list(limit=2 * TASKS)}
        assert len(everything) == TASKS + 1  # the finishing task, once
        assert client.get(str(batch.finish_task)).stdout == f"{TASKS}\n"


def has_done(client: Client, id_: str, wanted: int) -> bool:
    """Whether so many of its tasks are done."""
    return client.batch(id_).counts.get("success", 0) >= wanted
