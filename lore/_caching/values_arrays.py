"""
Arrays as keys: numpy arrays and scalars of every dtype, random generators, scipy's sparse matrices, torch tensors.

The elements count in C order, whatever the memory layout: contiguous memory is hashed in place, other layouts pass in
pieces through the processor's cache and are never copied whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from lore._caching.values import Encoder, Walk, guarded, leaf, node, package_of
from lore._caching.values_objects import instance

__all__ = ["array_token", "content_digest", "dtype_token", "find", "is_opaque"]

_PIECE = 1 << 20
_BUFFERS = frozenset("biufc")  # kinds that the buffer protocol knows
_NOT_BYTES = frozenset("OT")  # dtype kinds whose memory holds pointers


def find(cls: type) -> Encoder | None:
    """Return the encoder of a type of numpy's, scipy's or torch's, or None where it is an object like any other."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return _torch(cls)
    if cls in (numpy.ndarray, numpy.memmap):
        return array_token
    if issubclass(cls, numpy.ma.MaskedArray):
        return guarded(_masked)
    if issubclass(cls, numpy.ndarray):
        return guarded(_subclass)
    if issubclass(cls, numpy.generic):
        return _scalar if package_of(cls) == "numpy" else None
    if issubclass(cls, numpy.dtype):
        return lambda value, walk: node(b"dtype", dtype_token(value, walk))
    return _sparse(cls) or _torch(cls)


# --- arrays ---------------------------------------------------------------------------------------------------------


def array_token(value: Any, walk: Walk) -> bytes:
    """Return the token of an array: dtype, shape and elements."""
    dtype = dtype_token(value.dtype, walk)
    if is_opaque(value.dtype):
        return walk.inside(value, lambda value, walk: node(dtype, leaf(*value.shape), _objects(value, walk)))
    return node(dtype, leaf(*value.shape), content_digest(value))


def _objects(value: Any, walk: Walk) -> bytes:
    return walk.token(value.reshape(-1).tolist())


def is_opaque(dtype: Any) -> bool:
    """Say whether the memory of an array holds references instead of the elements."""
    return dtype.hasobject or dtype.kind in _NOT_BYTES


def dtype_token(dtype: Any, walk: Walk) -> bytes:
    """Return the token of a dtype: its name and byte order, and the layout and names of its fields."""
    token = _dtypes.get(dtype)
    if token is None:
        token = _dtype_token(dtype, walk)
        if dtype.kind in "biufcSU":  # equal dates may be spelled in different units
            _dtypes[dtype] = token
    return token


_dtypes: dict[Any, bytes] = {}


def _dtype_token(dtype: Any, walk: Walk) -> bytes:
    if dtype.fields is not None:
        parts = [walk.token((dtype.itemsize, dtype.names))]
        for name in dtype.names or ():
            inner, offset, *title = dtype.fields[name]
            parts += (dtype_token(inner, walk), walk.token((offset, *title)))
        return node(b"fields", *parts)
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return node(b"sub-array", dtype_token(inner, walk), walk.token(shape))
    if dtype.kind == "T":
        return node(b"strings", walk.token(getattr(dtype, "na_object", "")), walk.token(getattr(dtype, "coerce", True)))
    return leaf("dtype", package_of(dtype.type), dtype.name, dtype.str)


def content_digest(value: Any) -> bytes:
    """Return the digest of the elements of an array in C order."""
    used = _used_bytes(value.dtype)
    if used is None and value.flags.c_contiguous:
        return xxh3_128_digest(value if value.dtype.kind in _BUFFERS else _bytes(value))
    hasher = xxh3_128()
    _update(hasher, value, used)
    return bytes(hasher.digest())


def _bytes(value: Any) -> Any:
    """Return the memory of a contiguous array as bytes."""
    return value.reshape(-1).view("u1") if value.size and value.dtype.itemsize else b""


def _update(hasher: Any, value: Any, used: Any) -> None:
    """Feed elements in C order, leaving out the bytes between fields that hold nothing."""
    if isinstance(used, tuple):
        for name in used:
            field = value[name]
            _update(hasher, field, _used_bytes(field.dtype))
        return
    for piece in _pieces(value):
        if used is None:
            hasher.update(_bytes(piece))
        else:
            significant = piece.reshape(-1).view("u1").reshape(-1, piece.dtype.itemsize)[:, used]
            hasher.update(significant.tobytes())


def _pieces(value: Any) -> Iterator[Any]:
    """Yield an array in C order as contiguous pieces of at most a megabyte, or whole where it is contiguous."""
    if value.flags.c_contiguous:
        yield value
    elif value.nbytes <= _PIECE:
        yield value.copy(order="C")
    else:
        rows = _PIECE * len(value) // value.nbytes
        if rows:
            for start in range(0, len(value), rows):
                yield value[start : start + rows].copy(order="C")
        else:
            for row in value:
                yield from _pieces(row)


def _used_bytes(dtype: Any) -> Any:
    """
    Say which bytes of an element hold it: None for all, the names of fields, or a slice or mask.

    Fields of an aligned record have gaps between them, and a long double of x86 uses 10 of its 16 bytes; what the rest
    holds is accident.
    """
    if dtype.kind in "biumMSU":
        return None
    if dtype.subdtype is not None:
        return None if _used_bytes(dtype.subdtype[0]) is None else _mask_of(dtype)
    if dtype.names is not None:
        inner = [dtype.fields[name][0] for name in dtype.names]
        packed = sum(field.itemsize for field in inner) == dtype.itemsize
        return None if packed and all(_used_bytes(field) is None for field in inner) else dtype.names
    if dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
        return _mask_of(dtype)
    return None


def _mask_of(dtype: Any) -> Any:
    import numpy as np

    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return np.tile(_mask_of(inner), int(np.prod(shape)))
    if dtype.names is not None:
        mask = np.zeros(dtype.itemsize, bool)
        for name in dtype.names:
            field, offset = dtype.fields[name][:2]
            mask[offset : offset + field.itemsize] = _mask_of(field)
        return mask
    used = np.ones(dtype.itemsize, bool)
    if dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
        half = dtype.itemsize if dtype.kind == "f" else dtype.itemsize // 2
        significant = 10 if np.finfo(dtype).nmant == 63 else half
        used = np.arange(dtype.itemsize) % half < significant
    return used


def _subclass(value: Any, walk: Walk) -> bytes:
    """Encode an array of a class of its own: the class, the array, and what hangs on it."""
    import numpy as np

    attributes = walk.token(getattr(value, "__dict__", None) or {})
    return node(b"array of", walk.class_token(type(value)), array_token(value.view(np.ndarray), walk), attributes)


def _masked(value: Any, walk: Walk) -> bytes:
    import numpy as np

    mask = np.ma.getmask(value)
    masks_some = mask is not np.ma.nomask and (mask.dtype.names is not None or bool(mask.any()))
    return node(
        b"masked array",
        walk.class_token(type(value)),
        array_token(np.ma.getdata(value).view(np.ndarray), walk),
        walk.token(mask if masks_some else None),
        walk.token(value.fill_value),
        walk.token(bool(value.hardmask)),
    )


def _scalar(value: Any, walk: Walk) -> bytes:
    dtype = value.dtype
    if is_opaque(dtype) or _used_bytes(dtype) is not None:
        import numpy as np

        return node(b"numpy scalar", array_token(np.asarray(value), walk))
    return leaf("numpy scalar", dtype_token(dtype, walk), value.tobytes())


# --- sparse matrices and tensors ------------------------------------------------------------------------------------

_SPARSE_PARTS = {
    "csr": ("indptr", "indices", "data"),
    "csc": ("indptr", "indices", "data"),
    "bsr": ("indptr", "indices", "data"),
    "coo": ("coords", "data"),
    "dia": ("offsets", "data"),
    "lil": ("rows", "data"),
    "dok": ("_dict",),
}


def _sparse(cls: type) -> Encoder | None:
    """Encode sparse matrices by what they hold, without what scipy notes about them on the way (sorted? canonical?)."""
    sparse = sys.modules.get("scipy.sparse")
    if sparse is None or not any(base.__name__ in ("spmatrix", "sparray", "_spbase") for base in cls.__mro__):
        return None

    def encode(value: Any, walk: Walk) -> bytes:
        parts = _SPARSE_PARTS.get(value.format)
        if parts is None:
            return instance(value, walk)
        about = walk.token((value.format, tuple(map(int, value.shape))))
        content = (walk.token(getattr(value, part)) for part in parts)
        return node(b"sparse", walk.class_token(cls), about, walk.token(value.dtype), *content)

    return guarded(encode)


def _torch(cls: type) -> Encoder | None:
    torch = sys.modules.get("torch")
    if torch is None or not issubclass(cls, torch.Tensor):
        return None

    def encode(value: Any, walk: Walk) -> bytes:
        if value.layout is not torch.strided:
            return instance(value, walk)
        about = walk.token((str(value.dtype), str(value.device), bool(value.requires_grad), tuple(value.shape)))
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return node(b"tensor", walk.class_token(cls), about, content_digest(raw))

    return encode
