"""Language presets: small declarative entries that fill in a task's commands.

``{file}`` stands for the preset's file name. Commands are argvs, run in the work directory.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


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
