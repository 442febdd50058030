"""The executor's cache: its bound, its checks, what survives, and one fetch for many."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from accord.services.cache import Cache, pieces
from accord.services.flights import Flights, Stopped
from accord.testing.clock import FakeClock

HEAD = 32


def name(number: int) -> str:
    return f"blob-{number:064x}"


def read(cache: Cache, item: str) -> bytes | None:
    fd = cache.open(item)
    if fd is None:
        return None
    try:
        return b"".join(pieces(fd))
    finally:
        os.close(fd)


def on_disk(root) -> int:
    return sum(path.stat().st_size for path in root.iterdir())


def test_what_is_added_is_read_back(tmp_path):
    cache = Cache(tmp_path / "cache", 10_000)
    assert cache.add(name(1), iter([b"ab", b"c"]))
    assert read(cache, name(1)) == b"abc"
    assert read(cache, name(2)) is None
    assert cache.size == on_disk(tmp_path / "cache") == 3 + HEAD


def test_what_was_used_longest_ago_makes_room(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    for number in range(5):
        assert cache.add(name(number), iter([bytes(160)]))
    assert read(cache, name(0)) is not None
    assert cache.add(name(5), iter([bytes(160)]))
    assert read(cache, name(1)) is None
    assert read(cache, name(0)) is not None
    assert cache.size == on_disk(tmp_path / "cache") <= 1000


def test_the_bound_holds_while_items_are_being_added(tmp_path):
    root = tmp_path / "cache"
    cache = Cache(root, 1000)
    cache.add(name(0), iter([bytes(200)]))

    def growing() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(50)
            assert on_disk(root) <= 1000
        for number in range(3, 6):
            assert cache.add(name(number), iter([bytes(200)]))
            assert cache.size <= 1000

    assert cache.add(name(1), growing())
    assert read(cache, name(1)) == bytes(200)
    assert cache.size == on_disk(root) <= 1000


def test_an_item_that_would_drive_out_all_others_is_not_kept(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    assert cache.largest == 250 - HEAD
    assert not cache.add(name(1), iter([bytes(cache.largest + 1)]))
    assert cache.add(name(1), iter([bytes(cache.largest)]))
    assert on_disk(tmp_path / "cache") == 250


def test_a_cache_of_no_bytes_keeps_nothing(tmp_path):
    cache = Cache(tmp_path / "cache", 0)
    assert cache.largest == 0
    assert not cache.add(name(1), iter([b"x"]))
    assert on_disk(tmp_path / "cache") == 0


def test_it_survives_a_restart_with_the_order_of_use(tmp_path):
    root = tmp_path / "cache"
    cache = Cache(root, 1000)
    for number in range(5):
        cache.add(name(number), iter([bytes(160)]))
        os.utime(root / name(number), ns=(number, number))
    read(cache, name(0))
    (root / "7.new").write_bytes(b"torn")
    again = Cache(root, 1000)
    assert not (root / "7.new").exists()
    assert again.size == cache.size
    again.add(name(9), iter([bytes(160)]))
    assert [read(again, name(n)) is None for n in range(5)] == [False, True, False, False, False]
    assert Cache(root, 500).size <= 500


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * (3 + HEAD)])
def test_a_damaged_item_is_dropped_and_never_given_out(tmp_path, damage):
    root = tmp_path / "cache"
    Cache(root, 1000).add(name(1), iter([b"abc"]))
    (root / name(1)).write_bytes(damage)
    cache = Cache(root, 1000)
    assert read(cache, name(1)) is None
    assert not (root / name(1)).exists()
    assert cache.size == 0
    cache.add(name(2), iter([b"abc"]))
    (root / name(2)).unlink()
    assert read(cache, name(2)) is None


def test_an_item_that_fails_on_the_way_leaves_nothing(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)

    def failing() -> Iterator[bytes]:
        yield b"some"
        raise LookupError

    with pytest.raises(LookupError):
        cache.add(name(1), failing())
    assert (cache.size, on_disk(tmp_path / "cache")) == (0, 0)


def test_an_open_item_stays_readable_when_it_goes(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    cache.add(name(1), iter([b"abc"]))
    fd = cache.open(name(1))
    assert fd is not None
    cache.drop(name(1))
    assert b"".join(pieces(fd)) == b"abc"
    os.close(fd)


# -- one for many ------------------------------------------------------------------------


def followers(
    flights: Flights, clock: FakeClock, count: int
) -> tuple[list[object], list[threading.Thread]]:
    came: list[object] = []

    def follow() -> None:
        with flights.join("a", threading.Event()) as flight:
            came.append((flight.first, flight.done))
            if flight.first:
                flight.done = True

    threads = [threading.Thread(target=follow) for _ in range(count)]
    for thread in threads:
        thread.start()
    clock.wait_for_waiters(count)
    return came, threads


@pytest.mark.parametrize("done", [True, False])
def test_the_others_wait_for_the_first(done):
    clock = FakeClock()
    flights = Flights(clock)
    with flights.join("a", threading.Event()) as flight:
        assert flight.first
        came, threads = followers(flights, clock, 3)
        flight.done = done
    for thread in threads:
        thread.join()
    assert came == [(False, done)] * 3


def test_where_the_first_fails_one_takes_its_place():
    clock = FakeClock()
    flights = Flights(clock)
    threads: list[threading.Thread] = []
    came: list[object] = []

    def lead() -> None:
        nonlocal came, threads
        with flights.join("a", threading.Event()):
            came, threads = followers(flights, clock, 3)
            raise LookupError

    with pytest.raises(LookupError):
        lead()
    for thread in threads:
        thread.join()
    assert came.count((True, None)) >= 1
    assert set(came) <= {(True, None), (False, True)}


def test_whoever_waits_can_be_stopped():
    clock = FakeClock()
    flights = Flights(clock)
    stop = threading.Event()
    stopped = threading.Event()

    def follow() -> None:
        try:
            with flights.join("a", stop):
                pass
        except Stopped:
            stopped.set()

    with flights.join("a", threading.Event()):
        thread = threading.Thread(target=follow)
        thread.start()
        clock.wait_for_waiters(1)
        stop.set()
        clock.advance(0.1)
        thread.join()
    assert stopped.is_set()
