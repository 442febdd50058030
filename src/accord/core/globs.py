"""Shell patterns over relative paths, in time that no pattern can blow up.

``*`` and ``?`` stay within a folder, ``[…]`` is a set of characters, ``**`` stands for any number
of folders. Regular expressions would backtrack for minutes over patterns that strangers choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Matcher = Callable[[str], bool]


def matcher(globs: Sequence[str]) -> Matcher:
    """Whether a path matches any of them.

    >>> matcher(["out/*.txt"])("out/a.txt"), matcher(["*.txt"])("out/a.txt")
    (True, False)
    >>> matcher(["**/*.txt"])("a.txt"), matcher(["out/**"])("out/a/b"), matcher(["[ab]?"])("ac")
    (True, True, True)
    """
    patterns = [_parts(glob) for glob in globs]
    return lambda path: any(_whole(pattern, path.split("/")) for pattern in patterns)


def _parts(glob: str) -> list[str]:
    return [part for part in glob.split("/") if part not in ("", ".")]


def _whole(pattern: list[str], parts: list[str]) -> bool:
    """By rows: which prefixes of ``parts`` the pattern so far matches."""
    row = [True] + [False] * len(parts)
    for item in pattern:
        if item == "**":
            for index in range(1, len(row)):
                row[index] = row[index] or row[index - 1]
        else:
            row = [False] + [row[index] and _part(item, part) for index, part in enumerate(parts)]
    return row[-1]


def _part(pattern: str, text: str) -> bool:
    """One folder's name, by going back to the last star alone."""
    tokens = _tokens(pattern)
    at = here = 0
    star = mark = -1
    while here < len(text):
        if at < len(tokens) and tokens[at] == "*":
            star, mark = at, here
            at += 1
        elif at < len(tokens) and _one(tokens[at], text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            mark += 1
            at, here = star + 1, mark
        else:
            return False
    return set(tokens[at:]) <= {"*"}


def _tokens(pattern: str) -> list[str]:
    tokens, at = [], 0
    while at < len(pattern):
        end = pattern.find("]", at + 2) if pattern[at] == "[" else -1
        end = at if end < 0 else end
        tokens.append(pattern[at : end + 1])
        at = end + 1
    return tokens


def _one(token: str, char: str) -> bool:
    if len(token) == 1:
        return token in ("?", char)
    inside = token[1:-1]
    wanted = inside[0] not in "!^"
    inside = inside if wanted else inside[1:]
    at = 0
    while at < len(inside):
        if at + 2 < len(inside) and inside[at + 1] == "-":
            if inside[at] <= char <= inside[at + 2]:
                return wanted
            at += 3
        else:
            if inside[at] == char:
                return wanted
            at += 1
    return not wanted
