"""What a user's program imports. It knows only HTTP and nothing of the rest of Accord.

    from accord.client import Client

    task = Client().run("print(6 * 7)", language="python")
    print(task.status, task.stdout)

Errors are told apart by class, each a subclass of ``AccordClientError``.
"""

from accord.client.api import DEFAULT_URL, Client
from accord.client.errors import (
    AccordClientError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotYet,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from accord.client.model import Batch, Event, Executor, Judicator, Replica, Task
from accord.client.specs import spec
from accord.client.transport import fresh_key

__all__ = [
    "DEFAULT_URL",
    "AccordClientError",
    "Batch",
    "Client",
    "Conflict",
    "Event",
    "Executor",
    "Forbidden",
    "Invalid",
    "Judicator",
    "NotFound",
    "NotYet",
    "Replica",
    "Task",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "fresh_key",
    "spec",
]
