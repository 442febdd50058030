"""Language presets: small declarative entries that fill in a task's commands.

``{file}`` stands for the preset's file name. Commands are argvs, run in the work directory.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.core.errors import Invalid
from accord.core.limits import CAPS, COMPILE_DEFAULTS, EXECUTE_DEFAULTS, Limits, resolve
from accord.core.replica import Content
from accord.core.task import Source, Spec, Step


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """How programs of one language are compiled and run."""

    name: str
    title: str
    file: str
    """The name that a single source gets."""
    compile: tuple[str, ...] = ()
    run: tuple[str, ...]
    probe: tuple[str, ...]
    """A command whose first line of output tells the version."""
    mounts: tuple[str, ...] = ()
    """Directories of the host to show in the box where they exist; ``~`` is the executor's
    home."""
    env: Mapping[str, str] = {}
    """More environment; ``~`` at the beginning of a value is the executor's home."""


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="c",
            title="C",
            file="main.c",
            compile=("gcc", "-O2", "-std=c17", "-o", "main", "main.c", "-lm"),
            run=("./main",),
            probe=("gcc", "--version"),
        ),
        Preset(
            name="cpp",
            title="C++",
            file="main.cpp",
            compile=("g++", "-O2", "-std=c++20", "-o", "main", "main.cpp"),
            run=("./main",),
            probe=("g++", "--version"),
        ),
        Preset(
            name="python",
            title="Python",
            file="main.py",
            run=("python3", "main.py"),
            probe=("python3", "--version"),
        ),
        Preset(
            name="javascript",
            title="JavaScript",
            file="main.js",
            run=("node", "main.js"),
            probe=("node", "--version"),
        ),
        Preset(
            name="java",
            title="Java",
            file="Main.java",
            compile=("javac", "-d", ".", "Main.java"),
            run=("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ".", "Main"),
            probe=("javac", "-version"),
            mounts=("/etc/java-17-openjdk", "/etc/java-21-openjdk"),
        ),
        Preset(
            name="go",
            title="Go",
            file="main.go",
            compile=("go", "build", "-o", "main", "main.go"),
            run=("./main",),
            probe=("go", "version"),
            mounts=("/usr/local/go",),
            env={"GOCACHE": "/tmp/go-build", "GOPATH": "/tmp/go", "GO111MODULE": "off"},
        ),
        Preset(
            name="rust",
            title="Rust",
            file="main.rs",
            compile=("rustc", "-O", "-o", "main", "main.rs"),
            run=("./main",),
            probe=("rustc", "--version"),
            mounts=("~/.cargo/bin", "~/.rustup"),
            env={"RUSTUP_HOME": "~/.rustup", "CARGO_HOME": "~/.cargo"},
        ),
        Preset(
            name="ruby",
            title="Ruby",
            file="main.rb",
            run=("ruby", "main.rb"),
            probe=("ruby", "--version"),
        ),
        Preset(
            name="perl",
            title="Perl",
            file="main.pl",
            run=("perl", "main.pl"),
            probe=("perl", "-e", "print $^V"),
        ),
        Preset(
            name="bash",
            title="Bash",
            file="main.sh",
            run=("bash", "main.sh"),
            probe=("bash", "--version"),
        ),
    )
}

SUFFIXES: Mapping[str, str] = {
    ".c": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".java": "java",
    ".go": "go",
    ".rs": "rust",
    ".rb": "ruby",
    ".pl": "perl",
    ".sh": "bash",
}
"""The language that a file's suffix suggests."""


def preset(language: str) -> Preset:
    """The preset of that name. Raises Invalid, listing those that there are."""
    found = PRESETS.get(language)
    if found is None:
        known = ", ".join(sorted(PRESETS))
        message = f"There is no language {language!r}. There are: {known}."
        raise Invalid(message, field="language")
    return found


def steps_for(
    language: str,
    *,
    args: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    stdin: Content | None = None,
    limits: Mapping[str, object] | None = None,
    compile_limits: Mapping[str, object] | None = None,
    caps: Limits = CAPS,
) -> tuple[Step | None, Step]:
    """The compile step (None where nothing is compiled) and the execute step of a language.

    ``limits`` and ``compile_limits`` are wishes over the defaults. The preset's own environment
    is not written into the steps: only the executor knows what ``~`` is there. Raises Invalid
    for an unknown language, or a limit that is unknown or out of range.
    """
    chosen = preset(language)
    compiled = resolve(compile_limits or {}, COMPILE_DEFAULTS, caps)
    run = resolve(limits or {}, EXECUTE_DEFAULTS, caps)
    step = Step(command=chosen.compile, limits=compiled) if chosen.compile else None
    return step, Step(command=chosen.run, args=args, env=env or {}, stdin=stdin, limits=run)


def fill(
    language: str,
    source: Content | Source,
    *,
    args: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    stdin: Content | None = None,
    limits: Mapping[str, object] | None = None,
    compile_limits: Mapping[str, object] | None = None,
    caps: Limits = CAPS,
) -> Spec:
    """The whole spec of a program in a language.

    A ``source`` that is one text gets the preset's file name; a Source is taken as it is. For
    the rest of the spec (data, outputs, requires …) use ``msgspec.structs.replace`` on it. Raises
    as ``steps_for``.

    >>> from accord.core.replica import content
    >>> spec = fill("python", content(b"print(6 * 7)"), limits={"wall": 2})
    >>> list(spec.source.files), spec.execute.command, spec.execute.limits.wall
    (['main.py'], ('python3', 'main.py'), 2.0)
    """
    compile_step, execute = steps_for(
        language,
        args=args,
        env=env,
        stdin=stdin,
        limits=limits,
        compile_limits=compile_limits,
        caps=caps,
    )
    if isinstance(source, Content):
        source = Source(files={preset(language).file: source})
    return Spec(language=language, source=source, compile=compile_step, execute=execute)
