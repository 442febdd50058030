"""The API of the machines: health, executors, judicators, languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from accord import __version__
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.languages import PRESETS
from accord.core.user import Role
from accord.core.versions import base_of
from accord.delivery.http.access import caller
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import (
    API,
    CreditOut,
    ExecutorOut,
    JudicatorOut,
    executor_out,
    judicator_out,
)
from accord.delivery.http.parameters import NoQuery
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.tasks import answer

api = APIBlueprint(
    "nodes",
    __name__,
    url_prefix=API,
    abp_tags=[Tag(name="Machines")],
    abp_responses=PROBLEMS,
)


class Health(BaseModel):
    """Whether this gateway and a judicator work."""

    status: Literal["ok"]
    version: str
    judicator: JudicatorOut


class Executors(BaseModel):
    """All executors that are known."""

    items: list[ExecutorOut]


class Judicators(BaseModel):
    """All judicators that are registered."""

    items: list[JudicatorOut]


class LanguageOut(BaseModel):
    """A language, and who runs it."""

    name: str
    title: str
    file: str = Field(description="The name that a single source gets.")
    compiled: bool
    executors: dict[str, str] = Field(description="Executors that take work, with its version.")


class Languages(BaseModel):
    """All languages that there are presets for."""

    items: list[LanguageOut]


class ExecutorPath(BaseModel):
    """The executor that is meant, and what to do with it."""

    name: str
    verb: Literal["drain", "quarantine", "release", "forget"]


@api.get("/health", responses={200: Health})
def health(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Say whether this gateway can reach a working judicator; 503 where it cannot."""
    pong = gateway().judicator.ping()
    return answer(Health(status="ok", version=__version__, judicator=judicator_out(pong)))


@api.get("/executors", responses={200: Executors})
def executors(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """List the executors."""
    caller().need(Role.READER)
    found = gateway().judicator.executors()
    return answer(Executors(items=[executor_out(e) for e in found]))


@api.post("/executors/<name>/<verb>", responses={200: ExecutorOut})
def steer(path: ExecutorPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Drain, quarantine or release an executor, or forget a lost one."""
    caller().need(Role.ADMIN)
    return answer(executor_out(gateway().judicator.steer(ExecutorName(path.name), path.verb)))


@api.get("/credit", responses={200: CreditOut})
def credit(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Say what users and owners were granted, as of a few seconds ago."""
    caller().need(Role.READER)
    found = gateway().judicator.credit()
    return answer(CreditOut(users=found.users, owners=found.owners))


@api.get("/judicators", responses={200: Judicators})
def judicators(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """List the judicators."""
    caller().need(Role.READER)
    return answer(Judicators(items=[judicator_out(j) for j in gateway().judicator.judicators()]))


@api.get("/languages", responses={200: Languages})
def languages(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """List the languages, each with the executors that run it."""
    caller().need(Role.READER)
    return answer(Languages(items=languages_of(gateway().judicator.executors())))


def announced(languages: Mapping[str, str], language: str) -> list[str]:
    """What the probes of a language's toolchains printed."""
    return [text for name, text in languages.items() if base_of(name) == language]


def languages_of(found: list[Executor]) -> list[LanguageOut]:
    """The presets, with the executors that take work and have what they need."""
    working = [e for e in found if e.state is ExecutorState.ONLINE]
    return [
        LanguageOut(
            name=preset.name,
            title=preset.title,
            file=preset.file,
            compiled=bool(preset.compile),
            executors={
                e.name: ", ".join(versions)
                for e in working
                if (versions := announced(e.info.languages, preset.name))
            },
        )
        for preset in PRESETS.values()
    ]
