"""
Where bytes lie: local paths and fsspec URLs, read as a stream and replaced as a whole.

A local file is replaced only by rename, so whoever reads sees the old file or the new one and a writer that is killed
leaves the old one. An object store makes an upload visible when it is complete; on other remote file systems the
upload goes to a temporary name first.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from lore._extras import require
from lore._formats.problems import FormatError, MissingFile

__all__ = ["compressed", "decompressed", "local_path", "reading", "replacing"]

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory", "hf", "http", "https"})


def local_path(path: str | os.PathLike[str]) -> str | None:
    """Return the path in the local file system, or None for a URL of another one."""
    text = os.fspath(path)
    for scheme in ("file://", "local://"):
        if text.startswith(scheme) and "::" not in text:
            return text[len(scheme) :]
    return None if "://" in text else os.path.expanduser(text)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """
    Open a file's bytes, seekable.

    Raises:
        MissingFile: there is none.
        FormatError: it is a folder.
        MissingDependencyError: the path is a URL and fsspec is not installed.
    """
    try:
        file = _opened(path)
    except FileNotFoundError as error:
        raise MissingFile(errno.ENOENT, "There is no such file", str(path)) from error
    except IsADirectoryError as error:
        raise FormatError(f"{str(path)!r} is a folder, not a file.") from error
    with file:
        yield file


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """
    Open a stream whose bytes replace the file when the block ends; when it fails, the old file stays.

    Missing folders are made. A symbolic link is followed, and an existing file keeps its permissions.
    """
    local = local_path(path)
    context = _replacing_local(local) if local is not None else _replacing_remote(os.fspath(path))
    with context as file:
        yield file


def decompressed(file: BinaryIO, compression: str | None) -> BinaryIO:
    """
    Return a seekable stream of the plain bytes.

    Raises:
        FormatError: the bytes are not compressed that way, or damaged.
    """
    if compression is None:
        return file
    try:
        return io.BytesIO(_inflated(file.read(), compression))
    except FormatError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FormatError(f"This is not a sound {compression} file: {error}") from error


@contextlib.contextmanager
def compressed(file: BinaryIO, compression: str | None, member: str) -> Iterator[BinaryIO]:
    """Yield a stream whose bytes are compressed into `file`; `member` is the name inside a zip archive."""
    if compression is None:
        yield file
    elif compression == "zip":
        import zipfile

        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open(zipfile.ZipInfo(member), "w", force_zip64=True) as stream:
                yield cast(BinaryIO, stream)
    elif compression == "zstd":
        pyarrow = require("pyarrow", extra="sql")
        plain = io.BytesIO()
        yield plain
        file.write(pyarrow.compress(plain.getvalue(), codec="zstd", asbytes=True))
    else:
        with _deflating(file, compression) as stream:
            yield stream


def _inflated(data: bytes, compression: str) -> bytes:
    if compression == "zip":
        return _only_member(data)
    if compression == "zstd":
        pyarrow = require("pyarrow", extra="sql")
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
            return cast(bytes, stream.read())
    module = importlib.import_module({"xz": "lzma"}.get(compression, compression))
    try:
        return cast(bytes, module.decompress(data))
    except getattr(module, "LZMAError", ()) as error:
        raise ValueError(*error.args) from error


def _only_member(data: bytes) -> bytes:
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            if len(names) == 1:
                return archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise ValueError(*error.args) from error
    raise FormatError(f"A zip archive must hold exactly one file to be read; this one holds {len(names)}.")


def _deflating(file: BinaryIO, compression: str) -> Any:
    """Wrap a stream; gzip without name and time, so that equal values give equal files."""
    if compression == "gzip":
        import gzip

        return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
    if compression == "bz2":
        import bz2

        return bz2.BZ2File(file, "wb")
    import lzma

    return lzma.LZMAFile(file, "wb")


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    local = local_path(path)
    if local is not None:
        return open(local, "rb")
    require("fsspec", extra="remote")
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(os.fspath(path))
    return cast(BinaryIO, fs.open(name, "rb"))


@contextlib.contextmanager
def _replacing_local(path: str) -> Iterator[BinaryIO]:
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name[:200]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            _keep_permissions(target, file.fileno())
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _keep_permissions(target: str, descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(os.stat(target).st_mode))


@contextlib.contextmanager
def _replacing_remote(url: str) -> Iterator[BinaryIO]:
    require("fsspec", extra="remote")
    from fsspec.core import url_to_fs

    fs, name = url_to_fs(url)
    with tempfile.NamedTemporaryFile(suffix=".lore") as file:
        yield cast(BinaryIO, file)
        file.flush()
        _upload(fs, file.name, name)


def _upload(fs: Any, source: str, name: str) -> None:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & _OBJECT_STORES:
        fs.put_file(source, name)
        return
    temporary = f"{name}.{os.urandom(4).hex()}.tmp"
    fs.makedirs(fs._parent(name), exist_ok=True)
    try:
        fs.put_file(source, temporary)
        fs.mv(temporary, name)
    except BaseException:
        with contextlib.suppress(Exception):
            fs.rm_file(temporary)
        raise
