"""taskiq: a task works for the tenant of the code that sent it, and a worker opens the cache when it starts."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from alacena import CacheManager, configure
from alacena.engine.base.arguments import check_part
from alacena.integrations.caller import Serving, ambient_ids, ids_in, labels_of
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.taskiq", "taskiq", ("taskiq", "0.11.12", "1")):
    from taskiq import TaskiqEvents, TaskiqMiddleware

if TYPE_CHECKING:
    from taskiq import AsyncBroker, TaskiqMessage, TaskiqResult, TaskiqState

_SERVING: Final[ContextVar[Serving | None]] = ContextVar("alacena.taskiq", default=None)


class TenantMiddleware(TaskiqMiddleware):
    """Carries the ambient ids from the code that sends a task to the task, as labels called ``alacena_tenant_id`` etc.

    A label that is given by hand stays, and must not name another tenant than the ambient one. A task that was sent for
    a task without a tenant runs for no tenant: verbs that need a tenant refuse.

    ::

        broker = ZeroMQBroker().with_middlewares(TenantMiddleware())
    """

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """Labels a message with the ambient ids.

        Raises:
            TenantMismatchError: A label names another tenant.
        """
        message.labels.update(labels_of(ambient_ids(), message.labels))
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """Makes the ids of a message ambient for its task."""
        serving = Serving(ids_in(message.labels))
        # taskiq calls this in the task that runs the job: the ids are ambient in the job, and end with that task.
        serving.__enter__()
        _SERVING.set(serving)
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:  # noqa: ARG002 - taskiq's
        """Ends that, for brokers that run a task where it is sent."""
        serving = _SERVING.get()
        if serving is not None:
            _SERVING.set(None)
            serving.__exit__()


def open_in_workers(broker: AsyncBroker, **configuration: Any) -> None:
    """Opens the process-wide cache when a worker starts, as ``state.cache``, and closes it when the worker ends.

    Args:
        broker: The broker.
        configuration: The arguments of `configure`; without any, the earlier configuration, else the environment.
    """
    check_part(broker, "broker", "add_event_handler", "a broker of taskiq's")

    async def start(state: TaskiqState) -> None:
        if configuration:
            configure(**configuration)
        state.cache = await CacheManager.cache()

    async def end(_: TaskiqState) -> None:
        await CacheManager.close()

    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, end)
