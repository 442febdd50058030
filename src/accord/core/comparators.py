"""When two results agree. Only comparators that are pure live here."""

from __future__ import annotations

from collections.abc import Callable

from accord.core.replica import Result

Comparator = Callable[[Result, Result], bool]
"""Whether two results are one. Need not be transitive: each is held against one of them only."""


def default(one: Result, other: Result) -> bool:
    """Same verdict, same exit, same stdout, same kept files. Standard error never counts.

    What the compile step printed does not count either: compilers word their messages by version.
    """
    return _fingerprint(one) == _fingerprint(other)


def _fingerprint(result: Result) -> tuple[object, ...]:
    step = result.execute
    kept = {path: content.digest for path, content in result.kept.items()}
    if step is None:
        return (result.verdict, kept)
    return (result.verdict, step.exit_code, step.signal, step.stdout.digest, kept)
