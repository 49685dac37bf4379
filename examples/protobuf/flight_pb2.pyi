from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Flight(_message.Message):
    __slots__ = ("carrier", "dest", "distance", "delays")
    CARRIER_FIELD_NUMBER: _ClassVar[int]
    DEST_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    DELAYS_FIELD_NUMBER: _ClassVar[int]
    carrier: str
    dest: str
    distance: float
    delays: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, carrier: _Optional[str] = ..., dest: _Optional[str] = ..., distance: _Optional[float] = ..., delays: _Optional[_Iterable[int]] = ...) -> None: ...

class Forecast(_message.Message):
    __slots__ = ("carrier", "late")
    CARRIER_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    carrier: str
    late: float
    def __init__(self, carrier: _Optional[str] = ..., late: _Optional[float] = ...) -> None: ...
