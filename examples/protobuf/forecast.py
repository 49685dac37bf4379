"""
Protobuf messages as arguments and results:  python -m lore.serve forecast

`flight_pb2.py` was made, without a network, by
`python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. flight.proto`.
"""

from __future__ import annotations

from flight_pb2 import Flight, Forecast

import lore


@lore.cached
def mean_delay(flight: Flight) -> float:
    """Average the delays that a message carries; equal messages are one call, however their bytes are ordered."""
    return sum(flight.delays) / max(len(flight.delays), 1)


@lore.endpoint
def forecast(flight: Flight) -> Forecast:
    """Forecast how late a flight will be, in minutes, from its last delays."""
    return Forecast(carrier=flight.carrier, late=mean_delay(flight) + flight.distance / 1000)


app = lore.serve.app(forecast)
