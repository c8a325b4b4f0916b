"""One file out of a multipart request, written to disk piece by piece as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from regimen.web.home import Home
from regimen.web.refusal import Refusal
from regimen.web.services.datasets import MOST_BYTES, Upload, begin

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "file"
_AROUND = 1 << 20
"""Bytes of a request besides the file."""

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary", "description": "one data file"}},
                }
            }
        },
    }
}
"""For `openapi_extra` of a route that calls `received`."""


async def received(request: Request, home: Home, most_bytes: int = MOST_BYTES) -> str:
    """Keeps the file of the request's field `file`, and returns its name. Nothing is left of one that is refused.

    Raises `Refusal`: 413 for too much, 415 for another content type, 422 for no file or a kind that is not taken.
    """
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if content_type != b"multipart/form-data" or not boundary:
        raise Refusal(415, "content-type", "is not multipart/form-data with a boundary.", "Send a form with a file.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most_bytes + _AROUND:
        raise Refusal(413, FIELD, f"is larger than {most_bytes / 1e6:,.0f} MB.", "Give a part of it.")
    form = _Form(home, most_bytes)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for piece in request.stream():
            await run_in_threadpool(parser.write, piece)
        parser.finalize()
        return form.kept()
    except FormParserError as error:
        raise Refusal(422, "body", f"is no whole multipart form: {error}.", "Send it again.") from error
    finally:
        form.drop()


class _Form:
    """What the parser calls. The first part named `file` is the upload; small other parts are passed over."""

    def __init__(self, home: Home, most_bytes: int) -> None:
        self.home, self.most_bytes = home, most_bytes
        self.upload: Upload | None = None
        self._is_kept = self._is_file = self._is_whole = False
        self._name, self._value, self._disposition, self._besides = b"", b"", b"", 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def kept(self) -> str:
        """The name that the file got. Raises `Refusal` 422 for a form that was torn off, or has no file."""
        if not self._is_whole:
            raise Refusal(422, "body", "is no whole multipart form: it ends in the middle.", "Send it again.")
        if self.upload is None:
            raise Refusal(422, FIELD, "is not in the form.", f"Send the data file as the field `{FIELD}`.")
        name = self.upload.keep()
        self._is_kept = True
        return name

    def drop(self) -> None:
        if self.upload is not None and not self._is_kept:
            self.upload.drop()

    def _end(self) -> None:
        self._is_whole = True

    def _part(self) -> None:
        self._disposition, self._is_file = b"", False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            return
        if self.upload is not None:
            raise Refusal(422, FIELD, "is there more than once.", "Send one file at a time.")
        self._is_file = True
        self.upload = begin(self.home, options[b"filename"].decode("utf-8", "replace"))
        self.upload.most_bytes = self.most_bytes

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            assert self.upload is not None
            self.upload.write(data[start:end])
            return
        self._besides += end - start
        if self._besides > _AROUND:
            raise Refusal(413, "body", "holds too much besides the file.", "Send the file alone.")
