"""
Tables: parquet and Arrow, which keep every type, and csv, which keeps none.
"""

from __future__ import annotations

import io
import json
from typing import Any, BinaryIO

from lore._extras import require
from lore._formats import separated
from lore._formats.frames import frame_of, is_table, with_pandas_times
from lore._formats.problems import FormatError

__all__ = ["dump", "load"]


def load(
    file: BinaryIO,
    format_: str,
    *,
    columns: list[str] | None = None,
    dtypes: str = "pandas",
    dtype: dict[str, Any] | None = None,
    delimiter: str | None = None,
    null_values: list[str] | None = None,
    encoding: str = "utf8",
    trusted: bool = False,
) -> Any:
    """Return the table as a DataFrame, Arrow-backed if `dtypes` is "arrow"."""
    pyarrow = require("pyarrow", extra="sql")
    require("pandas", extra="sql")
    if dtypes not in ("pandas", "arrow"):
        raise FormatError(f'dtypes is "pandas" or "arrow", not {dtypes!r}.')
    try:
        if format_ in ("csv", "tsv"):
            delimiter = delimiter or ("," if format_ == "csv" else "\t")
            table = separated.parsed(file.read(), delimiter, columns, dtype, null_values, encoding)
            return frame_of(with_pandas_times(table), dtypes)
        table = _parquet(file, columns) if format_ == "parquet" else _arrow(file, columns)
    except KeyError as error:
        raise FormatError(f"This table has no column {error}.") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise FormatError(f"This is not a sound {format_} file: {error}") from error
    return _exact_frame(table, dtypes)


def dump(value: object, file: BinaryIO, format_: str) -> None:
    """Write a table."""
    pyarrow = require("pyarrow", extra="sql")
    if not is_table(value):
        raise FormatError(f"{format_} holds tables: a DataFrame, not a {type(value).__name__}.")
    try:
        if format_ in ("csv", "tsv"):
            separated.written(value, file, "," if format_ == "csv" else "\t")
        elif format_ == "parquet":
            require("pyarrow.parquet", extra="sql").write_table(_exact_table(value), file, compression="zstd")
        else:
            _write_arrow(_exact_table(value), file, "lz4" if format_ == "feather" else None)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{format_} cannot hold this table: {error}") from error


def _parquet(file: BinaryIO, columns: list[str] | None) -> Any:
    parquet = require("pyarrow.parquet", extra="sql")
    return parquet.ParquetFile(file).read(columns=columns, use_pandas_metadata=columns is not None)


def _arrow(file: BinaryIO, columns: list[str] | None) -> Any:
    """Read the file format, or the stream format that some tools write under the same suffix."""
    pyarrow = require("pyarrow", extra="sql")
    buffer = pyarrow.py_buffer(file.read())
    try:
        table = pyarrow.ipc.open_file(buffer).read_all()
    except pyarrow.ArrowInvalid:
        table = pyarrow.ipc.open_stream(buffer).read_all()
    return table if columns is None else table.select(columns)


def _write_arrow(table: Any, file: BinaryIO, compression: str | None) -> None:
    pyarrow = require("pyarrow", extra="sql")
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    sink = file if not isinstance(file, io.BytesIO) else pyarrow.PythonFile(file, mode="w")
    with pyarrow.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)


_ATTRS = b"PANDAS_ATTRS"


def _exact_table(value: Any) -> Any:
    """Return an Arrow table that pandas can restore: index, dtypes and attrs go into its metadata."""
    pyarrow = require("pyarrow", extra="sql")
    if isinstance(value, pyarrow.Table):
        return value
    if hasattr(value, "to_arrow"):
        return value.to_arrow()
    table = pyarrow.Table.from_pandas(value)
    if not value.attrs:
        return table
    return table.replace_schema_metadata({**table.schema.metadata, _ATTRS: json.dumps(value.attrs).encode()})


def _exact_frame(table: Any, dtypes: str) -> Any:
    """Return what pandas wrote as pandas had it, and what others wrote without decay."""
    pandas = require("pandas", extra="sql")
    metadata = table.schema.metadata or {}
    if b"pandas" not in metadata:
        return frame_of(table, dtypes)
    frame = table.to_pandas(types_mapper=pandas.ArrowDtype if dtypes == "arrow" else None)
    if _ATTRS in metadata:
        frame.attrs = json.loads(metadata[_ATTRS])
    return frame
