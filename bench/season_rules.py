"""The days of the two season rules at known places, as the table of docs/country.md.

python bench/season_rules.py
"""

from selion.imagery import find_seasons, read_area

PLACES = {
    "Iowa": (-93.6, 42.0),
    "Kansas": (-97.9, 38.1),
    "Mato Grosso": (-55.7, -12.5),
    "Pampas": (-60.6, -33.9),
    "Bavaria": (12.6, 48.9),
    "Ukraine": (32.3, 48.5),
    "northern Kazakhstan": (63.6, 53.2),
    "Morocco": (-5.5, 33.9),
    "Nile delta": (31.0, 30.8),
    "Senegal": (-16.1, 14.1),
    "Ethiopia": (37.4, 11.6),
    "Zambia": (27.0, -16.8),
    "Punjab": (75.9, 30.9),
    "North China Plain": (114.8, 37.1),
    "New South Wales": (147.4, -35.1),
}
"""Longitude and latitude of what is the middle of a tile."""
YEAR = 2023
AROUND = 0.5


def main() -> None:
    """Print a row for each place."""
    for name, (x, y) in PLACES.items():
        area = read_area((x - AROUND, y - AROUND, x + AROUND, y + AROUND))
        cells = []
        for rule in ("latitude", "calendar"):
            pair = find_seasons(area, YEAR, rule)
            cells.append("; ".join(f"{one.start:%d %b %Y} to {one.end:%d %b}" for one in pair))
        print(f"| {name} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
