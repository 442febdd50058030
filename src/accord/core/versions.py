"""Versions of toolchains: what an executor announces, and what tasks ask for.

An executor announces a language by the preset's name, with the line that its probe printed. Another
toolchain of the same language stands beside it as ``NAME@WHICH``, such as ``python@3.12``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

WISH = re.compile(r"\d{1,9}(\.\d{1,9}){0,7}")
"""What a task may ask for: numbers between dots."""

_DOTTED = re.compile(r"\d+(?:\.\d+)+")
_PLAIN = re.compile(r"\d+")


def base_of(name: str) -> str:
    """The language of an announced toolchain.

    >>> base_of("python@3.12"), base_of("python")
    ('python', 'python')
    """
    return name.partition("@")[0]


def number_of(text: str) -> str:
    """The version's number in what a probe printed; empty where there is none.

    >>> number_of("g++ (Debian 12.2.0-14) 12.2.0"), number_of("go version go1.22.1 linux/amd64")
    ('12.2.0', '1.22.1')
    >>> number_of("javac 21"), number_of("v18.19.0"), number_of("unknown")
    ('21', '18.19.0', '')
    """
    found = _DOTTED.search(text) or _PLAIN.search(text)
    return found[0] if found else ""


def fits(text: str, wish: str) -> bool:
    """Whether a toolchain that printed ``text`` is of the version that is wished, as far as the wish
    goes. An empty wish takes any.

    >>> fits("Python 3.11.2", "3.11"), fits("Python 3.11.2", "3.1"), fits("Python 3.11.2", "")
    (True, False, True)
    """
    wanted = wish.split(".") if wish else []
    return number_of(text).split(".")[: len(wanted)] == wanted


def toolchain_for(languages: Mapping[str, str], language: str, wish: str) -> str | None:
    """The announced toolchain that a task of that language gets: the preset's own where it fits,
    else the first of the others that does, by name. None where none does.

    >>> toolchain_for({"c": "gcc 12.2", "c@14": "gcc 14.1"}, "c", "14")
    'c@14'
    """
    fitting = [n for n in languages if base_of(n) == language and fits(languages[n], wish)]
    return min(fitting, default=None)


def versions_of(languages: Mapping[str, str], language: str) -> list[str]:
    """The versions of a language that are announced."""
    return [number_of(text) or text for n, text in languages.items() if base_of(n) == language]
