"""The registry of one machine (port ``Registry``): who is there stands in the configuration.

There is one judicator, so it leads whenever it asks. Its terms are numbered in a small file and
so rise over restarts too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from accord.adapters.embedded.durable import write_durably
from accord.core.errors import Corrupt, Unavailable
from accord.ports.registry import Member


class FixedRegistry:
    """``members`` are who there is, for ever; the first of them leads.

    ``terms`` is the file that numbers the terms, needed only where somebody campaigns.
    """

    def __init__(self, members: Sequence[Member], terms: Path | None = None) -> None:
        self._members = sorted(members, key=lambda m: m.name)
        self._leads = members[0].name if members else None
        self._terms = terms
        self._lock = threading.Lock()
        self._term: int | None = None

    def announce(self, member: Member, ttl: float) -> None:
        """Nothing needs to be done: the configuration announces."""

    def withdraw(self, name: str) -> None:
        """Nothing can be done: the configuration announces."""

    def judicators(self) -> Sequence[Member]:
        """Those of the configuration, by name."""
        return list(self._members)

    def campaign(self, name: str, ttl: float) -> int | None:  # noqa: ARG002  # no rival, no expiry
        """A new term for the one that leads, None for any other name. Raises Unavailable where
        the file of terms cannot be written.
        """
        if name != self._leads or self._terms is None:
            return None
        with self._lock:
            term = self._last_term(self._terms) + 1
            try:
                self._terms.parent.mkdir(parents=True, exist_ok=True)
                write_durably(self._terms, f"{term}\n".encode())
            except OSError as error:
                raise Unavailable(f"Cannot write {self._terms}: {error.strerror}.") from error
            self._term = term
            return term

    def renew(self, name: str, term: int, ttl: float) -> bool:  # noqa: ARG002  # as above
        """Whether it is the latest term of this process."""
        with self._lock:
            return name == self._leads and term == self._term

    def resign(self, name: str, term: int) -> None:
        """Give the term back; does nothing to a later one."""
        with self._lock:
            if name == self._leads and term == self._term:
                self._term = None

    def leader(self) -> str | None:
        """The one that leads; where terms are numbered here, only while it holds one."""
        with self._lock:
            return self._leads if self._terms is None or self._term is not None else None

    @staticmethod
    def _last_term(path: Path) -> int:
        try:
            return int(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise Unavailable(f"Cannot read {path}: {os.strerror(error.errno or 0)}.") from error
        except ValueError as error:
            raise Corrupt(
                f"{path} must hold the number of the last term. Write a number there that is "
                "higher than any term in the judicator's log."
            ) from error
