"""Users and the tokens by which they are known."""

from __future__ import annotations

import enum

import msgspec

from accord.core.ids import TokenId, UserName

AUDITOR = UserName("accord-audits")
"""Whose tasks audits are: of no user, so that they count against none. Their programs are those of all."""
LOCAL_USER = UserName("local")
"""Whoever calls over loopback where no token is needed."""


class Role(enum.StrEnum):
    """What a token may do; each includes the ones after it."""

    ADMIN = "admin"
    SUBMITTER = "submitter"
    READER = "reader"

    def may(self, needed: Role) -> bool:
        """Whether this role includes ``needed``."""
        order = list(Role)
        return order.index(self) <= order.index(needed)


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person or program that submits."""

    name: UserName
    created: float = 0.0


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token. Only its SHA-256 is kept; the secret is shown once."""

    id: TokenId
    user: UserName
    role: Role
    hash: str
    created: float
    expires: float | None = None
    revoked: float | None = None
    note: str = ""

    def alive(self, now: float) -> bool:
        """Whether it is accepted at ``now``."""
        return self.revoked is None and (self.expires is None or now < self.expires)
