"""Writes the tables of the reference that follow from the code, between their markers.

``python docs/generate.py`` rewrites them; ``--check`` only says (exit code 1) which are out of date.
A page holds ``<!-- table: NAME -->`` and ``<!-- end -->``; what lies between is ours.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import typer.main

from accord import config
from accord.cli.app import app
from accord.core import errors, languages, limits

DOCS = Path(__file__).parent


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def field_docs(module: object, cls: type) -> dict[str, str]:
    """The docstring under each field of a class, on one line."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__).body
    found: dict[str, str] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            found[node.target.id] = text
    return found


def spelled(value: object) -> str:
    """A default as TOML would have it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`" if not value else f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def configuration() -> str:
    """Every setting with its default and meaning."""
    parts = []
    defaults = config.Settings()
    plain = field_docs(config, config.Settings)
    top = [
        f
        for f in config.Settings.__struct_fields__
        if not isinstance(getattr(defaults, f), msgspec.Struct)
    ]
    parts.append(
        table(
            ["setting", "default", "meaning"],
            [[f"`{f}`", spelled(getattr(defaults, f)), plain[f]] for f in top],
        )
    )
    for group in config.Settings.__struct_fields__:
        value = getattr(defaults, group)
        if isinstance(value, msgspec.Struct):
            module = sys.modules[type(value).__module__]
            docs = field_docs(module, type(value))
            rows = [
                [f"`{f}`", spelled(getattr(value, f)), docs[f]] for f in value.__struct_fields__
            ]
            parts.append(f"### `[{group}]`\n\n" + table(["setting", "default", "meaning"], rows))
    return "\n\n".join(parts)


def error_codes() -> str:
    """Every error with what it means."""
    rows = [
        [f"`{code}`", "yes" if cls.retry else "no", " ".join((cls.__doc__ or "").split())]
        for code, cls in sorted(errors.all_errors().items())
    ]
    return table(["code", "worth repeating unchanged", "meaning"], rows)


def limit_values() -> str:
    """Defaults, caps and floors."""
    docs = field_docs(limits, limits.Limits)
    rows = [
        [
            f"`{f}`",
            *(
                str(getattr(x, f))
                for x in (
                    limits.EXECUTE_DEFAULTS,
                    limits.COMPILE_DEFAULTS,
                    limits.CAPS,
                    limits.FLOORS,
                )
            ),
            docs[f],
        ]
        for f in limits.Limits.__struct_fields__
    ]
    return table(["limit", "execute", "compile", "cap", "floor", "meaning"], rows)


def presets() -> str:
    """The languages."""
    rows = [
        [
            f"`{p.name}`",
            p.title,
            f"`{p.file}`",
            f"`{' '.join(p.compile)}`" if p.compile else "",
            f"`{' '.join(p.run)}`",
        ]
        for p in languages.PRESETS.values()
    ]
    return table(["language", "", "file", "compile", "run"], rows)


def commands() -> str:
    """The command line, as its own help has it."""
    return "\n\n".join(_of_group(typer.main.get_command(app), "accord"))


def _of_group(group: Any, path: str) -> list[str]:
    parts = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            parts += _of_group(command, f"{path} {name}")
        elif not command.hidden:
            parts.append(_of_command(command, f"{path} {name}"))
    return parts


def _of_command(command: Any, path: str) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(p.name.upper() + ("…" if p.nargs != 1 else "") for p in arguments)
    rows = [
        [", ".join(f"`{o}`" for o in p.opts), p.help or ""]
        for p in command.params
        if p.param_type_name == "option" and not p.hidden
    ]
    about, *examples = re.split(r"\n\s*Examples?:", command.help or "")
    shown = "".join(f"\n\n```sh\n{_plain(e)}\n```" for e in examples)
    options = "\n\n" + table(["option", "meaning"], rows) if rows else ""
    return f"## `{f'{path} {usage}'.strip()}`\n\n{about.strip()}{shown}{options}"


def _plain(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "configuration": configuration,
    "errors": error_codes,
    "limits": limit_values,
    "languages": presets,
}


def regenerate(text: str) -> str:
    """The page with its tables as the code has them."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """Rewrite, or check."""
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh = regenerate(text)
        if fresh != text:
            stale.append(page)
            if "--check" not in arguments:
                page.write_text(fresh, encoding="utf-8")
    for page in stale:
        state = "are out of date" if "--check" in arguments else "rewritten"
        sys.stdout.write(f"{page.relative_to(DOCS)}: tables {state}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
