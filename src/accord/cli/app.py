"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from accord import __version__, logs
from accord.cli import batch, certificates, doctor, examples, mapping, nodes, tasks, tokens, up
from accord.cli import run as running
from accord.cli.failure import USAGE, complain

app = typer.Typer(
    name="accord",
    help="Accord compiles and runs programs, your own or strangers', in boxes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:  # typer's callback
    if value:
        print(f"accord {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def version() -> None:
    """Show the version."""
    print(f"accord {__version__}")


app.command()(up.up)
app.command()(running.run)
app.command()(tasks.submit)
app.command(name="list")(tasks.list_)
app.command()(tasks.show)
app.command()(tasks.logs)
app.command()(tasks.cancel)
app.command()(tasks.retry)
app.command()(certificates.certificate)
app.command()(certificates.key)
app.command()(certificates.verify)
app.command(name="map")(mapping.map_)
app.add_typer(batch.app, name="batch")
app.command()(nodes.executors)
app.command()(nodes.judicators)
app.add_typer(tokens.app, name="token")
app.command()(up.maintain)
app.command()(doctor.doctor)
app.command(hidden=True)(examples.examples)


def run() -> int:
    """Run a command of this process's arguments; returns its exit code."""
    logs.quiet()
    try:
        code = app(prog_name="accord", standalone_mode=False)
    except typer.TyperException as error:
        return _misused(error)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0


def _misused(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)  # usage errors know the command that they are about
    message = error.format_message()
    if message and message[-1] not in ".!?":
        message += "."
    where = f" See: {context.command_path} --help" if context else ""
    if message:  # none where the help was shown instead
        complain(f"{message}{where}")
    return USAGE
