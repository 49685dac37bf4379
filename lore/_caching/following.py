"""
Following code: from one function to everything it can reach in the user's own code.

A `Walk` gives each function, class and object it meets a number, in the order of meeting, and writes a record for it in
which other such things stand as their numbers: cycles need no care, and the digest of all records is the digest of the
whole. Constants stand in the records by content. Every look at something that may change is noted in a `Watch`.
"""

from __future__ import annotations

import abc
import collections
import enum
import functools
import gc
import os
import struct
import sys
import threading
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

import xxhash

from lore import _wrapping
from lore._caching import origins
from lore._caching.classes import UNWRITTEN, described, generates, registered, type_text, written
from lore._caching.facts import Fact, Facts, place, shown
from lore._caching.origins import Origin
from lore._caching.outputs import are_holders
from lore._caching.probing import (
    absolute_name,
    attributes_of,
    class_items,
    compiled_file,
    full_name,
    is_a,
    is_importable,
    is_mock,
    is_transparent,
    is_typing,
    layer_of,
    made_on_demand,
    module_named,
    named_attributes,
    options_of,
    origin_of,
    origin_of_class,
    qualname,
    slots_of,
    spelled_out,
    unrepeatable,
    wrapped_by,
)
from lore._caching.reading import close, read
from lore._caching.referring import Ref
from lore._caching.watching import Watch

__all__ = ["Walk", "content"]

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
# Values of these types never change: once digested, it is enough that they are still the same object. By name, so that
# none of their modules is loaded to ask.
_FROZEN = frozenset(
    {
        ("builtins", "range"),
        ("builtins", "slice"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("pathlib", "PosixPath"),
        ("pathlib", "PurePosixPath"),
        ("pathlib", "PureWindowsPath"),
        ("pathlib", "WindowsPath"),
        ("pathlib._local", "PosixPath"),
        ("pathlib._local", "PurePosixPath"),
        ("pathlib._local", "PureWindowsPath"),
        ("pathlib._local", "WindowsPath"),
        ("re", "Pattern"),
        ("uuid", "UUID"),
    }
)
_CALLABLES_IN_C = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
_CYTHON = ("cython_function_or_method", "fused_cython_function")
# References that come and go, and the environment, which is another one in every shell.
_PASSING = (
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
    weakref.ref,
    type(os.environ),
)
_SHOWING = ("__iter__", "__len__", "items", "values")
_NAMED = (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType)
_CONTAINERS = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    collections.Counter,
    collections.OrderedDict,
    collections.defaultdict,
    collections.deque,
    types.MappingProxyType,
)
_TOLD_BY_TYPING = (
    "__origin__",
    "__args__",
    "__metadata__",
    "__value__",
    "__supertype__",
    "__bound__",
    "__constraints__",
)
_NOTHING = b"-"
# Attributes of functions that say nothing about what they do.
_SILENT_ATTRIBUTES = frozenset(
    {"__final__", "__lore_layer__", "__no_type_check__", "__override__", "__signature__", "__wrapped__", "pytestmark"}
)


class Label(typing.NamedTuple):
    """What the user calls something, for facts: a kind, a name, the file and line it belongs to."""

    kind: str
    name: str
    file: str = ""
    line: int = 0

    def at(self, name: str) -> Label:
        """Name a part of it."""
        return self._replace(name=f"{self.name}.{name}")


class Walk:
    """
    One walk from one function or class.

    Args:
        root: where it begins.
        strict: raise where something cannot be looked at; else an object counts by its type, and code that cannot be
            read is like no other code.

    Attributes:
        digest: of everything reached, without versions, 16 bytes.
        packages: the packages reached.
        library: whether the standard library was reached.
        facts: what was reached, for `explain`.
        watch: everything that was looked at.
    """

    def __init__(self, root: object, strict: bool = True) -> None:
        self.watch = Watch()
        self.facts: Facts = {}
        self.packages: set[Origin] = set()
        self.library = False
        self._folder = _working_folder()
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # an id is only good as long as its object lives
        self._waiting: collections.deque[tuple[object, Label]] = collections.deque()
        self._inside: list[int] = []
        self._plain: dict[bytes, bytes] = {}  # what stands in facts for what stands in records: names for numbers
        records = [self.value(root, Label("function", ""))]
        while self._waiting:
            records.append(self._read(*self._waiting.popleft(), strict))
        self.digest = xxhash.xxh3_128_digest(_joined(records))
        self.watch.seal()
        close()

    # --- values -------------------------------------------------------------------------------------------------------

    def value(self, value: Any, label: Label) -> bytes:
        """Return what stands for a value in the record of whoever refers to it, and follow it where it is code."""
        kind = type(value)
        if kind in _ATOMS:
            return _atom(value)
        if kind in _CONTAINERS:
            return self._container(value, label)
        if _is_frozen(kind):
            return self._by_content(value, label)
        if is_typing(value):
            return self._typing(value, label)
        if issubclass(kind, types.ModuleType):
            return self._module(value, label)
        if issubclass(kind, type):
            return self._class_or_name(value, label)
        if issubclass(kind, types.FunctionType):
            return self._function_or_name(value, label)
        if issubclass(kind, _CALLABLES_IN_C) or kind.__name__ in _CYTHON:
            return self._builtin(value, label)
        if issubclass(kind, enum.Enum):
            return _joined([b"member", self.value(kind, label), self.value((value._name_, value._value_), label)])
        if is_mock(kind):
            return b"mock" + unrepeatable(value)
        return self._numbered(value, label)

    def _numbered(self, value: object, label: Label) -> bytes:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            self._kept.append(value)
            self._waiting.append((value, label))
            self._plain[b"#%d" % number] = _plainly(value)
        return b"#%d" % number

    def _container(self, value: Any, label: Label) -> bytes:
        if id(value) in self._inside:
            return b"loop %d" % (len(self._inside) - self._inside.index(id(value)))
        self._inside.append(id(value))
        try:
            parts = [type(value).__name__.encode(), *self._items(value, label)]
            digest = xxhash.xxh3_128_digest(_joined(parts))
            self._plain[digest] = self._without_numbers(parts)
            return digest
        finally:
            self._inside.pop()

    def _without_numbers(self, parts: list[bytes]) -> bytes:
        return xxhash.xxh3_128_digest(_joined([self._plain.get(part, part) for part in parts]))

    def _items(self, value: Any, label: Label) -> Iterator[bytes]:
        kind = type(value)
        if issubclass(kind, dict | types.MappingProxyType):
            if issubclass(kind, collections.defaultdict):
                self.watch.slot(value, "default_factory", value.default_factory)
                yield self.value(value.default_factory, label)
            for key, item in self._pairs(value):
                yield self.value(key, label)
                yield self.value(item, label)
            return
        items: Any = tuple(value) if issubclass(kind, tuple | frozenset) else self.watch.sequence(value)
        if issubclass(kind, collections.deque):
            yield _atom(value.maxlen)
        if issubclass(kind, set | frozenset):
            items = sorted(items, key=_order)
        for item in items:
            yield self.value(item, label)

    def _pairs(self, value: Any) -> tuple[tuple[Any, Any], ...]:
        """The items of a mapping as they are kept, whatever its class shows of them."""
        plain = collections.OrderedDict if is_a(value, collections.OrderedDict) else dict
        if not is_a(value, dict) or all(getattr(type(value), name) is getattr(plain, name) for name in _SHOWING):
            return self.watch.mapping(value)
        items = tuple(plain.items(value))

        def unchanged() -> bool:
            now = tuple(plain.items(value))
            return len(now) == len(items) and all(a is c and b is d for (a, b), (c, d) in zip(now, items))

        self.watch.answer(unchanged, True)
        return items

    def _by_content(self, value: Any, label: Label) -> bytes:
        """Take a value of somebody else's type by its content, or by its type where it has none that can be taken."""
        kind = type(value)
        self._mention(kind.__module__)
        if any((base.__module__, base.__name__) == ("logging", "Logger") for base in kind.__mro__):
            return b"logger"
        if issubclass(kind, _PASSING):
            return full_name(kind)
        try:
            digest = content(value)
        except Exception:
            return self._opaque(value)
        if not _is_frozen(kind):
            self.watch.content(value, digest)
        return digest

    def _opaque(self, value: Any) -> bytes:
        """
        Take what has no content to compare (locks, connections, files, pools) by its type.

        Where it has a repr that spells it out it is taken by that.
        """
        stated = value.format.encode() if is_a(value, struct.Struct) else spelled_out(value)
        return _joined([b"opaque", full_name(type(value)), stated])

    def _typing(self, value: Any, label: Label) -> bytes:
        parts = [b"typing", type(value).__name__.encode()]
        told = {name: getattr(value, name) for name in _TOLD_BY_TYPING if hasattr(value, name)}
        if not {"__args__", "__value__", "__supertype__"} & told.keys():
            parts.append(repr(value).encode())
        for name, item in told.items():
            parts += [name.encode(), self.value(item, label)]
        return _joined(parts)

    # --- names of code that is not followed ---------------------------------------------------------------------------

    def _mention(self, module: str | None) -> Origin:
        """Count the package or library that a module belongs to; return where it comes from."""
        origin = origins.of_module_named(module or "")
        self._count(origin)
        return origin

    def _count(self, origin: Origin) -> None:
        if origin.kind == "package" and origin.name:
            self.packages.add(origin)
        elif origin.kind == "python":
            self.library = True

    def _builtin(self, value: Any, label: Label) -> bytes:
        """A function written in C: by its name and the version of who brings it, with the object it is bound to."""
        owner = getattr(value, "__self__", None)
        if owner is None or is_a(owner, types.ModuleType):
            module = getattr(value, "__module__", None) or getattr(
                getattr(value, "__objclass__", None), "__module__", ""
            )
            if module != "builtins":
                origin = self._mention(module)
                if origin.kind == "own":
                    return _joined([full_name(value), compiled_file(module)])
            return full_name(value)
        return _joined([full_name(value), self._constant(owner, label)])

    def _class_or_name(self, value: type, label: Label) -> bytes:
        if value.__module__ == "builtins":
            return full_name(value)
        origin = self._mention(value.__module__)
        # the standard library names some classes that it makes for others (make_dataclass) as its own
        own = origin.kind == "own" or (origin.kind == "python" and not is_importable(value))
        return self._numbered(value, label) if own else full_name(value)

    def _function_or_name(self, value: types.FunctionType, label: Label) -> bytes:
        layer = layer_of(value)
        if layer is not None:
            return self._layered(value, layer, label)
        origin = origin_of(value)
        self._count(origin)
        if origin.kind == "lore":
            return full_name(value)
        made_here = value.__closure__ or "__wrapped__" in value.__dict__
        if origin.kind == "own" or (made_here and not is_importable(value)):
            return self._numbered(value, label)
        return full_name(value)

    def _layered(self, wrapper: Any, layer: Any, label: Label) -> bytes:
        """A lore decorator: what it wraps, as if it stood alone, unless the layer has something to say about itself."""
        self.watch.item(wrapper.__dict__, "__lore_layer__", layer)
        self.watch.item(layer.__dict__, "function", layer.function)
        identity = layer.identity()
        if type(layer).identity is not _wrapping.Layer.identity:
            self.watch.answer(layer.identity, identity)
        return self.value(layer.function, label) if identity is None else self._numbered(wrapper, label)

    def _module(self, module: types.ModuleType, label: Label) -> bytes:
        """A module handed on as a value: what is asked of it cannot be seen, so all that is the user's own counts."""
        origin = origins.of_module(module)
        self._count(origin)
        if origin.kind != "own":
            stated = module.__name__ if type(module) is types.ModuleType else type(module).__qualname__
            return b"module " + stated.encode()
        return self._numbered(module, label)

    # --- records ------------------------------------------------------------------------------------------------------

    def _read(self, value: Any, label: Label, strict: bool) -> bytes:
        try:
            return _joined(self._record(value, label))
        except Exception:
            if strict:
                raise
            kind = type(value)
            return full_name(kind) + (os.urandom(16) if issubclass(kind, types.FunctionType | type) else b"")

    def _record(self, value: Any, label: Label) -> Iterator[bytes]:
        """Write the record of something that has a number."""
        kind = type(value)
        if issubclass(kind, types.FunctionType):
            layer = layer_of(value)
            yield from self._layer(layer, label) if layer is not None else self._function(value, label)
        elif issubclass(kind, type):
            yield from self._class(value, label)
        elif issubclass(kind, types.ModuleType):
            yield from self._whole_module(value, label)
        elif issubclass(kind, types.MethodType):
            yield from (b"method", self.value(value.__func__, label), self.value(value.__self__, label))
        elif issubclass(kind, functools.partial | functools.partialmethod):
            yield from (b"partial", self.value(value.func, label))
            yield self._constant(value.args, label.at("args"))
            yield self._constant(value.keywords, label.at("keywords"))
        elif issubclass(kind, property):
            yield from (b"property", *(self.value(one, label) for one in (value.fget, value.fset, value.fdel)))
        elif issubclass(kind, classmethod | staticmethod):
            yield from (kind.__name__.encode(), self.value(value.__func__, label))
        elif issubclass(kind, functools.cached_property):
            yield from (b"cached_property", self.value(value.func, label))
        elif kind is functools._lru_cache_wrapper:
            yield from (b"lru_cache", self.value(value.__wrapped__, label))
        else:
            yield from self._instance(value, label)

    def _layer(self, layer: Any, label: Label) -> Iterator[bytes]:
        """What a lore decorator says about itself, and what it wraps."""
        yield b"layer " + layer.name.encode()
        identity = layer.identity()
        known = self._by_content(identity, label) if type(identity) not in _ATOMS else _atom(identity)
        yield known
        name = f"@{layer.name} of {qualname(layer.function)}"
        self._note(Label("option", name, label.file, label.line), known, identity)
        # a function whose text is a statement is called by what it is
        yield self.value(layer.function, label._replace(kind=layer.name) if layer.name == "sql_source" else label)

    def _function(self, function: types.FunctionType, label: Label) -> Iterator[bytes]:
        code = function.__code__
        wrapped = function.__dict__.get("__wrapped__")
        if wrapped is not None:
            self.watch.item(function.__dict__, "__wrapped__", wrapped)
        self.watch.attribute(function, "__code__", code)
        origin = origin_of(function)
        yield b"function"
        if origin.kind == "own":
            kind = "sql_source" if label.kind == "sql_source" else "helper" if self.facts else "function"
            called = Label(kind, qualname(function), *_place_of(code))
            reading = read(code, function.__globals__)
            self._note(called, reading.digest)["source"] = reading.from_source
            yield from (function.__name__.encode(), reading.digest)
            for ref in reading.refs:
                yield from (ref.spelled().encode(), self._reached(function, ref, reading.outputs))
            yield from self._attributes(function, reading.stored, called)
        else:
            called = label
            yield full_name(function)
            if "registry" in function.__dict__:  # of functools.singledispatch, which keeps a cache beside it
                yield self.value(function.__dict__["registry"], label)
            else:
                for name in code.co_freevars:
                    yield from (name.encode(), self._reached(function, Ref("free", name)))
        yield from self._defaults(function, called)
        if wrapped is not None:
            yield from (b"wraps", self.value(wrapped, called))
            if origin.kind == "package":
                yield self._annotations_of(wrapped)

    def _attributes(self, function: types.FunctionType, stored: frozenset[str], label: Label) -> Iterator[bytes]:
        """
        What somebody has put on a function, as registering decorators do.

        Not what it sets itself, which would change it with every call (what its code reads of that by name counts all
        the same), nor what it copied from a package's function that it wraps.
        """
        names = function.__dict__
        self.watch.size(names)
        for name in sorted(names.keys() - stored - _SILENT_ATTRIBUTES - _attributes_below(function)):
            self.watch.item(names, name, names[name])
            yield from (name.encode(), self._constant(names[name], label.at(name)._replace(kind="attribute")))

    def _annotations_of(self, wrapped: Any) -> bytes:
        """A package's decorator may read annotations, as pydantic's `validate_call` does: there they count."""
        if not is_a(wrapped, types.FunctionType):
            return _NOTHING
        told = tuple(f"{name}: {type_text(kind)}" for name, kind in wrapped.__annotations__.items())
        return self._constant(told, Label("annotations", f"of {qualname(wrapped)}()", wrapped.__code__.co_filename))

    def _defaults(self, function: types.FunctionType, label: Label) -> Iterator[bytes]:
        code, defaults, keywords = function.__code__, function.__defaults__, function.__kwdefaults__
        self.watch.attribute(function, "__defaults__", defaults)
        self.watch.attribute(function, "__kwdefaults__", keywords)
        names = code.co_varnames[: code.co_argcount]
        pairs = list(zip(names[len(names) - len(defaults or ()) :], defaults or ()))
        if keywords is not None:
            pairs += sorted(self.watch.mapping(keywords))
        for name, value in pairs:
            at = Label("default", f"{name} of {label.name}()", label.file, label.line)
            yield from (name.encode(), self._constant(value, at))

    def _constant(self, value: object, label: Label) -> bytes:
        """Take a value that has a name, and write it down among the facts unless it has facts of its own."""
        known = self.value(value, label)
        called = _called(value)
        if called is not None:
            if called != label.name.rpartition(".")[2]:
                self._note(label._replace(kind="name"), self._plain.get(known, known), value)
        elif not known.startswith(b"#"):
            self._note(label, self._plain.get(known, known), value)
        return known

    def _note(self, label: Label, digest: bytes, value: object = None) -> Fact:
        hexadecimal = (digest if len(digest) == 16 else xxhash.xxh3_128_digest(digest)).hex()
        fact = Fact(kind=label.kind, name=label.name, file=place(label.file, self._folder), digest=hexadecimal)
        if label.line:
            fact["line"] = label.line
        text = _shown(label.name, value)
        if text:
            fact["shown"] = text
        key, turn = f"{label.kind} {fact['file']} {label.name}", 1
        while self.facts.get(key, fact)["digest"] != hexadecimal:
            turn += 1
            key = f"{label.kind} {fact['file']} {label.name} {turn}"
        self.facts[key] = fact
        return fact

    # --- names --------------------------------------------------------------------------------------------------------

    def _reached(self, function: types.FunctionType, ref: Ref, outputs: frozenset[str] = frozenset()) -> bytes:
        """
        Look a reference up as the running function would, and follow what is found.

        Args:
            function: the one that refers.
            ref: what it refers to.
            outputs: what it only writes to: such content does not count.
        """
        file = function.__code__.co_filename
        written = tuple(name for name in outputs if name.partition(".")[0] == ref.name)
        if ref.kind == "free":
            return self._variable(function, ref, file, written)
        if ref.kind == "self":
            return self._own_attribute(function, ref.path[0], file)
        if ref.kind == "import":
            return self._imported(function, ref, file)
        names, builtins = function.__globals__, _builtins_of(function)
        if ref.name in names:
            value = names[ref.name]
            if written and are_holders(value, written):
                return _NOTHING
            self.watch.item(names, ref.name, value)
        elif ref.name in builtins:
            value = builtins[ref.name]
            self.watch.missing(names, ref.name)
            self.watch.item(builtins, ref.name, value)
        else:
            self.watch.missing(names, ref.name)
            self.watch.missing(builtins, ref.name)
            return self._unresolved(ref.name, file)
        return self._along(value, ref.path, Label("constant", ref.name, file))

    def _unresolved(self, name: str, file: str) -> bytes:
        self._note(Label("unknown name", name, file), b"?" * 16)
        return b"?" + name.encode()

    def _variable(self, function: types.FunctionType, ref: Ref, file: str, written: tuple[str, ...]) -> bytes:
        code = function.__code__
        cell = (function.__closure__ or ())[code.co_freevars.index(ref.name)]
        try:
            value = cell.cell_contents
        except ValueError:  # a variable that is not set yet
            self.watch.slot(cell, "cell_contents", Watch.MISSING)
            return b"?"
        if written and are_holders(value, written):
            return _NOTHING
        self.watch.attribute(cell, "cell_contents", value)
        label = Label("closure variable", f"{ref.name} of {qualname(function)}()", file)
        if ref.name == "__class__":  # of super()
            return self.value(value, label)
        return self._along(value, ref.path, label)

    def _own_attribute(self, function: types.FunctionType, name: str, file: str) -> bytes:
        """What a method asks of its own object: by the class it was defined in; the object itself is an argument."""
        owner = self._home_of(function)
        if owner is None:
            return _NOTHING
        for cls in owner.__mro__:
            if name in cls.__dict__ and cls.__module__ != "builtins":
                if origins.of_module_named(cls.__module__).kind != "own":
                    return _NOTHING
                value = cls.__dict__[name]
                self.watch.item(cls.__dict__, name, value)
                return self._constant(value, Label("class attribute", f"{cls.__qualname__}.{name}", file))
            self.watch.missing(cls.__dict__, name)
        return _NOTHING

    def _home_of(self, function: types.FunctionType) -> type | None:
        """Find the class that a method was defined in by its qualified name."""
        *outer, _ = function.__qualname__.split(".")
        if not outer or "<locals>" in outer or outer[0] not in function.__globals__:
            return None
        found: Any = function.__globals__[outer[0]]
        self.watch.item(function.__globals__, outer[0], found)
        for name in outer[1:]:
            found = vars(found).get(name) if is_a(found, type) else None
        return found if is_a(found, type) else None

    def _imported(self, function: types.FunctionType, ref: Ref, file: str) -> bytes:
        """An import inside a function: packages are not imported to look at them, the user's own modules are."""
        name = absolute_name(function, ref.name)
        origin = self._mention(name)
        if ref.path == ("",):  # the import statement itself
            if origin.kind == "own":
                module_named(name)
            return _NOTHING
        module = sys.modules.get(name) if origin.kind != "own" else module_named(name)
        if module is None:
            self.watch.missing(sys.modules, name)
            return b"module " + name.encode() if origin.kind != "own" else self._unresolved(name, file)
        self.watch.item(sys.modules, name, module)
        path = (ref.attribute, *ref.path) if ref.attribute else ref.path
        if ref.attribute and ref.attribute not in module.__dict__ and origin.kind == "own":
            module_named(f"{name}.{ref.attribute}")  # a module of the package that is not loaded yet
        return self._along(module, path, Label("constant", name, file))

    def _along(self, value: Any, path: tuple[str, ...], label: Label) -> bytes:
        """Follow attributes from module to module, then take what is found."""
        for position, name in enumerate(path):
            if name == "__subclasses__" and is_a(value, type) and not issubclass(value, type):
                return _joined([self.value(value, label), *self._subclasses(value, label)])
            if name == "__doc__" and is_a(value, type | types.FunctionType):
                self.watch.attribute(value, name, value.__doc__)
                return _joined([self.value(value, label), self._constant(value.__doc__, label.at(name))])
            if is_a(value, types.FunctionType) and name in value.__dict__ and name != "__wrapped__":
                taken = self._constant(value.__dict__[name], label.at(name))
                self.watch.item(value.__dict__, name, value.__dict__[name])
                return _joined([self.value(value, label), taken])
            if not is_a(value, types.ModuleType):
                break
            if origins.of_module(value).kind != "own":
                return self._among_others(value, path[position:], label)
            if name not in value.__dict__:
                self.watch.missing(value.__dict__, name)
                found = made_on_demand(value, name)
                if found is None:
                    return self._unresolved(f"{label.name}.{name}", label.file)
                maker = value.__dict__["__getattr__"]
                self.watch.item(value.__dict__, "__getattr__", maker)
                made = Label("constant", name, getattr(value, "__file__", None) or "")
                return _joined([self.value(maker, made), self._along(found, path[position + 1 :], made)])
            module, value = value, value.__dict__[name]
            self.watch.item(module.__dict__, name, value)
            label = Label("constant", name, getattr(module, "__file__", None) or "")
        return self._constant(value, label)

    def _subclasses(self, cls: type, label: Label) -> Iterator[bytes]:
        """The user's own classes below one that is asked for its subclasses."""
        below: list[type] = type.__subclasses__(cls)
        self.watch.answer(cls.__subclasses__, below)
        for one in below:
            if origin_of_class(one).kind == "own":
                yield self.value(one, label)
            yield from self._subclasses(one, label)

    def _among_others(self, module: types.ModuleType, path: tuple[str, ...], label: Label) -> bytes:
        """
        Follow attributes inside somebody else's package, which counts by its version.

        Nothing but the package counts unless somebody has put code of the user's own there, or a mock. What is not
        there yet (packages load parts of themselves when first asked) is the package's own affair.
        """
        known = self._constant(module, label)
        value: Any = module
        for name in path:
            if not is_a(value, types.ModuleType):
                break
            names = value.__dict__
            if name not in names:
                self.watch.missing(names, name)
                return known
            shared = origins.of_module(value) == origins.NAMESPACE
            value = names[name]
            self.watch.item(names, name, value)
            if shared and is_a(value, types.ModuleType):
                known += b"." + name.encode()
                self._count(origins.of_module(value))
        if is_mock(type(value)) or (is_a(value, types.FunctionType) and origin_of(value).kind == "own"):
            return _joined([known, self.value(value, label)])
        if is_a(value, type) and origin_of_class(value).kind == "own":
            return _joined([known, self.value(value, label)])
        return known

    # --- classes, modules, objects ------------------------------------------------------------------------------------

    def _class(self, cls: type, label: Label) -> Iterator[bytes]:
        names = cls.__dict__
        file, line = _place_of_class(cls)
        label = Label("class", cls.__qualname__, file or label.file, line)
        yield from (b"class", cls.__name__.encode())
        self.watch.attribute(cls, "__bases__", cls.__bases__)
        kinds = [*cls.__bases__, *([type(cls)] if type(cls) is not type else [])]
        bases = [self.value(base, label) for base in kinds]
        self._note(label, self._without_numbers(bases))
        yield from bases
        self.watch.size(names)
        for name, value in tuple(names.items()):
            if name not in UNWRITTEN:
                self.watch.item(names, name, value)
        parts: list[bytes] = []
        for name, value in [*described(cls), *written(cls)]:
            at = Label("class attribute", f"{cls.__qualname__}.{name}", label.file)
            parts += [name.encode(), self._constant(value, at)]
        for name in ("__new__", "__init__") if generates(cls) else ():  # the defaults are those of the fields, at first
            made: Any = getattr(names.get(name), "__func__", names.get(name))
            if is_a(made, types.FunctionType):
                self.watch.attribute(made, "__defaults__", made.__defaults__)
                parts.append(self._constant(made.__defaults__, label.at(f"{name}.__defaults__")))
        if isinstance(cls, abc.ABCMeta):
            self.watch.answer(abc.get_cache_token, abc.get_cache_token())
            parts += registered(cls)
        for member in cls.__members__.values() if issubclass(cls, enum.Enum) else ():
            parts += self._member(member, label)
        yield from parts

    def _member(self, member: enum.Enum, label: Label) -> Iterator[bytes]:
        """The attributes of an enumeration's member, which its `__init__` or somebody later has set."""
        state = attributes_of(member)
        derived = {name for name, item in class_items(type(member)) if is_a(item, functools.cached_property)}
        self.watch.size(state)
        for name in sorted(name for name in state if not (name.startswith("_") and name.endswith("_"))):
            if name not in derived:
                self.watch.item(state, name, state[name])
                yield from (name.encode(), self._constant(state[name], label.at(f"{member._name_}.{name}")))

    def _whole_module(self, module: types.ModuleType, label: Label) -> Iterator[bytes]:
        names = module.__dict__
        self.watch.size(names)
        yield b"whole module"
        for name in sorted(
            name
            for name in names
            if not (name.startswith("__") and name.endswith("__")) or name in ("__getattr__", "__dir__")
        ):
            value = names[name]
            self.watch.item(names, name, value)
            yield from (name.encode(), self._constant(value, Label("constant", name, names.get("__file__") or "")))

    def _instance(self, value: Any, label: Label) -> Iterator[bytes]:
        """An object: the user's own by its class and attributes, somebody else's by content."""
        kind = type(value)
        yield b"object"
        yield self.value(kind, label)
        if hasattr(kind, "__lore_fingerprint__") or not is_transparent(kind):
            yield from self._somebody_elses(value, label)
            return
        self.watch.attribute(value, "__class__", kind)
        parts: list[bytes] = []
        if issubclass(kind, dict | list | set | frozenset | tuple):
            parts = list(self._items(value, label))
        elif issubclass(kind, str | bytes | int | float):
            base: Any = next(base for base in (str, bytes, int, float) if issubclass(kind, base))
            parts = [_atom(base.__new__(base, value))]
        if parts:
            self._note(label, self._without_numbers(parts))
        yield from parts
        state = attributes_of(value)
        if state:
            self.watch.mapping(state)
        derived = {name for name, item in class_items(kind) if is_a(item, functools.cached_property)}
        for name in sorted(map(str, state)):
            if name not in derived:
                yield from (name.encode(), self._constant(state[name], label.at(name)))
        for name in slots_of(kind):
            item = getattr(value, name, Watch.MISSING)
            self.watch.slot(value, name, item)
            if item is not Watch.MISSING:
                yield from (name.encode(), self._constant(item, label.at(name)))

    def _somebody_elses(self, value: Any, label: Label) -> Iterator[bytes]:
        """
        An object of a package's type: by content; the functions that it holds are followed besides.

        What stands for a function that it wraps (numba's compiled functions, wrapt's wrappers) keeps counters and
        compiled code, so it counts by that function and by its plain options.
        """
        held = dict(named_attributes(value))
        inner = wrapped_by(value)
        if inner is None:
            known = self._by_content(value, label)
            self._note(label, known)
            yield known
            if not held:  # what C code keeps where no attribute shows it: cmp_to_key, numpy's frompyfunc
                held = {str(index): item for index, item in enumerate(gc.get_referents(value)) if not is_a(item, type)}
        else:
            yield self._annotations_of(inner)
            held |= {"__wrapped__": inner, "_self_wrapper": getattr(value, "_self_wrapper", None)}
        for name, item in sorted(held.items()):
            if is_a(item, types.FunctionType | types.MethodType | functools.partial | type):
                yield from (name.encode(), self.value(item, label))
        if inner is not None:
            for name, item in sorted(options_of(value).items()):
                yield from (name.encode(), self._constant(item, label.at(name)))


def content(value: object) -> bytes:
    """Return the digest of a value by content, as for an argument; raises where it has none."""
    from lore._caching import values

    key = id(value)
    inside: set[int] = _local.__dict__.setdefault("inside", set())
    if key in inside:  # an object that holds a function that reaches the object
        return b"itself"
    inside.add(key)
    try:
        return values.digest(value)
    finally:
        inside.discard(key)


_local = threading.local()


# --- how things are written into records ------------------------------------------------------------------------------


def _joined(parts: list[bytes] | Iterator[bytes]) -> bytes:
    """Join byte strings so that no two lists give one string."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def _atom(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        text = value.encode("utf-8", "surrogatepass")
    elif kind is int:
        text = b"%x" % value
    elif kind is float:
        text = struct.pack("<d", value)
    elif kind is complex:
        text = struct.pack("<dd", value.real, value.imag)
    elif kind is bytes:
        text = value
    else:
        text = repr(value).encode()
    return xxhash.xxh3_128_digest(b"%b %b" % (kind.__name__.encode(), text))


def _order(value: object) -> tuple[str, bytes]:
    """Put the items of a set into an order that is the same in every process."""
    if type(value) in _ATOMS:
        return type(value).__name__, _atom(value)
    name = getattr(value, "__qualname__", None)
    if name is not None:
        return "code", f"{value.__module__}.{name}".encode()
    try:
        return "content", content(value)
    except Exception:
        return "object", repr(value).encode()


def _plainly(value: Any) -> bytes:
    """Name something for a fact, in a way that moving it to another module does not change."""
    name = value.__qualname__ if is_a(value, type | types.FunctionType) else type(value).__qualname__
    return name.encode("utf-8", "replace")


def _attributes_below(function: types.FunctionType) -> set[str]:
    """Return the attributes of what a function wraps as far as that is a package's or one of lore's layers."""
    found: set[str] = set()
    seen: set[int] = set()
    inner: Any = function.__dict__.get("__wrapped__")
    while is_a(inner, types.FunctionType) and id(inner) not in seen:
        seen.add(id(inner))
        if layer_of(inner) is not None or origin_of(inner).kind != "own":
            found |= inner.__dict__.keys()
        inner = inner.__dict__.get("__wrapped__")
    return found


def _place_of(code: types.CodeType) -> tuple[str, int]:
    return code.co_filename, code.co_firstlineno


def _place_of_class(cls: type) -> tuple[str, int]:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    return file, cls.__dict__.get("__firstlineno__", 0)


def _builtins_of(function: types.FunctionType) -> dict[str, Any]:
    return function.__builtins__  # type: ignore[attr-defined, no-any-return]


def _is_frozen(kind: type) -> bool:
    return (kind.__module__, kind.__qualname__) in _FROZEN


def _called(value: Any) -> str | None:
    """Return the name that a function, class or module gives itself; a module that is not loaded yet stays so."""
    if is_a(value, types.ModuleType):
        return str(value.__dict__.get("__name__"))
    return str(value.__name__) if is_a(value, _NAMED) else None


def _shown(name: str, value: Any) -> str:
    if is_a(value, _NAMED):
        module = None if is_a(value, types.ModuleType) else getattr(value, "__module__", None)
        return f"{module}.{value.__qualname__}" if module else str(_called(value))
    if value is not None and (type(value) in _ATOMS or type(value) in _CONTAINERS or _is_frozen(type(value))):
        return shown(name, value)
    return ""


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return os.sep
