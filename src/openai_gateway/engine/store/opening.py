"""Which store a service has, by its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from openai_gateway.engine.store import ServiceStore
from openai_gateway.engine.store.sqlite import open_sqlite
from openai_gateway.routing.service_settings import ServiceSettings


@asynccontextmanager
async def open_store(settings: ServiceSettings) -> AsyncIterator[ServiceStore]:
    """The store of these settings: SQLite, in the directory of `data`. Raises GatewayError where it cannot be used."""
    async with open_sqlite(str(Path(settings.data) / "gateway.db")) as store:
        yield store
