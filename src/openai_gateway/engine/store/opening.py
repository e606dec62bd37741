"""Which store a service has, by its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.sqlite import open_sqlite
from openai_gateway.errors import GatewayError, Kind
from openai_gateway.routing.service_settings import ServiceSettings


@asynccontextmanager
async def open_store(settings: ServiceSettings) -> AsyncIterator[ServiceStore]:
    """The store of these settings: SQLite in the directory of `data`, or the Redis that they name.

    Raises GatewayError where it cannot be used.
    """
    if settings.store:
        try:
            from openai_gateway.engine.store.redis import open_redis  # noqa: PLC0415 - an extra, and slow to import
        except ImportError:
            message = "A store of redis:// needs the extra redis: pip install 'openai-gateway-mcp[redis]'."
            raise GatewayError(kind=Kind.STORE, message=message) from None
        async with open_redis(settings.store, password=settings.store_password) as redis:
            yield redis
        return
    async with open_sqlite(str(Path(settings.data) / "gateway.db")) as store:
        yield store
