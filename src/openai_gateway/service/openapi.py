"""The service's description of itself, made from the table of its routes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from openai_gateway.service.routes import ROUTES, Does, Route, Who

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_CALL: Final = {
    "type": "object",
    "required": ["model"],
    "properties": {"model": {"type": "string", "minLength": 1}, "stream": {"type": ["boolean", "null"]}},
    "additionalProperties": True,
}


@functools.cache
def description() -> Mapping[str, Any]:
    """OpenAPI 3.1. Bodies of calls are described as far as the gateway reads them: the rest is the provider's."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.template.replace("...", ""), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "openai-gateway", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, "Call": _CALL},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.title, "responses": _responses(route)}
    if route.who is not Who.NOBODY:
        operation["security"] = [{"key": []}]
    if "{id" in route.template:
        operation["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    if content := _content(route):
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _content(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.does is Does.GENERATE:
        content["application/json"] = {"schema": {"$ref": "#/components/schemas/Call"}}
    if route.does in {Does.CREATE_KEY, Does.CREATE_BATCH}:
        content["application/json"] = {"schema": {"type": "object"}}
    if route.takes_forms:
        content["multipart/form-data"] = {"schema": {"type": "object"}}
    return content


def _responses(route: Route) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "201" if route.does is Does.CREATE_KEY else "200": {"description": "The answer."},
        "default": {"description": "An error, in OpenAI's shape.", "content": error},
    }
