"""Writes holidays.csv from the package `holidays` (PyPI, MIT): python3 -m venv v && v/bin/pip install holidays==0.109 && v/bin/python make_holidays.py > holidays.csv

A place is a country, or a country and a subdivision. Half days are taken to be free in the afternoon, as those of the package are.
"""

import csv
import sys

import holidays

FIRST, LAST = 2025, 2032
COUNTRIES = "AT AU BE BR CA CH CZ DE DK ES FI FR GB IE IN IT JP MX NL NO NZ PL PT SE SG US ZA".split()
BY_SUBDIVISION = "CH DE GB".split()


def rows(country, subdivision):
    place = country if subdivision is None else f"{country}-{subdivision}"
    years = range(FIRST, LAST + 1)
    whole = holidays.country_holidays(country, subdiv=subdivision, years=years)
    found = {(day, "whole"): name for day, name in whole.items()}
    if "half_day" in holidays.country_holidays(country).supported_categories:
        half = holidays.country_holidays(country, subdiv=subdivision, years=years, categories=("half_day",))
        found |= {(day, "afternoon"): name for day, name in half.items() if day not in whole}
    for (day, part), name in sorted(found.items()):
        yield place, day.isoformat(), part, name


out = csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["place", "date", "part", "name"])
for country in COUNTRIES:
    subdivisions = holidays.country_holidays(country).subdivisions if country in BY_SUBDIVISION else ()
    for subdivision in (None, *subdivisions):
        out.writerows(rows(country, subdivision))
