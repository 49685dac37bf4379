"""
Payloads: one file per result, that can be checked before it is trusted and used without being copied.

A payload holds a value and a JSON-able `meta` about it. The value is pickled (protocol 5) with its large buffers out of
band, each aligned to 64 bytes, so that loading maps the file and the arrays are the file's own pages, private to the
process: a caller may change what it got, the file never changes. Small payloads are one plain read.

    payloads.dump(value, meta, file, key=None) -> int       write to a binary file object; returns the bytes written
    payloads.dumps(value, meta, key=None) -> bytes          the same into memory
    payloads.open(source, key=None) -> Payload              a path, or the bytes themselves (from a remote store)
        .meta       dict, read from the header; the value is not touched
        .nbytes     size of the whole file
        .verify()   check every byte; IntegrityError
        .load(verify=True)      the value

How the file is laid out
------------------------
    prologue   64 bytes: magic, version, flags, lengths, total size, xxh3-128 of all of the head
    head       meta as JSON, then the lengths of the buffers as little-endian 64-bit numbers
    pickle     the pickle stream
    buffers    each at the next multiple of 64
    footer     48 bytes: xxh3-128 of everything between head and footer, then the HMAC-SHA256 signature or zeros

A file of another size than its prologue says is truncated and is not read further. With a `key`, the signature over
everything before it is compared in constant time before a byte is unpickled, also with `verify=False`. Files must only
be replaced by rename: one that is cut short in place under a mapping takes the process down, whoever maps it.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import json
import mmap
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from struct import Struct, pack
from typing import Any, Protocol

from xxhash import xxh3_128, xxh3_128_digest

from lore.errors import IntegrityError, StoreError

__all__ = ["Payload", "dump", "dumps", "open"]

_MAGIC = b"\x93LORE\r\n\x01"
# magic, flags, buffers, meta length, pickle length, total length, digest of the head
_PROLOGUE = Struct("<8sIIQQQ8x16s")
_PROLOGUE_SIZE = _PROLOGUE.size
_DIGEST_AT = _PROLOGUE_SIZE - 16
_FOOTER_SIZE = 48
_SIGNATURE_SIZE = 32
_SIGNED = 1
_ALIGN = 64
_SMALLEST_OUT_OF_BAND = 16_384
_ONE_READ = 65_536
_CHUNK = 1 << 20


class Writable(Protocol):
    """What a payload is written to."""

    def write(self, data: Any, /) -> Any: ...


def dump(value: object, meta: dict[str, Any], file: Writable, *, key: bytes | None = None) -> int:
    """
    Write a value and what is known about it, and return the number of bytes written.

    Large buffers go from where they are to the file, so this needs little memory beside the value itself.

    Args:
        value: anything that pickle, or failing that cloudpickle, can take.
        meta: a JSON-able dict, readable later without the value.
        file: a binary file object; it is neither flushed nor closed.
        key: signs the payload with HMAC-SHA256.

    Raises:
        StoreError: the value cannot be pickled. Nothing has been written.
    """
    stream, buffers = _pickled(value)
    head, total = _head(meta, stream, buffers, signed=key is not None)
    pieces = _finished(head, _body(len(head), stream, buffers), key)
    if total <= _ONE_READ:
        pieces = iter((b"".join(pieces),))
    for piece in pieces:
        _write_all(file, piece)
    return total


def dumps(value: object, meta: dict[str, Any], *, key: bytes | None = None) -> bytes:
    """Return the bytes that `dump` would write."""
    file = io.BytesIO()
    dump(value, meta, file, key=key)
    return file.getvalue()


def open(source: str | os.PathLike[str] | bytes | bytearray | memoryview, *, key: bytes | None = None) -> Payload:
    """
    Open a payload and check its head; the value is neither read nor trusted yet.

    Args:
        source: a path, or the whole payload as bytes.
        key: where given, the payload must carry a signature made with it.

    Raises:
        IntegrityError: it is no payload, is cut short, its head is damaged, or the signature is missing or wrong.
        OSError: the file cannot be read (`FileNotFoundError` where there is none).
    """
    data = source if isinstance(source, (bytes, bytearray, memoryview)) else _read(source)
    return Payload(data, key)


class Payload:
    """An opened payload: its `meta` at once, its value on demand."""

    __slots__ = (
        "_body_at",
        "_buffers",
        "_data",
        "_head_size",
        "_lent",
        "_meta",
        "_meta_size",
        "_signed",
        "_stream_size",
        "nbytes",
    )

    def __init__(self, data: Any, key: bytes | None = None) -> None:
        self._data = data
        self._lent = False
        self._meta: dict[str, Any] | None = None
        self.nbytes = len(data)
        if self.nbytes < _PROLOGUE_SIZE + _FOOTER_SIZE:
            raise IntegrityError(f"This is no payload of lore's: it has only {self.nbytes} bytes.")
        magic, flags, buffers, self._meta_size, self._stream_size, total, checksum = _PROLOGUE.unpack_from(data)
        if magic != _MAGIC:
            raise IntegrityError("This is no payload of lore's, or one of another version: its first bytes differ.")
        if total != self.nbytes:
            raise IntegrityError(f"The payload has {self.nbytes} bytes where it should have {total}.")
        self._buffers = buffers
        self._signed = bool(flags & _SIGNED)
        self._head_size = _PROLOGUE_SIZE + self._meta_size + 8 * buffers
        if self._head_size > total or checksum != _head_digest(data, self._head_size):
            raise IntegrityError("The head of the payload is damaged.")
        if key is not None:
            self._check_signature(key)

    @property
    def meta(self) -> dict[str, Any]:
        """What was written beside the value."""
        if self._meta is None:
            self._meta = json.loads(self._data[_PROLOGUE_SIZE : _PROLOGUE_SIZE + self._meta_size])
        return self._meta

    def peek(self, size: int) -> bytes:
        """Return the first bytes of `meta` as they were written, which spares a hit the JSON."""
        return bytes(self._data[_PROLOGUE_SIZE : _PROLOGUE_SIZE + min(size, self._meta_size)])

    @property
    def in_one(self) -> bytes | None:
        """The pickle of a value that has no buffers beside it, else None: what was verified once loads from this."""
        end = self._head_size + self._stream_size
        return None if self._buffers else bytes(self._data[self._head_size : end])

    @property
    def checksum(self) -> bytes:
        """The 16 bytes that tell the value's bytes from all others, as they were written."""
        return bytes(self._data[self.nbytes - _FOOTER_SIZE : self.nbytes - _SIGNATURE_SIZE])

    def verify(self) -> None:
        """
        Check every byte of the value against its checksum.

        Raises:
            IntegrityError: a byte is not what was written.
        """
        body_end = self.nbytes - _FOOTER_SIZE
        view = memoryview(self._data)
        marked = not self._signed and view[-_SIGNATURE_SIZE:] != bytes(_SIGNATURE_SIZE)
        if marked or xxh3_128_digest(view[self._head_size : body_end]) != self.checksum:
            raise IntegrityError("The payload is damaged: its checksum does not fit its content.")

    def load(self, verify: bool = True) -> Any:
        """
        Return the value, private to the caller.

        The first load hands out the memory of the mapping itself. Another load of the same Payload finds a change that
        its caller made there (IntegrityError) and gives copies: open the file anew instead.

        Args:
            verify: check every byte first. Without it the load of a large payload costs next to nothing, and damage on
                the disk goes unnoticed unless it breaks the pickle.

        Raises:
            IntegrityError: a byte is not what was written, or the value cannot be rebuilt here.
        """
        if verify or self._lent:
            self.verify()
        view = memoryview(self._data)
        end = self._head_size + self._stream_size
        try:
            if not self._buffers:
                return pickle.loads(view[self._head_size : end])
            return pickle.loads(view[self._head_size : end], buffers=self._views(view, end))
        except MemoryError:
            raise
        except Exception as error:
            raise IntegrityError(f"The value cannot be rebuilt here ({type(error).__name__}: {error}).") from error

    def _views(self, view: memoryview, end: int) -> Iterator[Any]:
        """Yield the buffers, writable and this process's own."""
        table = view[self._head_size - 8 * self._buffers : self._head_size]
        copy = view.readonly or self._lent
        self._lent = True
        for (size,) in Struct("<Q").iter_unpack(table):
            start = _aligned(end)
            end = start + size
            yield bytearray(view[start:end]) if copy else view[start:end]

    def _check_signature(self, key: bytes) -> None:
        if not self._signed:
            raise IntegrityError("The payload is not signed, and a signing key is set.")
        import hmac

        at = self.nbytes - _SIGNATURE_SIZE
        signature = hmac.digest(key, memoryview(self._data)[:at], "sha256")
        if not hmac.compare_digest(signature, bytes(self._data[at:])):
            raise IntegrityError("The payload is signed with another key, or was changed after it was signed.")


# --- reading --------------------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> Any:
    """Read a small file with one call, map a large one privately."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        data = os.read(descriptor, _ONE_READ)
        if len(data) < _ONE_READ:
            return data
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)


def _head_digest(data: Any, size: int) -> bytes:
    view = memoryview(data)
    if size <= _CHUNK:
        return xxh3_128_digest(bytes(view[:_DIGEST_AT]) + bytes(view[_PROLOGUE_SIZE:size]))
    hasher = xxh3_128(view[:_DIGEST_AT])
    hasher.update(view[_PROLOGUE_SIZE:size])
    return bytes(hasher.digest())


# --- writing --------------------------------------------------------------------------------------------------------


def _head(meta: dict[str, Any], stream: list[Any], buffers: list[memoryview], *, signed: bool) -> tuple[bytes, int]:
    """Return prologue and head, and the size that the whole will have."""
    text = json.dumps(meta, separators=(",", ":")).encode()
    table = pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
    size = sum(map(_nbytes, stream))
    total = _PROLOGUE_SIZE + len(text) + len(table) + size
    for buffer in buffers:
        total = _aligned(total) + buffer.nbytes
    total += _FOOTER_SIZE
    fields = (_MAGIC, _SIGNED if signed else 0, len(buffers), len(text), size, total)
    blank = _PROLOGUE.pack(*fields, bytes(16)) + text + table
    return _PROLOGUE.pack(*fields, _head_digest(blank, len(blank))) + text + table, total


def _finished(head: bytes, body: Iterable[Any], key: bytes | None) -> Iterator[Any]:
    """Yield head and body, and after them the checksum and signature that were made on the way."""
    signer = _signer(key, head) if key is not None else None
    hasher = xxh3_128()
    yield head
    for piece in body:
        hasher.update(piece)
        if signer is not None:
            signer.update(piece)
        yield piece
    checksum = bytes(hasher.digest())
    yield checksum
    if signer is None:
        yield bytes(_SIGNATURE_SIZE)
    else:
        signer.update(checksum)
        yield signer.digest()


def _signer(key: bytes, head: bytes) -> Any:
    import hmac  # loads OpenSSL, which most never need

    return hmac.new(key, head, "sha256")


def _write_all(file: Writable, piece: Any) -> None:
    """Write a piece whole: an unbuffered file on a disk that fills up takes a part of it and says so only by number."""
    written = file.write(piece)
    while isinstance(written, int) and written < _nbytes(piece):
        piece = memoryview(piece)[written:]
        written = file.write(piece)


def _body(at: int, stream: list[Any], buffers: list[memoryview]) -> Iterator[Any]:
    """Yield what follows the head, in pieces that stay in the processor's cache while they are hashed and written."""
    return _batches(_pieces(at, stream, buffers))


def _pieces(at: int, stream: list[Any], buffers: list[memoryview]) -> Iterator[Any]:
    """Yield the stream and the buffers with the padding between them, nothing longer than a chunk."""
    for piece in stream:
        yield from _chunks(piece)
        at += _nbytes(piece)
    for buffer in buffers:
        if padding := _aligned(at) - at:
            yield bytes(padding)
        yield from _chunks(buffer)
        at += padding + buffer.nbytes


def _chunks(piece: Any) -> Iterable[Any]:
    if _nbytes(piece) <= _CHUNK:
        return (piece,)
    view = memoryview(piece)
    return (view[start : start + _CHUNK] for start in range(0, view.nbytes, _CHUNK))


def _batches(pieces: Iterable[Any]) -> Iterator[Any]:
    """Join small pieces into larger ones: a call per piece costs more than a copy of it."""
    batch: list[Any] = []
    size = 0
    for piece in pieces:
        if size + _nbytes(piece) > _CHUNK:
            yield batch[0] if len(batch) == 1 else b"".join(batch)
            batch, size = [], 0
        batch.append(piece)
        size += _nbytes(piece)
    if batch:
        yield batch[0] if len(batch) == 1 else b"".join(batch)


def _nbytes(piece: Any) -> int:
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


class _Pieces:
    """A file that keeps what is written to it as it comes: pickle hands over large bytes without copying them."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []
        self.write = self.pieces.append


def _pickled(value: object) -> tuple[list[Any], list[memoryview]]:
    """Pickle a value, and with cloudpickle what pickle finds no name for (lambdas, local classes)."""
    try:
        return _pickle_with(pickle.Pickler, value)
    except Exception as refused:
        import cloudpickle

        with contextlib.suppress(Exception):
            return _pickle_with(cloudpickle.Pickler, value)
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        raise StoreError(f"A result of type {name} cannot be stored: {refused}") from refused


def _pickle_with(pickler_class: Any, value: object) -> tuple[list[Any], list[memoryview]]:
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _SMALLEST_OUT_OF_BAND:
            return True
        buffers.append(raw)
        return False

    file = _Pieces()
    pickler = pickler_class(file, protocol=5, buffer_callback=keep_in_band)
    known = copyreg.dispatch_table if pickler_class is pickle.Pickler else pickler_class.dispatch_table
    pickler.dispatch_table = {**known, **_reducers()}  # a plain dict: the C pickler looks into it without a call
    pickler.dump(value)
    return file.pieces, buffers


def _reducers() -> dict[type, Any]:
    """Return how to take types apart that would otherwise copy their memory into the stream."""
    reducers: dict[type, Any] = {io.BytesIO: _reduced_stream}
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        reducers[numpy.ndarray] = _reduced_array
    return reducers


def _reduced_array(array: Any) -> Any:
    """Take an array apart; one with gaps is made contiguous first, which costs one copy instead of two."""
    flags = array.flags
    if not flags.forc and array.nbytes >= _SMALLEST_OUT_OF_BAND and not array.dtype.hasobject:
        array = array.copy(order="C")
    return array.__reduce_ex__(5)


def _reduced_stream(stream: io.BytesIO) -> Any:
    return _stream, (pickle.PickleBuffer(stream.getbuffer()), stream.tell())


def _stream(content: Any, position: int) -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.seek(position)
    return stream
