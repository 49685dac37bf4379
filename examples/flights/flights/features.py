"""
What the model sees: the timetable, the weather an hour before, the plane.

A prediction is made an hour before the scheduled departure. So the weather is the one observed in the hour before that
of the departure: the hour of departure itself would be known only as a forecast. Nothing that happens at or after
departure is a feature.
"""

from __future__ import annotations

import pandas as pd

import lore
from flights import data

CATEGORIES = ["carrier", "origin", "dest"]
TIMETABLE = ["minute_of_day", "day_of_week", "distance", "scheduled_minutes"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
PLANE = ["age", "seats"]
FEATURES = [*CATEGORIES, *TIMETABLE, *WEATHER, *PLANE]

KNOWN_HOURS_BEFORE = 1
LATE_MINUTES = 15


@lore.cached
@lore.timed
def table(months: list[int]) -> pd.DataFrame:
    """
    Return one row per flight of some months: the features, and whether it arrived late.

    Args:
        months: 1 for January; all of 2013.
    """
    flights = data.departures(months)
    rows = features(flights)
    rows["month"] = flights["month"].to_numpy()
    rows["late"] = (flights["arr_delay"] > LATE_MINUTES).to_numpy(dtype=bool)
    return rows


def features(flights: pd.DataFrame) -> pd.DataFrame:
    """
    Return the features of flights, for training and for serving alike.

    Args:
        flights: carrier, origin, dest, distance, tailnum, sched_dep_time and sched_arr_time (as 1330 for half past
            one), and time_hour (the hour of the scheduled departure, in UTC).
    """
    rows = with_timetable(flights)
    rows = rows.merge(weather_before(), how="left", on=["origin", "time_hour"])
    rows = rows.merge(planes(), how="left", on="tailnum")
    return typed(rows)


def with_timetable(flights: pd.DataFrame) -> pd.DataFrame:
    """Add what follows from the timetable alone."""
    departs = minutes(flights["sched_dep_time"])
    arrives = minutes(flights["sched_arr_time"])
    return flights.assign(
        minute_of_day=departs,
        day_of_week=flights["time_hour"].dt.tz_convert("America/New_York").dt.day_of_week,
        scheduled_minutes=(arrives - departs) % (24 * 60),
    )


def minutes(clock: pd.Series) -> pd.Series:
    """Turn 1330 into the minutes since midnight."""
    return clock // 100 * 60 + clock % 100


@lore.cached(memory=1)
@lore.timed
def weather_before() -> pd.DataFrame:
    """Return the weather by origin and the hour of a departure, as observed `KNOWN_HOURS_BEFORE`."""
    observed = data.weather().drop_duplicates(["origin", "time_hour"])
    return observed.assign(time_hour=observed["time_hour"] + pd.Timedelta(hours=KNOWN_HOURS_BEFORE))


@lore.cached(memory=1)
@lore.timed
def planes() -> pd.DataFrame:
    """Return age and seats by tail number."""
    known = data.planes()
    return pd.DataFrame({"tailnum": known["tailnum"], "age": age(known["built"]), "seats": known["seats"]})


def age(built: pd.Series) -> pd.Series:
    """Return years since the plane was built."""
    return 2013 - built


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the features, as the types that the model takes: categories and floats."""
    kinds = {name: "category" if name in CATEGORIES else "float64" for name in FEATURES}
    return rows[FEATURES].astype(kinds)
