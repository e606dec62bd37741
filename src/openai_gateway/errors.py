"""Every error the gateway raises on purpose, in one shape that each face maps once."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs


class Kind(enum.Enum):
    """What failed, for a face to act on, with its place in the OpenAI error shape."""

    status: int
    """HTTP status."""
    type: str
    """OpenAI error type."""
    code: str | None
    """OpenAI error code."""

    def __init__(self, status: int, type_: str, code: str | None) -> None:
        self.status = status
        self.type = type_
        self.code = code

    INVALID_REQUEST = (400, "invalid_request_error", None)
    AUTHENTICATION = (401, "invalid_request_error", "invalid_api_key")
    PERMISSION = (403, "permission_error", "model_not_allowed")
    MODEL_NOT_FOUND = (404, "invalid_request_error", "model_not_found")
    TOO_LARGE = (413, "invalid_request_error", "request_too_large")
    RATE_LIMITED = (429, "rate_limit_error", "rate_limit_exceeded")
    QUOTA = (429, "rate_limit_error", "insufficient_quota")
    CREDENTIALS_REJECTED = (502, "upstream_error", "upstream_credentials_rejected")
    UPSTREAM = (502, "upstream_error", "upstream_error")
    NETWORK = (502, "upstream_error", "upstream_unreachable")
    CONFIGURATION = (503, "service_unavailable_error", "not_configured")
    NO_TARGET = (503, "service_unavailable_error", "no_healthy_target")
    STORE = (503, "service_unavailable_error", "store_unavailable")
    SHUTTING_DOWN = (503, "service_unavailable_error", "shutting_down")
    CONNECT_TIMEOUT = (504, "timeout_error", "connect_timeout")
    FIRST_BYTE_TIMEOUT = (504, "timeout_error", "first_byte_timeout")
    IDLE_TIMEOUT = (504, "timeout_error", "idle_timeout")
    TOTAL_TIMEOUT = (504, "timeout_error", "total_timeout")


@attrs.define(kw_only=True, eq=False)
class GatewayError(Exception):
    """A call that failed, said so that a person can mend it.

    `message` says what failed and why, already redacted; `hint` what to do next (may be empty). `status`, `type`,
    `code` and `param` are those of the OpenAI error object; an upstream's own error keeps its own values under the
    kind that fits. `retry_after` is in seconds; `is_own` says that not the upstream but a limit of ours asks for them,
    whose message names them. `body` is the upstream's own error object (redacted), if there was one.
    `waited_for` is what a total timeout interrupted, in words that can stand behind a colon; empty for a plain answer.
    `attempts` is how often an upstream was asked: where it is not 0 the gateway has done all that retrying can do, and
    a caller that tries again only multiplies it (x-should-retry: false).
    """

    kind: Kind
    message: str
    hint: str = ""
    param: str | None = None
    retry_after: float | None = None
    is_own: bool = False
    status: int = attrs.field()
    type: str = attrs.field()
    code: str | None = attrs.field()
    body: Mapping[str, Any] | None = None
    waited_for: str = ""
    attempts: int = 0

    @status.default
    def _status_of_kind(self) -> int:
        return self.kind.status

    @type.default
    def _type_of_kind(self) -> str:
        return self.kind.type

    @code.default
    def _code_of_kind(self) -> str | None:
        return self.kind.code

    def __str__(self) -> str:
        stop = "" if not self.hint or self.message.endswith((".", "!", "?", "…")) else "."
        return f"{self.message}{stop} {self.hint}".strip()

    def to_openai(self) -> dict[str, Any]:
        """The OpenAI error object: `message`, `type`, `param`, `code`, all four always, the upstream's extras kept."""
        four = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {**(self.body or {}), **four}


class ConfigError(Exception):
    """A setting that is wrong; the message names the setting, what came and what is allowed, never a secret's value."""
