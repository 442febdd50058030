"""A remote judicator asks the right question once, and takes only the answer to it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from thriftpy2.thrift import TApplicationException

from accord.adapters.system import SystemClock
from accord.core.batch import BatchQuery, BatchSource, NewBatch
from accord.core.errors import NotFound, NotYet, TooLarge, Unavailable
from accord.core.ids import SessionId, TaskId, UserName
from accord.core.replica import Result, Verdict, content
from accord.delivery.rpc.binary import EXCEPTION, Reader, write
from accord.delivery.rpc.client import RemoteJudicator
from accord.delivery.rpc.methods import METHODS
from accord.delivery.rpc.server import Server
from accord.ports.judicator import Finished, Held, Orders, Report
from tests.builders import a_new_task, a_task
from tests.delivery.rpc_served import (
    PATIENCE,
    PONG,
    Scripted,
    a_report,
    framed,
    receive,
    remote,
    serving,
)

ID = TaskId("0" * 26)
A_BATCH = NewBatch(user=UserName("u"), source=BatchSource.LIST)
Answer = Callable[[socket.socket, bytes, int], None]


class Peer:
    """Listens, reads requests whole, and does with each what the test says."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(AssertionError, OSError):
            while True:
                header = Reader(receive(sock)).header()
                self.requests.append(header.name)
                self._answer(sock, header.name.encode(), header.sequence)


@contextlib.contextmanager
def peer(answer: Answer) -> Iterator[Peer]:
    made = Peer(answer)
    try:
        yield made
    finally:
        made.close()


def hang_up(sock: socket.socket, name: bytes, sequence: int) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def wrong_id(sock: socket.socket, name: bytes, sequence: int) -> None:
    sock.sendall(framed(METHODS["ping"].reply(sequence + 1, PONG)))


def nothing(sock: socket.socket, name: bytes, sequence: int) -> None:
    pass


def garbage(sock: socket.socket, name: bytes, sequence: int) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def application(kind: int) -> Answer:
    def answer(sock: socket.socket, name: bytes, sequence: int) -> None:
        error = TApplicationException(kind, "no")
        sock.sendall(framed(write(name.decode(), EXCEPTION, sequence, error)))

    return answer


def test_a_call_under_way_fails_when_all_connections_are_closed():
    asked = threading.Event()

    def silent(sock: socket.socket, name: bytes, sequence: int) -> None:
        asked.set()

    failures: list[Unavailable] = []

    def call(client: RemoteJudicator) -> None:
        with pytest.raises(Unavailable) as caught:
            client.purge(ID)  # one that is not made anew by itself
        failures.append(caught.value)

    with (
        peer(silent) as judicator,
        remote(judicator.address, patience=3 * PATIENCE) as client,
    ):
        caller = threading.Thread(target=call, args=(client,))
        caller.start()
        assert asked.wait(PATIENCE)
        client.reset()
        caller.join(PATIENCE)
        assert [error.fields["done"] for error in failures] == ["unknown"]


# -- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [wrong_id, garbage, hang_up, application(6)])
def test_what_is_no_answer_to_the_question_closes_the_connection(answer):
    with peer(answer) as other, remote(other.address) as client:
        with pytest.raises(Unavailable) as raised:
            client.ping()
        assert other.address in str(raised.value.fields["tried"])
        assert other.connections == 2, "once more on a new connection, never on the same"


def test_a_judicator_that_does_not_know_the_method_is_said_to_be_of_another_version():
    with peer(application(1)) as other, remote(other.address) as client:
        for _ in range(2):
            with pytest.raises(NotYet):
                client.ping()
        assert other.connections == 1, "the connection is as good as before"


def test_a_declared_error_leaves_the_connection_open():
    def explain(id_: str) -> str:
        raise NotFound(id=id_)

    service = Scripted(explain=explain)
    with serving(service) as server, remote(server.address) as client:
        client.report(a_report())
        for _ in range(3):
            with pytest.raises(NotFound):
                client.explain(ID)
        client.report(a_report())
        assert service.connections == [("opened", "e1", "s1", "push")]


def test_no_answer_in_time_is_unavailable_and_not_asked_of_the_same_again():
    with peer(nothing) as other, remote(other.address, patience=0.1) as client:
        with pytest.raises(Unavailable):
            client.ping()
        assert other.requests == ["ping"]


def test_a_held_call_has_its_wait_and_the_patience_beyond():
    late = threading.Event()

    def answer(sock: socket.socket, name: bytes, sequence: int) -> None:
        late.wait(0.5)
        sock.sendall(framed(METHODS["report"].reply(sequence, Orders(sequence=1))))

    with peer(answer) as other, remote(other.address, patience=0.2) as client:
        assert client.report(a_report(poll=True, wait=1.0)) == Orders(sequence=1)


# -- what is sent again --------------------------------------------------------------------


def test_an_add_without_a_key_is_never_sent_again_and_says_so():
    with peer(hang_up) as one, peer(hang_up) as two:
        with remote(one.address, two.address) as client, pytest.raises(Unavailable) as raised:
            client.add([a_new_task(key="k"), a_new_task(key=None)])
        assert one.requests + two.requests == ["add"]
        assert raised.value.fields["done"] == "unknown"
        assert "may not have been done" in raised.value.message


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("retry", [ID]),
        ("purge", [ID]),
        ("commit_blob", ["upload"]),
        ("purge_batch", [ID]),
        ("create_batch", [A_BATCH]),
        ("extend_batch", [ID, -1, [a_new_task()], False]),
    ],
)
def test_what_would_be_done_twice_is_never_sent_again(name, arguments):
    with peer(hang_up) as other, remote(other.address) as client:
        with pytest.raises(Unavailable) as raised:
            getattr(client, name)(*arguments)
        assert len(other.requests) == 1
        assert raised.value.fields["done"] == "unknown"


def test_an_add_with_keys_is_sent_again_elsewhere():
    service = Scripted(add=lambda new: [a_task(key=t.key) for t in new])
    with peer(hang_up) as broken, serving(service) as server:
        with remote(broken.address, server.address) as client:
            (task,) = client.add([a_new_task(key="k")])
        assert (task.key, broken.requests) == ("k", ["add"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get", [ID]),
        ("cancel", [ID]),
        ("report", [a_report()]),
        ("write_blob", ["upload", 0, b"x"]),
        ("steer", ["e1", "drain"]),
        ("create_batch", [msgspec.structs.replace(A_BATCH, key="k")]),
        ("extend_batch", [ID, 0, [a_new_task()], False]),
        ("extend_batch", [ID, -1, [], True]),
        ("batch", [ID]),
        ("batches", [BatchQuery()]),
        ("cancel_batch", [ID]),
        ("retry_batch", [ID]),
        ("results", [ID, "", 100]),
    ],
)
def test_what_may_be_done_twice_is_sent_once_more(name, arguments):
    with peer(hang_up) as other, remote(other.address) as client:
        with pytest.raises(Unavailable) as raised:
            getattr(client, name)(*arguments)
        assert len(other.requests) == 2
        assert "done" not in raised.value.fields


# -- addresses -----------------------------------------------------------------------------


def a_free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("addresses", [[], [a_free_address()], ["127.0.0.1:x"], ["nonsense"]])
def test_where_nobody_listens_it_is_unavailable(addresses):
    with remote(*addresses) as client, pytest.raises(Unavailable):
        client.ping()


def test_it_goes_on_to_the_next_address_and_stays_with_who_answered():
    free = a_free_address()
    asked: list[int] = []
    with serving() as server:
        client = RemoteJudicator(lambda: asked.append(1) or [free, server.address])  # type: ignore[func-returns-value]  # it notes
        assert client.ping() == PONG
        assert client.ping() == PONG
        assert len(asked) == 2, "addresses are asked for at each call"
        client.close()


def test_a_judicator_that_was_restarted_is_found_at_once_by_any_call():
    """The idle connection is seen to be closed before a question is put on it."""
    again = Scripted(retry=lambda id_: a_task(retry_of=id_))
    with serving() as first, remote(first.address) as client:
        assert client.ping() == PONG
        first.stop()
        with serving(again, port=int(first.address.rpartition(":")[2])):
            assert client.retry(ID).retry_of == ID


# -- connections ---------------------------------------------------------------------------


def together(count: int, call: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_callers_at_once_never_get_each_others_answers():
    service = Scripted(explain=lambda id_: f"about {id_}")
    wrong: list[str] = []
    with serving(service) as server, remote(server.address, keep=3) as client:
        numbers = iter(range(100))

        def call() -> None:
            id_ = TaskId(f"{next(numbers):026d}")
            for _ in range(50):
                if client.explain(id_) != f"about {id_}":
                    wrong.append(id_)

        together(8, call)
    assert not wrong


def test_a_held_poll_does_not_block_a_push():
    service = Scripted()
    with serving(service) as server, remote(server.address, keep=1) as client:
        poll = threading.Thread(target=client.report, args=[a_report(poll=True, wait=9.0)])
        poll.start()
        service.wait_for(lambda: bool(service.reports))
        other = client.dedicated()
        assert other.report(a_report(sequence=2)).sequence == 2
        assert client.report(a_report(sequence=3)).sequence == 3
        service.release.set()
        poll.join(PATIENCE)
        other.close()


def test_idle_connections_are_bounded():
    service = Scripted()
    with serving(service) as server, remote(server.address, keep=2) as client:
        together(10, lambda: client.report(a_report(poll=True)))
        barrier = threading.Barrier(10)

        def held() -> None:
            barrier.wait(PATIENCE)
            client.report(a_report(f"e{threading.get_ident()}", poll=True, wait=1.0))

        def release() -> None:
            service.wait_for(lambda: len(service.reports) == 20)
            service.release.set()

        threading.Thread(target=release).start()
        together(10, held)
        change = {"opened": 1, "closed": -1}
        service.wait_for(lambda: sum(change[c[0]] for c in service.connections) <= 2)


def test_a_chunk_beyond_a_frame_is_refused_before_it_is_sent():
    with peer(nothing) as other, remote(other.address) as client:
        with pytest.raises(TooLarge):
            client.write_blob("upload", 0, b"x" * (9 << 20))
        assert other.connections == 0


def run(script: str, address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, address],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


FORKED = """
import os, sys
from accord.delivery.rpc.client import RemoteJudicator
from tests.delivery.rpc_served import a_report
client = RemoteJudicator(lambda: sys.argv[1:])
client.report(a_report("parent"))
for name in ("one", "two"):
    child = os.fork()
    if not child:
        for n in range(50):
            assert client.report(a_report(name, sequence=n)).sequence == n
        os._exit(0)
    for n in range(50):
        assert client.report(a_report("parent", sequence=n)).sequence == n
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_opens_its_own_connection():
    service = Scripted()
    with serving(service) as server:
        run(FORKED, server.address)
        service.wait_for(lambda: len(service.connections) == 6)
    opened = [c[1] for c in service.connections if c[0] == "opened"]
    assert sorted(opened) == ["one", "parent", "two"], "each on a connection of its own"


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
from accord.core.ids import SessionId, TaskId, UserName
from accord.core.replica import Result, Verdict, content
from accord.delivery.rpc.client import RemoteJudicator
client = RemoteJudicator(lambda: sys.argv[1:])
calls = [gevent.spawn(client.explain, TaskId(f"{n:026d}")) for n in range(60)]
gevent.joinall(calls, timeout=30, raise_error=True)
assert [c.value for c in calls] == [f"{n:026d}" for n in range(60)]
with gevent.Timeout(0.1, False):
    client.explain(TaskId("1" * 26))
assert client.explain(TaskId("2" * 26)) == "2" * 26
"""


def test_sixty_greenlets_wait_at_the_same_time():
    """The server answers only when all sixty have asked: one after the other would never end."""
    asked = threading.Barrier(60)
    count = iter(range(1000))
    never = threading.Event()

    def explain(id_: str) -> str:
        if next(count) < 60:
            asked.wait(PATIENCE)
        if id_ == "1" * 26:
            never.wait(PATIENCE)
        return id_

    with serving(Scripted(explain=explain)) as server:
        run(GEVENT, server.address)
        never.set()


def test_a_push_that_is_too_large_goes_in_parts():
    """A restarted executor may have much to deliver; each result has many kept files here."""
    kept = {f"file {n}": content(b"x") for n in range(4_000)}
    end = Result(verdict=Verdict.OK, kept=kept)
    complete = tuple(
        Finished(task=ID, number=n, session=SessionId("s1"), end=end) for n in range(10)
    )
    delivered: list[Report] = []

    def report(report: Report) -> Orders:
        delivered.append(report)
        return Orders(sequence=5, stored=tuple((f.task, f.number) for f in report.complete))

    service = Scripted()
    service.report = report  # type: ignore[method-assign]  # as scripted
    with serving(service) as server, remote(server.address) as client:
        orders = client.report(a_report(sequence=5, complete=complete))
    assert orders.stored == tuple((ID, n) for n in range(10))
    assert sum((r.complete for r in delivered), ()) == complete
    assert {r.sequence for r in delivered} == {5}


def test_a_poll_is_never_cut():
    holds = tuple(Held(task=ID, number=n, session=SessionId("s1")) for n in range(20_000))
    with serving() as server, remote(server.address) as client, pytest.raises(TooLarge):
        client.report(a_report(poll=True, holds=holds))


def test_ipv6_addresses_are_understood():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    server = Server(Scripted(), "::1", 0, SystemClock())
    server.start()
    with remote(server.address) as client:
        assert client.ping() == PONG
    server.stop()
