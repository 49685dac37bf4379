"""
Reading a request's body: how long it may be, how it is packed, what it is.

The limit holds for what arrives, for chunked bodies that announce no length, and for what comes out of a compressed
one; memory never holds more than the limit and one block.
"""

from __future__ import annotations

import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lore._serving import messages, tables
from lore._serving.arguments import Arguments, Values
from lore._serving.problems import Problem

__all__ = ["Reader", "query_arguments"]

_BLOCK = 65_536
_JSON = "json"
_FORM = "form"
_MULTIPART = "multipart"
_TABLES = {
    "text/csv": tables.CSV,
    "application/csv": tables.CSV,
    "application/vnd.apache.arrow.stream": tables.ARROW,
    "application/vnd.apache.arrow.file": tables.ARROW,
    "application/vnd.apache.parquet": tables.PARQUET,
    "application/x-parquet": tables.PARQUET,
    "application/parquet": tables.PARQUET,
}
_MESSAGES = ("application/x-protobuf", "application/protobuf", "application/vnd.google.protobuf")
_TAKEN = "application/json, application/x-www-form-urlencoded"
_MAX_FIELDS = 10_000

Parse = Callable[[bytes], Values]


class Reader:
    """
    Turns the body of requests to one endpoint into arguments.

    Args:
        arguments: what the endpoint's function takes.
        max_bytes: the longest body, before and after unpacking.
    """

    def __init__(self, arguments: Arguments, max_bytes: int) -> None:
        self.arguments = arguments
        self.max_bytes = max_bytes
        self._parsers: dict[str | None, Parse] = {None: arguments.from_json, "": arguments.from_json}

    def __call__(self, environ: dict[str, Any]) -> Values:
        """
        Read the body of one request and return the arguments in it.

        Raises:
            Problem: 400, 413, 415 or 422.
        """
        content_type = environ.get("CONTENT_TYPE")
        parse = self._parsers.get(content_type) or self._parser(content_type)
        length = environ.get("CONTENT_LENGTH")
        if length and "HTTP_CONTENT_ENCODING" not in environ and "HTTP_TRANSFER_ENCODING" not in environ:
            return parse(self._read_announced(environ["wsgi.input"].read, length))
        return parse(self._read_other(environ, length))

    def _parser(self, content_type: str | None) -> Parse:
        """Find what reads a content type, and remember it for the spellings that clients really send."""
        parse = self._choose(content_type or "")
        if len(self._parsers) < 64:
            self._parsers[content_type] = parse
        return parse

    def _choose(self, content_type: str) -> Parse:
        media_type, _, rest = content_type.partition(";")
        media_type = media_type.strip().lower()
        parameters = _parameters(rest)
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            raise _unsupported(f"the charset of a body must be UTF-8, not {parameters['charset'][:40]}")
        arguments = self.arguments
        if media_type == "application/json" or media_type.endswith("+json"):
            return arguments.from_json
        if media_type == "application/x-www-form-urlencoded":
            return self._form
        if media_type == "multipart/form-data":
            return lambda body: arguments.from_text(_multipart(body, content_type))
        if media_type in _TABLES:
            return lambda body: arguments.from_table(body, _TABLES[media_type])
        if media_type in _MESSAGES:
            return self._message(parameters)
        raise _unsupported(f"this endpoint does not read {media_type[:100] or 'bodies without a type'}")

    def _message(self, parameters: dict[str, str]) -> Parse:
        """Refuse a message that says itself that it is another one."""
        named = parameters.get("messagetype") or parameters.get("proto")
        kind = None if self.arguments.whole is None else self.arguments.hints[self.arguments.whole]
        if named and kind is not None and messages.is_message(kind) and named != kind.DESCRIPTOR.full_name:
            raise _unsupported(f"this endpoint takes messages {kind.DESCRIPTOR.full_name}")
        return self.arguments.from_message

    def _form(self, body: bytes) -> Values:
        """
        Read a form, or JSON that came under a form's type.

        The latter is what `curl -d '{...}'` sends; no form starts with a brace, which it would have to quote.
        """
        if body.lstrip()[:1] in (b"{", b"["):
            return self.arguments.from_json_as_text(body)
        return self.arguments.from_text(_fields(body))

    # -- bytes -----------------------------------------------------------------------------------------

    def _read_announced(self, read: Callable[[int], bytes], announced: str) -> bytes:
        """Read as many bytes as Content-Length says."""
        if not (announced.isascii() and announced.isdigit()):
            raise Problem(400, "Content-Length is not a number")
        length = int(announced) if len(announced) < 20 else self.max_bytes + 1
        if length > self.max_bytes:
            raise self._too_large()
        body = _read(read, length)
        if len(body) < length:
            body = self._rest(read, body, length)
        return body

    @staticmethod
    def _rest(read: Callable[[int], bytes], body: bytes, length: int) -> bytes:
        parts, missing = [body], length - len(body)
        while missing:
            part = _read(read, missing)
            if not part:
                raise Problem(400, "the body ended before Content-Length said it would")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _read_other(self, environ: dict[str, Any], length: str | None) -> bytes:
        """Read a body that is chunked, compressed, or not there."""
        read = environ["wsgi.input"].read
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if length and not chunked:
            body = self._read_announced(read, length)
        elif chunked or environ.get("wsgi.input_terminated"):
            body = self._read_unannounced(read)
        else:
            body = b""
        encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        return body if encoding in ("", "identity") else self._unpacked(body, encoding)

    def _read_unannounced(self, read: Callable[[int], bytes]) -> bytes:
        parts, size = [], 0
        while part := _read(read, min(_BLOCK, self.max_bytes + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > self.max_bytes:
                raise self._too_large()
        return b"".join(parts)

    def _unpacked(self, body: bytes, encoding: str) -> bytes:
        for name in reversed([part.strip() for part in encoding.split(",")]):
            unpack = _PACKINGS.get(name)
            if unpack is None:
                raise Problem(
                    415,
                    "this server reads bodies packed with gzip, deflate and zstd",
                    headers=[("Accept-Encoding", "gzip, deflate, zstd")],
                )
            body = self._joined(unpack(body, self.max_bytes))
        return body

    def _joined(self, blocks: Iterator[bytes]) -> bytes:
        parts, size = [], 0
        for block in blocks:
            size += len(block)
            if size > self.max_bytes:
                raise self._too_large()
            parts.append(block)
        return b"".join(parts)

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is longer than {self.max_bytes:,} bytes")


def _read(read: Callable[[int], bytes], size: int) -> bytes:
    """Read from the server; a client that went away or framed its body wrongly is the client's fault."""
    try:
        return read(size)
    except (OSError, ValueError) as error:
        raise Problem(400, "the body could not be read to its end") from error
    except Exception as error:
        if type(error).__module__.startswith(("gunicorn.", "werkzeug.")):
            raise Problem(400, "the body could not be read to its end") from error
        raise


# -- unpacking -------------------------------------------------------------------------------------


def _inflate(body: bytes, max_bytes: int, window: int = 31) -> Iterator[bytes]:
    """Inflate gzip (all members) or zlib data block by block."""
    while body:
        stream = zlib.decompressobj(window)
        try:
            data = body
            while not stream.eof:
                block = stream.decompress(data, _BLOCK)
                data = stream.unconsumed_tail
                if not block and not data and not stream.eof:
                    raise Problem(400, "the compressed body ends too early")
                yield block
        except zlib.error:
            raise Problem(400, "the body is not packed as Content-Encoding says") from None
        body = stream.unused_data if window == 31 else b""


def _deflate(body: bytes, max_bytes: int) -> Iterator[bytes]:
    return _inflate(body, max_bytes, window=15)


class _Stream(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _zstd(body: bytes, max_bytes: int) -> Iterator[bytes]:
    """Unpack Zstandard by what is installed: the standard library from 3.14 on, zstandard, or pyarrow."""
    open_stream = _zstd_reader()
    if open_stream is None:
        raise Problem(415, "this server reads bodies packed with gzip", headers=[("Accept-Encoding", "gzip, deflate")])
    try:
        reader = open_stream(body)
        while block := reader.read(_BLOCK):
            yield bytes(block)
    except Problem:
        raise
    except Exception:
        raise Problem(400, "the body is not packed as Content-Encoding says") from None


def _zstd_reader() -> Callable[[bytes], Any] | None:
    import importlib
    import io

    for module, opener in (
        ("compression.zstd", lambda zstd, body: zstd.ZstdFile(io.BytesIO(body))),
        ("backports.zstd", lambda zstd, body: zstd.ZstdFile(io.BytesIO(body))),
        (
            "zstandard",
            lambda zstd, body: zstd.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True),
        ),
        ("pyarrow", lambda arrow, body: arrow.CompressedInputStream(arrow.BufferReader(body), "zstd")),
    ):
        try:
            package = importlib.import_module(module)
        except ImportError:
            continue
        return lambda body, package=package, opener=opener: opener(package, body)  # type: ignore[misc]
    return None


_PACKINGS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _inflate,
    "x-gzip": _inflate,
    "deflate": _deflate,
    "zstd": _zstd,
}


# -- text fields -----------------------------------------------------------------------------------


def query_arguments(arguments: Arguments, environ: dict[str, Any]) -> Values:
    """Read the arguments of a request from its query string."""
    return arguments.from_text(_fields(environ.get("QUERY_STRING", "").encode("latin-1")))


def _fields(data: bytes) -> dict[str, list[Any]]:
    """Parse urlencoded names and values, each in UTF-8."""
    if not data:
        return {}
    try:
        return urllib.parse.parse_qs(
            data.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except UnicodeDecodeError:
        raise Problem(400, "the fields are not UTF-8") from None
    except ValueError:
        raise Problem(413, f"more than {_MAX_FIELDS:,} fields") from None


def _multipart(body: bytes, content_type: str) -> dict[str, list[Any]]:
    """Parse what an HTML form with files sends; a file's content counts as text."""
    import io

    from lore._extras import require

    parser = require("werkzeug.formparser", "serve").FormDataParser(
        stream_factory=lambda *args, **kwargs: io.BytesIO(),
        max_form_memory_size=len(body) + 1,
        max_form_parts=1_000,
        silent=False,
    )
    options = {key: value for key, value in _parameters(content_type.partition(";")[2]).items() if key == "boundary"}
    try:
        _, fields, files = parser.parse(io.BytesIO(body), "multipart/form-data", len(body), options)
        found: dict[str, list[Any]] = {name: list(values) for name, values in fields.lists()}
        for name, values in files.lists():
            found.setdefault(name, []).extend(one.read().decode("utf-8") for one in values)
        return found
    except UnicodeDecodeError:
        raise Problem(400, "the fields are not UTF-8") from None
    except Exception as error:
        if isinstance(error, ValueError) or type(error).__module__.startswith("werkzeug."):
            raise Problem(400, "the body is not multipart/form-data as its boundary says") from None
        raise


def _parameters(text: str) -> dict[str, str]:
    """Read the parameters of a media type, names in lower case."""
    found = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            found[name.strip().lower()] = value.strip().strip('"')
    return found


def _unsupported(detail: str) -> Problem:
    return Problem(415, detail, headers=[("Accept-Post", _TAKEN)])
