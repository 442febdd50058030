"""SIGKILL of any process, Boot included, loses nothing and runs nothing twice unnoticed."""

from __future__ import annotations

import json
import os
import random  # noqa: TID251  # seeded, and the seed is printed
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.platforms import RunningPlatform
from tests.acceptance.waiting import until
from tests.faults.history import violations
from tests.faults.load import Load

IN_FLIGHT = 100
KILLS = 21


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A file outside the platform that every box may append to, wherever the tests run."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    file = folder / "runs"
    file.touch()
    folder.chmod(0o777)
    file.chmod(0o666)
    return file


@pytest.fixture
def platform(tmp_path: Path, ledger: Path) -> Iterator[RunningPlatform]:
    """A platform whose boxes see the ledger."""
    config = tmp_path / "accord.json"
    mount = {"source": str(ledger.parent), "target": "/ledger", "writable": True}
    config.write_text(json.dumps({"sandbox": {"mounts": [mount]}}), encoding="utf-8")
    running = RunningPlatform(tmp_path / "data", ["--config", str(config)])
    running.start()
    yield running
    running.stop()


def service(name: str) -> Callable[[RunningPlatform], None]:
    """Kill one service; Boot starts it again."""

    def kill(platform: RunningPlatform) -> None:
        former = platform.kill(name)
        platform.wait_replaced(name, former)

    return kill


def boot(platform: RunningPlatform) -> None:
    """Kill Boot, and start another on the same data."""
    platform.kill("boot")
    platform.start()


def everything(platform: RunningPlatform) -> None:
    """Kill all processes at once, as a power cut would."""
    pids = platform.pids()
    for pid in [pids.pop("boot"), *pids.values()]:
        os.kill(pid, signal.SIGKILL)
    platform.start()


def workers(platform: RunningPlatform) -> list[psutil.Process]:
    """Of the gateway."""
    pid = platform.pids().get("gateway")
    return psutil.Process(pid).children() if pid else []


def boxes(platform: RunningPlatform) -> list[psutil.Process]:
    """The processes that hold a box: not the programs inside, whose death is their own result."""
    pid = platform.pids().get("executor")
    starters = psutil.Process(pid).children() if pid else []
    outer = [box for starter in starters for box in starter.children()]
    return outer + [init for box in outer for init in box.children()]


def one_of(
    found: Callable[[RunningPlatform], list[psutil.Process]],
) -> Callable[[RunningPlatform], None]:
    """Kill a process below a service; the service makes up for it."""

    def kill(platform: RunningPlatform) -> None:
        def victim() -> psutil.Process | None:
            try:
                there = found(platform)
            except psutil.NoSuchProcess:
                return None  # it ended while we looked; look again
            return there[-1] if there else None

        try:
            until(victim, what=f"there are {found.__name__}").kill()
        except psutil.NoSuchProcess:
            return  # it ended by itself in this very moment: nothing was killed, nothing is lost

    return kill


VICTIMS = {
    "judicator": service("judicator"),
    "executor": service("executor"),
    "gateway": service("gateway"),
    "a worker of the gateway": one_of(workers),
    "a box": one_of(boxes),
    "boot": boot,
    "everything": everything,
}


def kill_at_random(
    platform: RunningPlatform, load: Load, kills: int, chance: random.Random
) -> list[str]:
    """Kill that many times, each with enough tasks in flight; every victim at least once."""
    order = list(VICTIMS) * (kills // len(VICTIMS) + 1)
    chance.shuffle(order)
    done = []
    for name in order[:kills]:
        until(lambda: load.in_flight() >= IN_FLIGHT, 60, f"{IN_FLIGHT} tasks in flight")
        time.sleep(chance.random() / 2)  # noqa: TID251  # the random moment is what is tested
        before = time.monotonic()  # noqa: TID251  # shown, never judged
        VICTIMS[name](platform)
        platform.wait_healthy()
        print(f"{name}: work flowed again after {time.monotonic() - before:.1f} s")  # noqa: T201, TID251
        done.append(name)
    return done


def play(platform: RunningPlatform, ledger: Path, kills: int, seed: int) -> None:
    """One run of the scene, and its judgement."""
    print(f"seed {seed} (again: ACCORD_SEED={seed})")  # noqa: T201  # shown where it fails
    chance = random.Random(seed)
    with Load(platform.url, Path("/ledger") / ledger.name, IN_FLIGHT + 40, ledger) as load:
        done = kill_at_random(platform, load, kills, chance)
        history = load.finish()
    lost = sum(len(task["replicas"]) > 1 for task in history.tasks.values())
    print(f"{len(done)} kills, {len(history.tasks)} tasks, {lost} needed another replica")  # noqa: T201
    assert violations(history) == []
    assert {task["status"] for task in history.tasks.values()} == {"success"}
    assert len(history.acknowledged) > IN_FLIGHT


def a_seed() -> int:
    return int(os.environ.get("ACCORD_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.timeout(420)
def test_nothing_is_lost_and_nothing_runs_twice_unnoticed(platform, ledger):
    play(platform, ledger, KILLS, a_seed())


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_is_lost_in_a_long_run(platform, ledger):
    deadline = time.monotonic() + 60 * float(os.environ.get("ACCORD_SOAK_MINUTES", "10"))  # noqa: TID251
    while time.monotonic() < deadline:  # noqa: TID251  # a soak lasts for a time
        play(platform, ledger, KILLS, a_seed())
