"""Who hangs up is noticed at once, also while their call is held and nobody reads their socket.

One thread waits on the far ends of all connections by epoll, which tells of a hang-up without
anything being read.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable

_HANG_UP = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class HangUps:
    """Calls back, once, for each watched socket whose peer hung up. Begins when it is made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[socket.socket, Callable[[], None]]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="rpc-hang-ups", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is called back after this. To be called once."""
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        with self._lock:
            self._epoll.close()
        os.close(self._wake)

    def watch(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        """Call back when that socket's peer is gone."""
        with self._lock:
            self._watched[sock.fileno()] = (sock, callback)
            self._epoll.register(sock.fileno(), select.EPOLLRDHUP | select.EPOLLONESHOT)

    def forget(self, sock: socket.socket) -> None:
        """Watch it no longer; to be called before the socket is closed."""
        with self._lock:
            if self._watched.pop(sock.fileno(), None) and not self._epoll.closed:
                self._epoll.unregister(sock.fileno())

    def _run(self) -> None:
        while True:
            for number, _ in self._epoll.poll():
                if number == self._wake:
                    return
                self._tell(number)

    def _tell(self, number: int) -> None:
        with self._lock:
            sock, callback = self._watched.get(number, (None, None))
            # The number may be another connection's by now: only what is gone is told of.
            if sock is None or not _gone(sock):
                return
        if callback is not None:
            callback()


def _gone(sock: socket.socket) -> bool:
    state = select.poll()
    state.register(sock, select.POLLRDHUP)
    return any(events & _HANG_UP for _, events in state.poll(0))
