"""
Values as keys: sixteen bytes that are equal where values are equal and differ where values differ.

`digest(value)` walks the whole value, never a sample of it, and gives 16 bytes; `fingerprint(value)` gives the same as
32 hexadecimal digits. They do not depend on the machine, the process, the hash seed or on how the value came to be: a
strided view and its copy, a set built in another order, an estimator before and after a pickle round trip are one
value.

What makes two values one
-------------------------
- Types count: `1`, `True`, `1.0`, `"1"`, `b"1"` and `np.int64(1)` are six values. Floats count by their bits: `0.0` and
  `-0.0` are two values, and a NaN is itself.
- The order of a sequence and of a **dict** counts, that of a set does not. Dicts that compare equal may still iterate
  in different orders, and results show it (`pd.DataFrame(columns)`, `list(d)`): one key for both would return a wrong
  result. The order of an object's attributes does not count.
- The **memory layout** of an array does not count: C order, Fortran order and a strided view of the same numbers are
  one value. No function is told by its contract which one it gets, and a copy must not be a miss.
- Shared references count as equal copies; cycles are followed once.
- An object is its class and its state, as `__getstate__` or `__reduce_ex__` give it (never the bytes of a pickle). A
  class or function of the user's own counts by its code, one from a package or the standard library by its name.
- An object may speak for itself: `__lore_fingerprint__()` returns bytes or text that stands for its state, or
  `("digest", d)`, where `d` is the digest of the value that it stands for.
- What is consumed or held rather than known (open files, locks, sockets, generators, iterators, a bare `object()`) has
  no value: UnkeyableArgument names its type and where inside the value it was found.

How it is built
---------------
Every value becomes a *token*, bytes that no other value has: plain data (nested lists, tuples and dicts of scalars)
through `marshal` version 2, which is injective on exact types; buffers and everything composite as a digest over
length-prefixed parts. Encoders of other packages' types live in sibling modules and load when a value of such a type is
first met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from marshal import dumps
from struct import pack
from types import FunctionType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from xxhash import xxh3_128, xxh3_128_digest

from lore.errors import UnkeyableArgument

__all__ = [
    "Encoder",
    "Unkeyable",
    "Walk",
    "buffer_token",
    "digest",
    "digest_of_buffers",
    "fingerprint",
    "leaf",
    "node",
    "remember",
]

T = TypeVar("T")
Encoder = Callable[[Any, "Walk"], bytes]

SCALARS = frozenset({int, str, float, bool, type(None), bytes, complex, type(...)})
_NESTS = frozenset({list, tuple, dict})
_SORTABLE = frozenset({int, str, bytes})
_MARSHAL = 2  # the last version without references, whose bytes therefore depend on the value alone
_DEEPEST_PLAIN = 16
_MOST_PLAIN = 1 << 25
_BATCH = 4096
_LONGEST_SCALAR = 1 << 16


def digest(value: object) -> bytes:
    """
    Return 16 bytes that stand for a value, its type and its whole content.

    Raises:
        UnkeyableArgument: the value, or something inside it, cannot be taken faithfully. `type_name` is the offending
            type and `path` says where it is, such as `['rows'][3].lock`.

    Threads: a value that another thread changes meanwhile has no digest worth the name; otherwise safe.
    """
    if type(value) in SCALARS:
        return xxh3_128_digest(_scalar_token(value))
    try:
        token = Walk().token(value)
    except Unkeyable as error:
        raise error.told() from error.__cause__
    except RecursionError:
        kind = type_name(value)
        raise UnkeyableArgument(f"A value of type {kind} is nested too deeply to be keyed.", type_name=kind) from None
    return token[1:] if token.startswith(b"=") else xxh3_128_digest(token)


def fingerprint(value: object) -> str:
    """
    Return the digest of a value as 32 hexadecimal digits, equal on every machine, process and run.

    >>> fingerprint([1, 2.0, "three"])
    'becedc9ff81c8d68671d97238ebb77c0'
    """
    return digest(value).hex()


class Unkeyable(Exception):
    """Something inside a value has no faithful key; containers add where it is while this passes through them."""

    def __init__(self, culprit: object, reason: str) -> None:
        super().__init__(reason)
        self.type_name = type_name(culprit)
        self.reason = reason
        self.path = ""

    def under(self, step: str) -> Unkeyable:
        self.path = step + self.path
        return self

    def told(self) -> UnkeyableArgument:
        """Say it in the words of the public error."""
        where = f" (found at {self.path})" if self.path else ""
        message = f"A value of type {self.type_name}{where} cannot be keyed: {self.reason}."
        return UnkeyableArgument(message, type_name=self.type_name, path=self.path)


class Walk:
    """
    One walk over one value: what is being entered (for cycles) and what was already seen (for shared parts).

    `in_reach` says that nothing but lists, tuples and dicts lies around the present place. There a reference is
    replaced by its value before a function sees it, elsewhere the function sees the reference; and so they count.
    """

    __slots__ = ("classes", "done", "done_elsewhere", "encoders", "in_reach", "lowest", "opened")

    def __init__(self) -> None:
        self.opened: dict[int, int] = {}
        self.done: dict[int, tuple[object, bytes]] = {}
        self.done_elsewhere: dict[int, tuple[object, bytes]] = {}
        self.in_reach = True
        self.classes: dict[type, bytes] = {}
        self.encoders: dict[type, Encoder] = {}
        self.lowest = _NOWHERE

    def token(self, value: Any) -> bytes:
        """Return the token of a value: bytes that no other value has."""
        kind = type(value)
        if kind in SCALARS:
            return _scalar_token(value)
        encode = _encoders.get(kind) or self.encoders.get(kind)
        return encode(value, self) if encode is not None else self._first(kind, value)

    def _first(self, kind: type, value: Any) -> bytes:
        """Encode the first value of a class in this walk; the others take what that has found."""
        token = (_found.get(kind) or self._find(kind, value))(value, self)
        self.encoders[kind] = _found.get(kind) or _encoders[kind]
        return token

    def _find(self, kind: type, value: Any) -> Encoder:
        try:
            return find(kind)
        except RecursionError:
            raise
        except Exception as error:  # of a metaclass of somebody's that does not answer questions
            raise Unkeyable(value, f"its class cannot be asked what it is ({error})") from error

    def tokens(self, values: Iterable[Any], place: Callable[[int], str] = "[{}]".format) -> list[bytes]:
        """Return the tokens of a sequence, naming the place of what has none."""
        tokens: list[bytes] = []
        token, append = self.token, tokens.append
        try:
            for value in values:
                append(token(value))
        except Unkeyable as error:
            raise error.under(place(len(tokens))) from error.__cause__
        return tokens

    def apart(self, encode: Callable[..., T], *args: Any) -> T:
        """Encode something whose references are not replaced, but seen."""
        if not self.in_reach:
            return encode(*args)
        self.in_reach = False
        self.done, self.done_elsewhere = self.done_elsewhere, self.done
        try:
            return encode(*args)
        finally:
            self.done, self.done_elsewhere = self.done_elsewhere, self.done
            self.in_reach = True

    def inside(self, value: object, encode: Encoder, *, reaches: bool = False) -> bytes:
        """Encode something that may contain itself or be met again; one that `reaches` lets references be replaced."""
        if self.in_reach and not reaches:
            return self.apart(self.inside, value, encode)
        key = id(value)
        seen = self.done.get(key)
        if seen is not None:
            return seen[1]
        opened = self.opened
        depth = len(opened)
        if key in opened:
            self.lowest = min(self.lowest, opened[key])
            return b"^" + pack("<Q", depth - opened[key])
        outer, self.lowest = self.lowest, _NOWHERE
        opened[key] = depth
        try:
            token = encode(value, self)
        finally:
            del opened[key]
        if self.lowest >= depth:  # nothing in here points above it, so the token holds wherever it is met again
            self.done[key] = (value, token)
            self.lowest = outer
        else:
            self.lowest = min(outer, self.lowest)
        return token

    def code(self, value: object) -> bytes:
        """Return the digest of the user's own code: a function or a class."""
        from lore._caching import code

        return bytes(code.digest_of(value))

    def class_token(self, cls: type) -> bytes:
        """Return the token of a class: its name, and its code where that is the user's own."""
        token = self.classes.get(cls)
        if token is None:
            from lore._caching.values_objects import class_token

            token = self.classes[cls] = class_token(cls, self)
        return token


def node(tag: bytes, *parts: bytes) -> bytes:
    """Bind parts under a tag into one token of fixed length; other parts or another tag give another token."""
    lengths = pack(f"<{len(parts) + 2}Q", len(parts), len(tag), *map(len, parts))
    return b"N" + xxh3_128_digest(b"".join((lengths, tag, *parts)))


def digest_of_buffers(buffers: Iterable[Any]) -> bytes:
    """Return the digest of the bytes of contiguous buffers, one after the other."""
    hasher = xxh3_128()
    for buffer in buffers:
        hasher.update(buffer)
    return bytes(hasher.digest())


def leaf(*facts: Any) -> bytes:
    """Return the token of a value that a name and a few scalars tell in full; cheaper than a node."""
    token = b"V" + dumps(facts, _MARSHAL)
    return token if len(token) <= _LONGEST_SCALAR else b"W" + xxh3_128_digest(token)


def buffer_token(buffer: Any) -> bytes:
    """Return the token of a contiguous buffer: its length in bytes and a digest of all of them, read in place."""
    size = buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
    return b"B" + pack("<Q", size) + xxh3_128_digest(buffer)


def type_name(value: object) -> str:
    cls = type(value)
    module = module_of(cls)
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def module_of(cls: type) -> str:
    """Return the name of a class's module; a class may hide it behind a descriptor for its instances."""
    module: object = cls.__module__
    return module if isinstance(module, str) else ""


def package_of(cls: type) -> str:
    return module_of(cls).partition(".")[0]


def guarded(encode: Encoder) -> Encoder:
    """Make an encoder safe for values that may contain themselves."""
    return lambda value, walk: walk.inside(value, encode)


def state_token(state: dict[Any, Any], walk: Walk) -> bytes:
    """Return the token of an object's attributes, in whatever order they were set."""
    try:
        items = dict(sorted(state.items()))
    except TypeError:  # a key that is not text; values are never compared, since keys differ
        return node(b"state", *sorted(node(b"", walk.token(k), walk.token(v)) for k, v in state.items()))
    token = _plain_token(items) if _is_plain(items) else None
    if token is not None:
        return token
    names = tuple(items)
    return node(b"state", walk.token(names), *walk.tokens(items.values(), lambda i: f".{names[i]}"))


# --- plain data -----------------------------------------------------------------------------------------------------


def _scalar_token(value: Any) -> bytes:
    kind = type(value)
    if (kind is str or kind is bytes) and len(value) > _LONGEST_SCALAR:
        return _long_token(value)
    return b"M" + dumps(value, _MARSHAL)


def _long_token(value: str | bytes) -> bytes:
    """Encode a long text or long bytes without a copy of the bytes."""
    if isinstance(value, str):
        return node(b"long text", buffer_token(value.encode("utf-8", "surrogatepass")))
    return node(b"long bytes", buffer_token(value))


def _is_plain(value: Any) -> bool:
    """Say whether a container holds nothing but scalars and containers of such, to a sane depth and number."""
    level: Any = [*value, *value.values()] if type(value) is dict else value
    for _ in range(_DEEPEST_PLAIN):
        kinds = set(map(type, level)) - SCALARS
        if not kinds:
            return True
        if not kinds <= _NESTS:
            return False
        level = list(islice(_below(level), _MOST_PLAIN + 1))
        if len(level) > _MOST_PLAIN:
            return False
    return False


def _below(level: Iterable[Any]) -> Iterator[Any]:
    """Yield what the containers of one level hold."""
    for value in level:
        kind = type(value)
        if kind is tuple or kind is list:
            yield from value
        elif kind is dict:
            yield from value
            yield from value.values()


def _plain_token(value: Any) -> bytes | None:
    """Encode plain data at the speed of marshal; None where it holds more than two gigabytes in one piece."""
    try:
        if len(value) <= _BATCH:
            return b"P" + xxh3_128_digest(dumps(value, _MARSHAL))
        items = iter(value.items() if type(value) is dict else value)
        hasher = xxh3_128(dumps((type(value).__name__, len(value)), _MARSHAL))
        while batch := tuple(islice(items, _BATCH)):
            hasher.update(dumps(batch, _MARSHAL))
    except ValueError:
        return None
    return b"L" + bytes(hasher.digest())


# --- containers -----------------------------------------------------------------------------------------------------


def _sequence(value: Any, walk: Walk) -> bytes:
    token = _plain_token(value) if _is_plain(value) else None
    return token or walk.inside(value, _mixed_sequence, reaches=True)


def _mixed_sequence(value: Any, walk: Walk) -> bytes:
    return node(b"list" if type(value) is list else b"tuple", *walk.tokens(value))


def _dict(value: Any, walk: Walk) -> bytes:
    token = _plain_token(value) if _is_plain(value) else None
    return token or walk.inside(value, items_token, reaches=True)


def items_token(value: Any, walk: Walk) -> bytes:
    """Return the token of a mapping's items in their order."""
    keys = list(value)
    names = walk.apart(walk.tokens, keys, lambda i: f"<the key {_short(keys[i])}>")
    return node(b"dict", *names, *walk.tokens(map(value.__getitem__, keys), lambda i: f"[{_short(keys[i])}]"))


def members_token(value: Any, walk: Walk) -> bytes:
    """Return the token of a set's members in no order."""
    kinds = set(map(type, value))
    if len(kinds) == 1 and kinds <= _SORTABLE:
        return node(b"set", b"sorted", walk.token(sorted(value)))
    try:
        return node(b"set", *sorted(map(walk.token, value)))
    except Unkeyable as error:
        raise error.under("{...}") from error.__cause__


def _short(key: object) -> str:
    try:
        text = repr(key) if type(key) in SCALARS else f"<{type_name(key)}>"
    except ValueError:  # a number of more digits than Python prints
        text = "<int>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _function(value: FunctionType, walk: Walk) -> bytes:
    from lore._caching.values_objects import function_token

    return function_token(value, walk)


_encoders: dict[type, Encoder] = {
    list: _sequence,
    tuple: _sequence,
    dict: _dict,
    set: lambda value, walk: node(b"a set", walk.inside(value, members_token)),
    frozenset: lambda value, walk: node(b"a frozenset", walk.inside(value, members_token)),
    bytearray: lambda value, walk: node(b"bytearray", buffer_token(value)),
    FunctionType: guarded(_function),
}
_found: WeakKeyDictionary[type, Encoder] = WeakKeyDictionary()
_NOWHERE = 1 << 60

_HOMES = {
    "numpy": "values_arrays",
    "scipy": "values_arrays",
    "torch": "values_arrays",
    "pandas": "values_tables",
    "pyarrow": "values_arrow",
    "polars": "values_arrow",
    "sklearn": "values_models",
    "keras": "values_models",
    "tensorflow": "values_models",
    "google": "values_messages",
    "sqlalchemy": "values_messages",
}
_LASTING = frozenset((*_HOMES, "builtins", "types", "decimal", "datetime", "fractions", "pathlib", "uuid"))


def find(cls: type) -> Encoder:
    """Find how values of a class are encoded, and remember it."""
    encode = _find(cls)
    remember(cls, encode)
    return encode


def remember(cls: type, encode: Encoder) -> None:
    """Remember how values of a class are encoded, as long as the class lives."""
    lasting = package_of(cls) in _LASTING
    (_encoders if lasting else _found)[cls] = encode


def _find(cls: type) -> Encoder:
    from importlib import import_module

    from lore._caching import values_objects, values_standard

    if hasattr(cls, "__lore_fingerprint__"):
        return guarded(values_objects.offered)
    for base in cls.__mro__:
        home = _HOMES.get(package_of(base))
        if home is not None:
            encode: Encoder | None = import_module(f"lore._caching.{home}").find(cls)
            if encode is not None:
                return encode
    return values_standard.find(cls) or values_objects.encoder(cls)
