"""
The model as a service:  python -m lore.serve flights.service:app
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec
import pandas as pd

import lore
from flights import data
from flights.features import features
from flights.model import clerk, clerk_says, model, probability

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass
class Delay:
    """How likely a flight is to arrive more than a quarter of an hour late, and what the carrier's average says."""

    late: Probability
    carrier_and_hour: Probability


@lore.endpoint(warm=(model, clerk))
def delay(
    carrier: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{2}$")],
    origin: Literal["EWR", "JFK", "LGA"],
    dest: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")],
    departs: datetime,
    arrives: datetime,
    tailnum: str | None = None,
) -> Delay:
    """
    Say how likely one flight is to arrive more than a quarter of an hour late.

    Args:
        carrier: the airline's two letters.
        origin: one of New York's airports.
        dest: the airport it goes to, three letters.
        departs: scheduled, in New York's local time.
        arrives: scheduled, in the destination's local time.
        tailnum: the plane, where it is known.
    """
    flights = pd.DataFrame(
        {
            "carrier": [carrier],
            "origin": [origin],
            "dest": [dest],
            "departs": [departs],
            "arrives": [arrives],
            "tailnum": pd.Series([tailnum], dtype="str"),
        }
    )
    said = delays(flights).iloc[0]
    return Delay(late=round(said["late"], 4), carrier_and_hour=round(said["carrier_and_hour"], 4))


@lore.endpoint
def delays(flights: pd.DataFrame) -> pd.DataFrame:
    """
    Say for many flights how likely each is to arrive late.

    Args:
        flights: the columns carrier, origin, dest, departs, arrives, and tailnum if known, as in `/delay`.
    """
    rows = features(as_timetable(flights))
    return pd.DataFrame(
        {"late": probability(model(), rows), "carrier_and_hour": clerk_says(rows)},
        index=flights.index,
    )


def as_timetable(flights: pd.DataFrame) -> pd.DataFrame:
    """Return what people send as the columns of the database."""
    missing = sorted({"carrier", "origin", "dest", "departs", "arrives"} - set(flights.columns))
    if missing:
        raise lore.errors.RequestError("flights", f"the column {missing[0]} is missing")
    departs = times(flights, "departs")
    arrives = times(flights, "arrives")
    return pd.DataFrame(
        {
            "carrier": flights["carrier"].astype("str"),
            "origin": flights["origin"].astype("str"),
            "dest": flights["dest"].astype("str"),
            "tailnum": flights.get("tailnum", pd.Series(None, index=flights.index, dtype="str")),
            "distance": distances(flights),
            "sched_dep_time": departs.dt.hour * 100 + departs.dt.minute,
            "sched_arr_time": arrives.dt.hour * 100 + arrives.dt.minute,
            "time_hour": departs.dt.tz_localize("America/New_York", nonexistent="shift_forward", ambiguous=False)
            .dt.tz_convert("UTC")
            .dt.floor("h"),
        }
    )


def times(flights: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of local times."""
    try:
        return pd.to_datetime(flights[name]).dt.tz_localize(None).dt.as_unit("us")
    except (ValueError, TypeError, AttributeError) as error:
        raise lore.errors.RequestError(f"/flights/{name}", f"not local times: {error}") from error


def distances(flights: pd.DataFrame) -> pd.Series:
    """Return each flight's distance; refuse a route that nobody flew in 2013."""
    known = known_routes()
    route = pd.MultiIndex.from_frame(flights[["origin", "dest"]])
    unknown = route[~route.isin(known.index)]
    if len(unknown):
        origin, dest = unknown[0]
        raise lore.errors.RequestError("dest", f"no flights from {origin} to {dest} are known")
    return pd.Series(known.reindex(route).to_numpy(), index=flights.index)


@lore.cached(memory=1)
def known_routes() -> pd.Series:
    """Return the distances in miles by origin and destination."""
    return data.routes().set_index(["origin", "dest"])["distance"]


app = lore.serve.app(delay, delays, title="Flights out of New York", version="2013")
