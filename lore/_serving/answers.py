"""
From what a function returns to the bytes of a response, in the format the client accepts.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

from lore._extras import require
from lore._serving import messages, tables
from lore._serving.hints import unwrapped
from lore._serving.problems import Problem
from lore.errors import EncodingError

__all__ = ["EVENTS", "NDJSON", "Answers", "Format", "plain"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"
TEXT = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"

Format = str
"""A media type as it stands in Content-Type."""

_FRAME_FORMATS = (JSON, tables.CSV, tables.ARROW, tables.ARROW_FILE, tables.PARQUET)
_ANY_FORMATS = (*_FRAME_FORMATS, messages.MEDIA_TYPE, TEXT, OCTETS)
_STREAM_FORMATS = (NDJSON, JSON, EVENTS, TEXT, OCTETS, tables.CSV)
_ITERATORS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
)


class Answers:
    """
    How the answers of one endpoint are written.

    Args:
        hint: the function's return hint; it decides which formats are offered before the function runs. A hint that
            says nothing leaves the choice to the value.
        streams: the function is a generator.
    """

    def __init__(self, hint: Any, streams: bool = False) -> None:
        self.formats = _STREAM_FORMATS if streams else formats_of(hint)
        self.default = self.formats[0]
        self.encode = require("msgspec", "serve").json.Encoder(enc_hook=plain).encode
        self._chosen: dict[str | None, Format] = {None: self.default, "*/*": self.default, "": self.default}

    @property
    def offered(self) -> tuple[Format, ...]:
        """The formats that the hint promises; JSON alone where it promises nothing."""
        return (JSON,) if self.formats is _ANY_FORMATS else self.formats

    def choose(self, accept: str | None) -> Format:
        """
        Choose the format for an Accept header.

        Raises:
            Problem: 406, naming the formats there are.
        """
        known = self._chosen.get(accept)
        if known is not None:
            return known
        chosen = _best(self.formats, accept or "")
        if chosen is None:
            offered = ", ".join(one.partition(";")[0] for one in self.formats)
            raise Problem(406, f"this endpoint answers in: {offered}")
        if len(self._chosen) < 64:
            self._chosen[accept] = chosen
        return chosen

    def write(self, value: Any, form: Format) -> bytes:
        """
        Write a value in one format.

        Raises:
            EncodingError: the value cannot be written at all.
            Problem: 406, where the hint promised nothing and the value does not go into the format.
        """
        if form == JSON:
            try:
                return self.encode(value)  # type: ignore[no-any-return]
            except (TypeError, ValueError, RecursionError) as error:
                raise _unencodable(error) from error
        return _written(value, form)

    # -- streams ---------------------------------------------------------------------------------------

    def stream(self, items: Iterator[Any], form: Format) -> Iterator[bytes]:
        """Write items one by one as they come, and close their source however the writing ends."""
        try:
            yield from self._blocks(items, form)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _blocks(self, items: Iterator[Any], form: Format) -> Iterator[bytes]:
        if form == JSON:
            return self._array(items)
        if form == EVENTS:
            return (b"data: " + self._text_or_json(item).replace(b"\n", b"\ndata: ") + b"\n\n" for item in items)
        if form in (TEXT, OCTETS):
            return map(self._raw, items)
        if form == tables.CSV:
            return self._csv(items)
        return self._lines(items)

    def _lines(self, items: Iterator[Any]) -> Iterator[bytes]:
        for item in items:
            if _is_frame_value(item):
                yield b"".join(self.write(record, JSON) + b"\n" for record in tables.records_of(item))
            else:
                yield self.write(item, JSON) + b"\n"

    def _array(self, items: Iterator[Any]) -> Iterator[bytes]:
        before = b"["
        for item in items:
            for one in tables.records_of(item) if _is_frame_value(item) else (item,):
                yield before + self.write(one, JSON)
                before = b","
        yield b"]" if before == b"," else b"[]"

    def _csv(self, items: Iterator[Any]) -> Iterator[bytes]:
        header = True
        for item in items:
            if not _is_frame_value(item):
                raise EncodingError(f"A stream of CSV is made of frames, not of {type(item).__name__}.")
            yield item.to_csv(index=False, header=header).encode()
            header = False

    def _text_or_json(self, item: Any) -> bytes:
        return item.encode() if isinstance(item, str) else self.write(item, JSON)

    def _raw(self, item: Any) -> bytes:
        return bytes(item) if isinstance(item, bytes | bytearray | memoryview) else self._text_or_json(item)


def formats_of(hint: Any) -> tuple[Format, ...]:
    """List the formats in which values of a return hint can be written, the default first."""
    kind = unwrapped(hint)
    if kind is None or kind is type(None):
        return (JSON,)
    if kind in (Any, object, inspect.Parameter.empty) or isinstance(kind, str | typing.TypeVar):
        return _ANY_FORMATS
    if typing.get_origin(kind) in _ITERATORS or kind in _ITERATORS:
        return _STREAM_FORMATS
    if tables.is_frame(kind):
        return _FRAME_FORMATS
    if messages.is_message(kind):
        return (JSON, messages.MEDIA_TYPE)
    if kind is str:
        return (JSON, TEXT)
    if kind in (bytes, bytearray):
        return (JSON, OCTETS)
    if typing.get_origin(kind) in (typing.Union,) or type(kind).__name__ == "UnionType":
        return _ANY_FORMATS
    return (JSON,)


def _best(formats: tuple[Format, ...], accept: str) -> Format | None:
    """Choose by quality, then by how exactly the client names it, then by the server's order."""
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    best: tuple[float, int] = (0.0, -1)
    chosen = None
    for form in formats:
        bare = form.partition(";")[0]
        fitting = [(exactness, quality) for name, exactness, quality in ranges if _covers(name, bare)]
        if not fitting:
            continue
        exactness, quality = max(fitting)
        if quality > 0 and (quality, exactness) > best:
            best, chosen = (quality, exactness), form
    return chosen


def _media_range(text: str) -> tuple[str, int, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    name = _SPELLINGS.get(name, name)
    exactness = 0 if name == "*/*" else 1 if name.endswith("/*") else 2
    return name, exactness, quality


_SPELLINGS = {
    "application/protobuf": messages.MEDIA_TYPE,
    "application/vnd.google.protobuf": messages.MEDIA_TYPE,
    "application/csv": tables.CSV,
    "application/parquet": tables.PARQUET,
    "application/x-parquet": tables.PARQUET,
    "application/jsonl": NDJSON,
    "application/x-jsonlines": NDJSON,
    "application/ndjson": NDJSON,
}


def _covers(name: str, form: str) -> bool:
    return name in ("*/*", form) or (name.endswith("/*") and form.startswith(name[:-1]))


def _written(value: Any, form: Format) -> bytes:
    """Write a value in a format other than JSON."""
    if form == messages.MEDIA_TYPE and messages.is_message(type(value)):
        return value.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
    if form in _FRAME_FORMATS and _is_frame_value(value):
        return tables.frame_to_bytes(value, form)
    if form == TEXT and isinstance(value, str):
        return value.encode()
    if form == OCTETS and isinstance(value, bytes | bytearray):
        return bytes(value)
    raise Problem(406, f"the answer of this endpoint cannot be written as {form.partition(';')[0]}")


def _unencodable(error: BaseException) -> EncodingError:
    if isinstance(error, EncodingError):
        return error
    return EncodingError(f"The answer cannot be written as JSON: {error}")


# -- values that JSON does not know ----------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """
    Turn a value that msgspec does not write into one that it does.

    Raises:
        EncodingError: there is no honest JSON for it.
    """
    convert = _CONVERTERS.get(type(value)) or _converter(type(value))
    return convert(value)


def _converter(kind: type) -> Callable[[Any], Any]:
    """Find how values of a class become plain, and remember it."""
    found = next((convert for fits, convert in _KINDS if fits(kind)), None)
    if found is None:
        raise EncodingError(
            f"An answer holds a {kind.__module__}.{kind.__qualname__}, which JSON cannot say. Return dicts, lists, "
            f"numbers, text, dates, dataclasses, attrs classes, arrays or frames."
        )
    _CONVERTERS[kind] = found
    return found


_CONVERTERS: dict[type, Callable[[Any], Any]] = {}


def _is_frame_value(value: object) -> bool:
    return tables.is_frame(type(value)) or _is_a(type(value), "pandas", "DataFrame")


def _is_a(kind: type, module: str, name: str) -> bool:
    wanted = getattr(sys.modules.get(module), name, None)
    return isinstance(wanted, type) and issubclass(kind, wanted)


def _array_values(array: Any) -> Any:
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]").tolist()
    if array.dtype.kind == "m":
        return array.astype("timedelta64[us]").tolist()
    if array.dtype.kind == "c":
        raise EncodingError("An answer holds complex numbers, which JSON cannot say.")
    return array.tolist()


def _timestamp(value: Any) -> Any:
    return value.to_pydatetime(warn=False)


def _scalar(value: Any) -> Any:
    """Turn a numpy scalar into Python's."""
    plain_value = value.item()
    if isinstance(plain_value, int) and value.dtype.kind in "mM":  # nanoseconds come out as a bare count
        return _array_values(value.reshape(1))[0]
    if isinstance(plain_value, complex):
        raise EncodingError("An answer holds a complex number, which JSON cannot say.")
    return plain_value


def _kind_is(module: str, name: str) -> Callable[[type], bool]:
    return lambda kind: _is_a(kind, module, name)


def _nothing(value: Any) -> None:
    return None


def _has(*names: str) -> Callable[[type], bool]:
    return lambda kind: all(hasattr(kind, name) for name in names)


def _fields_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


_KINDS: list[tuple[Callable[[type], bool], Callable[[Any], Any]]] = [
    (_kind_is("pandas", "DataFrame"), tables.records_of),
    (_kind_is("pandas", "Series"), tables.plain_values),
    (_kind_is("pandas", "Index"), lambda index: index.tolist()),
    (lambda kind: kind.__name__ in ("NAType", "NaTType"), _nothing),
    (_kind_is("pandas", "Timestamp"), _timestamp),
    (_kind_is("pandas", "Timedelta"), lambda delta: delta.to_pytimedelta()),
    (_kind_is("pandas", "Period"), str),
    (_kind_is("pandas", "Interval"), str),
    (_kind_is("pandas.api.extensions", "ExtensionArray"), lambda array: array.tolist()),
    (_kind_is("numpy", "ndarray"), _array_values),
    (_kind_is("numpy", "str_"), str),
    (_kind_is("numpy", "generic"), _scalar),
    (_kind_is("pyarrow", "Table"), lambda table: table.to_pylist()),
    (_kind_is("polars", "DataFrame"), lambda frame: frame.to_dicts()),
    (_kind_is("polars", "Series"), lambda series: series.to_list()),
    (messages.is_message, messages.message_to_json),
    (_has("model_dump", "model_fields"), lambda model: model.model_dump(mode="json")),
    (lambda kind: issubclass(kind, bool), lambda key: str(key).lower()),
    (lambda kind: issubclass(kind, str), lambda text: str.__str__(text)),
    (lambda kind: issubclass(kind, int), int),
    (lambda kind: issubclass(kind, float), float),
    (lambda kind: kind is type(None), lambda _: "null"),
    (lambda kind: dataclasses.is_dataclass(kind), _fields_of),
    (lambda kind: issubclass(kind, collections.abc.Mapping), dict),
    (lambda kind: issubclass(kind, tuple), lambda key: ",".join(map(str, key))),
    (_has("__fspath__"), lambda path: path.__fspath__()),
    (
        lambda kind: issubclass(kind, collections.abc.Collection) and not issubclass(kind, str | bytes),
        list,
    ),
]
