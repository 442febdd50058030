"""The server goes on serving, whoever connects and whatever they send."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading

import pytest

from accord.core.errors import AccordError, Invalid, NameTaken, TooLarge, Unavailable
from accord.core.ids import TaskId
from accord.delivery.rpc import frames
from accord.delivery.rpc.binary import CALL, EXCEPTION, Reader, write
from accord.delivery.rpc.idl import WIRE
from accord.delivery.rpc.methods import METHODS, Declared
from tests.delivery.rpc_served import (
    PATIENCE,
    PONG,
    Scripted,
    a_report,
    closed,
    framed,
    pinged,
    raw,
    receive,
    remote,
    send,
    serving,
)

ID = TaskId("0" * 26)
HEAD = write("report", CALL, 1, WIRE.Judicator.report_args())[:-1]
"""A report's message up to its arguments."""


def a_list(kind: int, count: int, elements: bytes) -> bytes:
    """A frame with a report that holds a list in a field of that number."""
    data = HEAD + b"\x0c\0\x01" + b"\x0f\0\x09" + struct.pack("!bi", kind, count) + elements
    return framed(data)


# -- those who say nothing, or not all -----------------------------------------------------


def test_a_client_that_says_nothing_is_dropped():
    with serving(first=0.1) as server, raw(server.address) as sock:
        assert closed(sock)


@pytest.mark.parametrize("part", [b"\0\0", b"\0\0\0\x10", b"\0\0\0\x10abc"])
def test_a_frame_that_stalls_is_dropped(part):
    with serving(stall=0.1) as server, raw(server.address) as sock:
        sock.sendall(part)
        assert closed(sock)


def test_a_frame_that_dribbles_is_dropped():
    """Each byte comes in time; the frame does not."""
    with serving(stall=0.3) as server, raw(server.address) as sock:
        sock.settimeout(0.05)
        for byte in b"\0\0\x10\0" + b"x" * 100:
            send(sock, bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if closed(sock):
                    break
        else:
            pytest.fail("a hundred bytes at twenty a second were all taken")


def test_a_client_that_does_not_take_its_answer_is_dropped():
    service = Scripted(explain=lambda id_: "x" * 7_000_000)
    with serving(service, stall=0.2) as server, raw(server.address) as sock:
        sock.sendall(framed(METHODS["explain"].request(1, [ID])))
        other = threading.Event()
        with remote(server.address) as client:
            assert client.ping() == PONG
            other.set()
        sent = 0
        while piece := sock.recv(1 << 20) if other.wait(0.6) else b"":
            sent += len(piece)
            other.clear()
        assert sent < 7_000_000


def test_a_client_that_has_spoken_may_be_silent():
    with serving(first=0.1, stall=0.1) as server, raw(server.address) as sock:
        assert pinged(sock)
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert pinged(sock)


# -- those who say something else ----------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!i", -1),
        struct.pack("!i", 0),
        struct.pack("!i", (1 << 31) - 1) + b"x" * 1000,
        struct.pack("!i", frames.FRAME + 1),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        framed(b"garbage"),
        framed(bytes(range(256)) * 100),
        framed(HEAD + b"\x0c\0\x63" * 20_000),
        framed(b"\x80\x01\x00\x01" + struct.pack("!i", 900_000_000) + b"ping"),
        a_list(12, 60_000, b""),
        framed(HEAD + b"\x0f\0\x63" + b"\x0f\0\0\0\x01" * 1_468_000),
    ],
    ids=[
        "negative length", "no length", "2 GB", "one more than 8 MiB", "HTTP", "TLS", "garbage",
        "more garbage", "20,000 structs deep", "900 MB string", "a count of nothing",
        "7 MiB of lists in lists",
    ],
)  # fmt: skip
def test_what_is_no_message_is_dropped_and_others_are_served(data):
    with serving(first=90.0, stall=90.0) as server, raw(server.address) as sock:
        send(sock, data)
        assert closed(sock), "at once, not when time is up"
        with remote(server.address) as client:
            assert client.ping() == PONG


@pytest.mark.parametrize("kind", [2, 11, 12, 13, 15])
def test_millions_of_empty_elements_are_refused_and_the_connection_goes_on(kind):
    with serving() as server, raw(server.address) as sock:
        sock.sendall(a_list(kind, 4_000_000, b"\0" * 4_000_000))
        with pytest.raises(Declared) as raised:
            METHODS["report"].response(receive(sock), 1)
        assert isinstance(raised.value.error, TooLarge)
        assert pinged(sock)


@pytest.mark.parametrize("depth", [500, 5_000, 500_000])
def test_a_deep_document_is_refused_on_a_small_stack(depth):
    payload = WIRE.Judicator.add_args(tasks=[b"\x81\xa1z" + b"\x91" * depth + b"\xc0"])
    with serving() as server, raw(server.address) as sock:
        sock.sendall(framed(write("add", CALL, 1, payload)))
        with pytest.raises(Declared) as raised:
            METHODS["add"].response(receive(sock), 1)
        assert isinstance(raised.value.error, (Invalid, TooLarge))
        assert pinged(sock)


def test_a_method_that_there_is_not_is_said_so_and_the_connection_goes_on():
    with serving() as server, raw(server.address) as sock:
        sock.sendall(framed(write("fly", CALL, 7, WIRE.Judicator.ping_args())))
        reader = Reader(receive(sock))
        assert reader.header() == ("fly", EXCEPTION, 7)
        assert reader.last({2: (8, "type", False)}) == {"type": 1}
        assert pinged(sock)


def test_calls_that_are_sent_together_are_answered_in_turn():
    with serving() as server, raw(server.address) as sock:
        sock.sendall(b"".join(framed(METHODS["ping"].request(n, [])) for n in range(1, 6)))
        for number in range(1, 6):
            assert METHODS["ping"].response(receive(sock), number) == PONG


# -- handlers that fail --------------------------------------------------------------------


def fails_with(error: BaseException) -> Scripted:
    def explain(id_: str) -> str:
        raise error

    return Scripted(explain=explain)


def test_an_error_of_ours_comes_with_its_code_and_is_not_logged(caplog):
    service = fails_with(NameTaken("No.", executor="e1"))
    with serving(service) as server, remote(server.address) as client:
        with pytest.raises(NameTaken) as raised:
            client.explain(ID)
        assert (raised.value.message, raised.value.fields) == ("No.", {"executor": "e1"})
    assert not caplog.records


@pytest.mark.parametrize(
    "service",
    [
        fails_with(RuntimeError("the password is swordfish")),
        fails_with(RecursionError("the password is swordfish")),
        Scripted(explain=lambda id_: 7),
        Scripted(explain=lambda id_: None),
        Scripted(),
    ],
    ids=["an error", "a recursion", "another type", "nothing", "no such method"],
)
def test_any_other_failure_is_internal_and_logged_once(service, caplog):
    with serving(service) as server, raw(server.address) as sock:
        sock.sendall(framed(METHODS["explain"].request(1, [ID])))
        with pytest.raises(Declared) as raised:
            METHODS["explain"].response(receive(sock), 1)
        assert pinged(sock)
    assert type(raised.value.error) is AccordError
    assert raised.value.error.message == AccordError().message
    (record,) = caplog.records
    assert record.exc_info
    assert record.method == "explain"


def test_a_result_that_does_not_fit_its_field_is_an_answer_too():
    service = Scripted(explain=lambda id_: "\ud800")
    with serving(service) as server, remote(server.address) as client:
        with pytest.raises(AccordError) as raised:
            client.explain(ID)
        assert type(raised.value) is AccordError
        assert client.ping() == PONG


# -- many ----------------------------------------------------------------------------------


def test_two_hundred_silent_connections_hold_up_nobody():
    with serving() as server, contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(raw(server.address))
        with remote(server.address, patience=5.0) as client:
            for _ in range(20):
                assert client.ping() == PONG


def test_two_hundred_held_polls_hold_up_nobody_and_are_all_answered():
    service = Scripted()
    with serving(service) as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(server.address)) for _ in range(200)]
        for number, sock in enumerate(socks):
            report = a_report(f"e{number}", poll=True, wait=5.0, sequence=number)
            sock.sendall(framed(METHODS["report"].request(number, [report])))
        service.wait_for(lambda: len(service.reports) == 200)
        with remote(server.address, patience=5.0) as client:
            assert client.ping() == PONG
        service.release.set()
        for number, sock in enumerate(socks):
            assert METHODS["report"].response(receive(sock), number).sequence == number


def test_half_sent_large_frames_hold_up_no_small_ones():
    with serving(stall=3.0) as server, contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(raw(server.address))
            sock.sendall(struct.pack("!i", frames.FRAME) + b"x" * 1000)
        with remote(server.address, patience=2.0) as client:
            assert client.ping() == PONG


def test_connections_beyond_the_bound_are_closed_and_the_log_says_so_once(caplog):
    with serving(connections=3) as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(server.address)) for _ in range(3)]
        assert all(pinged(sock) for sock in socks)
        for _ in range(2):
            assert closed(stack.enter_context(raw(server.address)))
        assert all(pinged(sock) for sock in socks)
    assert [r.action for r in caplog.records if r.levelno >= logging.WARNING] == ["full"]


# -- what the service is told of connections -----------------------------------------------


def test_a_connection_that_brings_reports_is_told_of_and_taken_back():
    service = Scripted()
    with serving(service) as server:
        with remote(server.address) as client:
            client.ping()
            client.report(a_report())
            client.report(a_report(sequence=2))
            assert service.connections == [("opened", "e1", "s1", "push")]
        service.wait_for(lambda: len(service.connections) == 2)
        assert service.connections[1] == ("closed", "e1", "s1", "push")


def test_a_connection_that_turns_to_another_session_is_told_of_anew():
    service = Scripted()
    with serving(service) as server, remote(server.address) as client:
        client.report(a_report(poll=True))
        client.report(a_report(poll=True, session="s2"))
        assert service.connections == [
            ("opened", "e1", "s1", "poll"),
            ("closed", "e1", "s1", "poll"),
            ("opened", "e1", "s2", "poll"),
        ]


def test_a_client_that_dies_in_a_held_poll_is_noticed_while_it_is_held():
    service = Scripted()
    with serving(service) as server, raw(server.address) as sock:
        report = a_report(poll=True, wait=30.0)
        sock.sendall(framed(METHODS["report"].request(1, [report])))
        service.wait_for(lambda: bool(service.reports))
        sock.close()
        service.wait_for(lambda: len(service.connections) == 2)
        assert service.connections[1] == ("closed", "e1", "s1", "poll")
        assert not service.release.is_set()


def test_a_client_that_is_reset_in_a_held_poll_is_noticed_too():
    service = Scripted()
    with serving(service) as server, raw(server.address) as sock:
        report = a_report(poll=True, wait=30.0)
        sock.sendall(framed(METHODS["report"].request(1, [report])))
        service.wait_for(lambda: bool(service.reports))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        service.wait_for(lambda: len(service.connections) == 2)


# -- stopping ------------------------------------------------------------------------------


def test_a_port_in_use_is_said_so():
    with serving() as server:
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"), serving(port=port):
            pass


def test_it_stops_twice_and_the_port_is_free_and_connections_are_closed():
    with serving() as server, contextlib.ExitStack() as stack:
        port = int(server.address.rpartition(":")[2])
        socks = [stack.enter_context(raw(server.address)) for _ in range(9)]
        assert all(pinged(sock) for sock in socks)
        server.stop(grace=90.0)  # not needed: nothing is under way
        assert all(closed(sock) for sock in socks)
        server.stop()
        with serving(port=port) as again, raw(again.address) as other:
            assert pinged(other)


def test_a_call_under_way_is_answered_before_it_stops():
    service = Scripted()
    with serving(service) as server, raw(server.address) as sock:
        sock.sendall(framed(METHODS["report"].request(1, [a_report(poll=True, wait=9.0)])))
        service.wait_for(lambda: bool(service.reports))
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        with pytest.raises(OSError), raw(server.address):  # noqa: PT012 - until it no longer listens
            while True:
                raw(server.address).__enter__().close()
        service.release.set()
        assert METHODS["report"].response(receive(sock), 1).sequence == 1
        assert closed(sock)
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_a_call_that_is_held_for_ever_does_not_keep_it_from_stopping():
    service = Scripted()
    with serving(service) as server, raw(server.address) as sock:
        sock.sendall(framed(METHODS["report"].request(1, [a_report(poll=True, wait=9.0)])))
        service.wait_for(lambda: bool(service.reports))
        server.stop(grace=0.1)
        assert closed(sock)
        assert service.connections[-1] == ("closed", "e1", "s1", "poll")


def test_one_that_never_started_stops():
    with serving() as server:
        pass
    server.stop()


def test_threads_of_others_keep_their_stacks():
    before = threading.stack_size(1 << 20)
    try:
        with serving() as server, remote(server.address) as client:
            client.ping()
        # Only now: the connection's thread may answer before the one that starts it has put it back.
        assert threading.stack_size() == 1 << 20
    finally:
        threading.stack_size(before)
