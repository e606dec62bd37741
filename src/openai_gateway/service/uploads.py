"""Forms with files, read as they come: what is large goes to the disk, never whole into memory."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import IO, Any, Final

import attrs
import trio

from openai_gateway.errors import GatewayError, Kind
from openai_gateway.net.listener import Exchange
from openai_gateway.routing.forms import FilePart, Upload

_HELD: Final = 2**20  # bytes of a file that are kept in memory
_PIECE: Final = 256 * 1024  # bytes that are written and read at once
_TEXT: Final = 2**20  # bytes of all fields that are no files
_PARTS: Final = 100


@attrs.frozen(kw_only=True)
class ReadForm:
    """The fields, a list where one is there several times, and the files."""

    fields: Mapping[str, str | list[str]]
    upload: Upload


def is_form(exchange: Exchange) -> bool:
    """Whether the request says that its body is one."""
    given = exchange.request.headers.get("content-type") or ""
    return given.partition(";")[0].strip().lower() == "multipart/form-data"


@asynccontextmanager
async def read_form(exchange: Exchange, *, most: int, directory: str) -> AsyncIterator[ReadForm]:
    """The form in the body; its files are gone after the block. Raises GatewayError, and PeerError as `receive` does.

    `most` are the bytes that the body may have, `directory` is where the files lie meanwhile, under no name.
    """
    reading = _Reading(_boundary(exchange), directory)
    try:
        await reading.read(exchange, most)
        yield reading.form()
    finally:
        reading.close()


class Spool:
    """A `Content` in a file that has no name: it is gone with this process, however that ends."""

    def __init__(self, directory: str) -> None:
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_HELD, dir=directory)  # noqa: SIM115 - see close
        self._waiting = bytearray()

    def add(self, data: bytes) -> None:
        """Some more, which `write` brings to the file."""
        self._waiting += data
        self.size += len(data)

    async def write(self, *, least: int = 1) -> None:
        if len(self._waiting) >= least:
            data, self._waiting = bytes(self._waiting), bytearray()
            await trio.to_thread.run_sync(self._file.write, data)

    async def pieces(self) -> AsyncIterator[bytes]:
        at = 0
        while piece := await trio.to_thread.run_sync(self._piece, at):
            at += len(piece)
            yield piece

    def _piece(self, at: int) -> bytes:
        self._file.seek(at)
        return self._file.read(_PIECE)

    def close(self) -> None:
        self._file.close()


@attrs.define
class _Part:
    """One part of the form while it is read: a file has a spool, a field its text."""

    name: str
    filename: str = ""
    content_type: str = ""
    spool: Spool | None = None
    text: bytearray = attrs.field(factory=bytearray)


class _Reading:
    def __init__(self, boundary: bytes, directory: str) -> None:
        self._directory = directory
        self._parts: list[_Part] = []
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._text = 0
        self._is_whole = False
        self._parse_options, self._errors, parser = _library()
        self._parser = parser(boundary, self._callbacks())

    async def read(self, exchange: Exchange, most: int) -> None:
        length = exchange.request.headers.get("content-length")
        came = int(length or 0)
        if came > most:
            raise _too_large(exchange, most)
        came = 0
        while piece := await exchange.receive():
            came += len(piece)
            if came > most:
                raise _too_large(exchange, most)
            try:
                self._parser.write(piece)
            except self._errors as error:
                raise _wrong(f"The body is no form: {error}.") from None
            await self._write(least=_PIECE)
        if not self._is_whole:
            raise _wrong("The form has no end.")
        await self._write()

    def form(self) -> ReadForm:
        fields: dict[str, str | list[str]] = {}
        files: list[FilePart] = []
        for part in self._parts:
            if part.spool is not None:
                files.append(
                    FilePart(name=part.name, filename=part.filename, content_type=part.content_type, content=part.spool)
                )
                continue
            text = _decoded(bytes(part.text), "A field of the form")
            known = fields.get(part.name)
            fields[part.name] = text if known is None else [*(known if isinstance(known, list) else [known]), text]
        return ReadForm(fields=fields, upload=Upload(boundary=secrets.token_hex(16), files=tuple(files)))

    def close(self) -> None:
        for part in self._parts:
            if part.spool is not None:
                part.spool.close()

    async def _write(self, *, least: int = 1) -> None:
        try:
            for part in self._parts:
                if part.spool is not None:
                    await part.spool.write(least=least if part is self._parts[-1] else 1)
        except OSError as error:
            message = f"The upload cannot be kept while it is passed on: {error.strerror}."
            raise GatewayError(kind=Kind.STORE, message=message, retry_after=60) from None

    def _callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": partial(_collect, self._header),
            "on_header_value": partial(_collect, self._value),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": self._part_data,
            "on_end": self._end,
        }

    def _end_header(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        if len(self._parts) == _PARTS:
            raise _wrong(f"The form has more than {_PARTS} parts.")
        kind, options = self._parse_options(self._headers.get("content-disposition", b""))
        if kind != b"form-data" or not options.get(b"name"):
            raise _wrong("A part of the form has no name.")
        part = _Part(_decoded(options[b"name"], "The name of a field"))
        if b"filename" in options:
            part.filename = _decoded(options[b"filename"], "The name of a file")
            part.content_type = self._headers.get("content-type", b"application/octet-stream").decode("latin-1")
            part.spool = Spool(self._directory)
        self._parts.append(part)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        if part.spool is not None:
            part.spool.add(data[start:end])
            return
        self._text += end - start
        if self._text > _TEXT:
            raise _wrong("The fields of the form are too long.")
        part.text += data[start:end]

    def _end(self) -> None:
        self._is_whole = True


def _library() -> tuple[Callable[[bytes], tuple[bytes, dict[bytes, bytes]]], type[Exception], Any]:
    """What reads the form. Raises GatewayError where it is not installed."""
    try:
        from python_multipart.exceptions import FormParserError  # noqa: PLC0415 - an extra
        from python_multipart.multipart import MultipartParser, parse_options_header  # noqa: PLC0415 - the same
    except ImportError:
        message = "Uploads need the extra uploads: pip install 'openai-gateway-mcp[uploads]'."
        raise GatewayError(kind=Kind.CONFIGURATION, message=message) from None
    return parse_options_header, FormParserError, MultipartParser


def _boundary(exchange: Exchange) -> bytes:
    parse_options, _, _ = _library()
    _, options = parse_options((exchange.request.headers.get("content-type") or "").encode("latin-1"))
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise _wrong("The form says no boundary.")
    return boundary


def _collect(into: bytearray, data: bytes, start: int, end: int) -> None:
    into += data[start:end]


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong(f"{what} is not UTF-8.") from None


def _wrong(message: str) -> GatewayError:
    return GatewayError(kind=Kind.INVALID_REQUEST, message=message)


def _too_large(exchange: Exchange, most: int) -> GatewayError:
    exchange.close_after()
    return GatewayError(kind=Kind.TOO_LARGE, message=f"The body is larger than {most:,} bytes.")
