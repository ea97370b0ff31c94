"""Photographs by plot and date: names by hand, means by arithmetic, curves that were drawn."""

import csv
import json
import math
import statistics
from datetime import date, timedelta

import geopandas
import numpy as np
import pyogrio
import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image
from shapely.geometry import box

from selion.cli.main import cli
from selion.closerange import TrialOptions, read_trial, write_trial
from selion.closerange.growth import Growth, fit_growth
from selion.closerange.naming import find_date, read_pattern
from selion.errors import BadInput, OutputExists, UnreadableFile
from selion.reports.trial import to_html, write_page

NAME = "FPWW0220032_RGB1_20180116_141430_6"
FIRST = date(2018, 3, 1)
DAYS = (0, 10, 20, 25, 30, 35, 40, 50, 60)
PLOTS = {"0031": (0.8, 0.25, 28.0), "0032": (0.6, 0.15, 35.0)}
"""Top, rate and middle of each."""


@pytest.mark.parametrize(
    ("pattern", "file", "said"),
    [
        ("FPWW022{plot}_RGB1_{date}_{time}_*", f"a/{NAME}.jpg", ("0032", "20180116", "141430")),
        ("FPWW022{plot}_RGB1_{date}_*", f"{NAME}.JPG", ("0032", "20180116", None)),
        ("{plot}/{date}*", "trial/B-07/2024-05-01 morning.png", ("B-07", "2024-05-01", None)),
        ("{plot}/*", r"trial\B-07\x.png", ("B-07", None, None)),
        ("{date}.{plot}", "2024_05_01.7.tif", ("7", "2024_05_01", None)),
        ("p?{plot}", "p.x7.png", ("x7", None, None)),
        ("FPWW021{plot}_*", f"{NAME}.jpg", (None, None, None)),
        ("{plot}(1)", "seven(1).jpg", ("seven", None, None)),
    ],
)  # fmt: skip
def test_names_are_read(pattern, file, said):
    found = read_pattern(pattern).read(file)
    assert tuple(found.get(part) for part in ("plot", "date", "time")) == said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("{date}_*", "which plot"), ("{plot}_{plot}", "twice"), ("{field}_{plot}", "{field}")],
)
def test_patterns_that_are_none(pattern, said):
    with pytest.raises(BadInput, match=said):
        read_pattern(pattern)


@pytest.mark.parametrize(
    ("file", "day"),
    [
        (f"{NAME}.jpg", date(2018, 1, 16)),
        ("IMG_2024-02-29.jpg", date(2024, 2, 29)),
        ("IMG_2023-02-29.jpg", None),
        ("12345678.jpg", None),
        ("20180116_20180117.jpg", None),
        ("20180116_a_20180116.jpg", date(2018, 1, 16)),
        ("120180116.jpg", None),
        ("20180116/x.jpg", None),
    ],
)
def test_the_only_date_in_a_name(file, day):
    assert find_date(file) == day


def logistic(day, top, rate, middle):
    return top / (1 + math.exp(-rate * (day - middle)))


@pytest.mark.parametrize("made", list(PLOTS.values()))
def test_a_curve_that_was_drawn_is_found(made):
    cover = np.array([logistic(day, *made) for day in DAYS])
    found = fit_growth(np.array(DAYS), cover)
    assert (found.top, found.rate, found.middle) == pytest.approx(made, rel=1e-4)
    assert found.why == ""
    top, rate, middle = made
    assert found.day_of(0.5) == pytest.approx(middle - math.log(top / 0.5 - 1) / rate, rel=1e-3)
    assert math.isnan(found.day_of(0.9))


def test_a_noisy_curve_is_found_as_far_as_noise_allows():
    random = np.random.default_rng(4)
    off = []
    for _ in range(20):
        cover = np.array([logistic(day, 0.7, 0.2, 30) for day in DAYS])
        found = fit_growth(np.array(DAYS), cover + random.normal(0, 0.02, len(DAYS)))
        off.append(found.day_of(0.35) - 30)
    assert abs(np.mean(off)) < 0.5
    assert np.std(off) < 1.5


@pytest.mark.parametrize(
    ("days", "cover", "said"),
    [
        ((0, 10, 20), (0.1, 0.3, 0.5), "3 dates"),
        ((0, 0, 0, 0, 10), (0.1, 0.1, 0.1, 0.1, 0.3), "2 dates"),
        (range(0, 50, 10), (0.5, 0.4, 0.3, 0.2, 0.1), "does not rise"),
        (range(0, 60, 10), (0.1, 0.3, 0.6, 0.7, 0.5, 0.4), "falls at the end"),
        (range(0, 60, 10), (0.01, 0.02, 0.03, 0.05, 0.08, 0.13), "not slowed down"),
    ],
)
def test_curves_that_are_not_to_be_trusted(days, cover, said):
    assert said in fit_growth(np.array(days), np.array(cover)).why


def test_more_photographs_weigh_more():
    days = np.array([*DAYS, *DAYS], float)
    made = [logistic(day, 0.8, 0.2, 30) for day in DAYS]
    cover = np.array([*made, *(value * 0.5 for value in made)])
    heavy = np.array([100.0] * len(DAYS) + [1.0] * len(DAYS))
    assert fit_growth(days, cover, heavy).top > fit_growth(days, cover).top + 0.1


def write_run(folder, extra=()):
    """What 'selion crops' would have written: three photographs of each plot and day."""
    folder.mkdir(parents=True)
    rows = []
    for plot, made in PLOTS.items():
        for day in DAYS:
            when = FIRST + timedelta(days=day)
            for number, off in enumerate((-0.01, 0.0, 0.01)):
                rows.append({
                    "file": f"T{plot}_{when:%Y%m%d}_{number}.jpg", "time": "", "latitude": "",
                    "longitude": "", "trust": "yes", "reasons": "",
                    "cover": logistic(day, *made) + off, "cover_low": 0, "cover_high": 1,
                    "components": number, "exg": "", "thumb": "",
                    "overlay": f"overlays/T{plot}_{when:%Y%m%d}_{number}.jpg",
                })  # fmt: skip
    rows += [rows[0] | row for row in extra]
    with (folder / "crops.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


PATTERN = TrialOptions(pattern="T{plot}_{date}_*")


def test_means_and_curves_of_each_plot(tmp_path):
    doubtful = {"trust": "no", "reasons": "blurred", "cover": 0.9}
    run = write_run(tmp_path / "run", [doubtful, {"file": "other.jpg"}])
    notes = []
    trial = read_trial(run, PATTERN, on_note=notes.append)
    assert len(trial.means) == len(PLOTS) * len(DAYS)
    first = trial.means[0]
    assert (first["plot"], first["date"], first["n"]) == ("0031", "2018-03-01", 3)
    assert first["left_out"] == 1
    low = logistic(0, *PLOTS["0031"])
    assert first["cover"] == pytest.approx(low, abs=1e-9)
    assert first["cover_sd"] == pytest.approx(statistics.stdev([-0.01, 0, 0.01]))
    assert first["components"] == 1
    assert "exg" not in first
    assert notes == ["1 of 56 photographs are in no plot or date: other.jpg ..."]
    for one in trial.curves:
        top, rate, middle = PLOTS[one.plot]
        assert one.growth.top == pytest.approx(top, rel=1e-3)
        day = middle - math.log(top / 0.5 - 1) / rate
        assert one.reached == FIRST + timedelta(days=round(day))
    counted = read_trial(run, TrialOptions(pattern="T{plot}_{date}_*", untrusted=True))
    assert counted.means[0]["cover"] == pytest.approx((3 * low + 0.9) / 4)


def test_no_date_is_told_beyond_the_photographs_and_what_was_left_out_is(tmp_path):
    """A plot whose full canopy nobody trusted: its curve is that of its youth, and says so."""
    grown = [(0, 0.05), (10, 0.07), (20, 0.10), (30, 0.15), (40, 0.50), (50, 0.80)]
    rows = [
        {
            "file": f"T0099_{FIRST + timedelta(days=day):%Y%m%d}_0.jpg",
            "cover": cover,
            "trust": "yes" if cover < 0.3 else "no",
        }
        for day, cover in grown
    ]
    run = write_run(tmp_path / "run", rows)
    young = {one.plot: one for one in read_trial(run, PATTERN).curves}["0099"]
    assert young.growth.day_of(0.5) > 31  # the curve goes on, but nobody was there
    assert (young.reached, young.fastest) == (None, None)
    assert "a cover of 50% lies outside the dates photographed: no date is told" in young.note
    assert (
        "2 later dates were left out, as none of their photographs is to be trusted (cover 50% to "
        "80%): --untrusted counts them" in young.note
    )
    one = read_trial(write_run(tmp_path / "one", rows[:5]), PATTERN).curves
    assert (
        "1 later date was left out, as none of its photographs is to be trusted (cover 50%): "
        in next(each.note for each in one if each.plot == "0099")
    )
    told = TrialOptions(pattern="T{plot}_{date}_*", untrusted=True)
    whole = {one.plot: one for one in read_trial(run, told).curves}["0099"]
    assert FIRST + timedelta(days=36) <= whole.reached <= FIRST + timedelta(days=44)
    assert "left out" not in whole.note


def test_a_plot_of_which_no_photograph_is_trusted_is_named(tmp_path):
    """It has no curve, and was not on the page at all."""
    lost = {"file": f"T0099_{FIRST:%Y%m%d}_0.jpg", "trust": "no", "reasons": "blurred"}
    run = write_run(tmp_path / "run", [lost])
    trial = read_trial(run, PATTERN)
    assert {one.plot for one in trial.curves} == set(PLOTS)
    assert trial.unseen == ["0099"]
    assert "1: 0099 (--untrusted counts them)" in to_html(trial, tmp_path)
    told = TrialOptions(pattern="T{plot}_{date}_*", untrusted=True)
    counted = read_trial(run, told)
    assert counted.unseen == []
    assert "no photograph is to be trusted" not in to_html(counted, tmp_path)


def test_a_table_goes_before_names_and_gps_comes_last(tmp_path):
    here = {"file": "IMG_7.jpg", "latitude": "48.0001", "longitude": "11.0001"}
    run = write_run(tmp_path / "run", [here | {"time": "2018-03-05T10:00:00"}])
    table = tmp_path / "t.csv"
    table.write_text("file,plot,date\nT0031_20180301_0.jpg,north,2018-04-01\n", "utf-8")
    frame = geopandas.GeoDataFrame(
        {"id": [7, 8]}, geometry=[box(11, 48, 11.001, 48.001), box(12, 48, 13, 49)], crs=4326
    )
    frame.to_crs(32632).to_file(tmp_path / "p.gpkg")
    options = TrialOptions(table, "T{plot}_{date}_*", tmp_path / "p.gpkg")
    photos = read_trial(run, options).photos
    assert (photos[0].plot, photos[0].day, photos[0].source) == ("north", date(2018, 4, 1), "table")
    assert (photos[1].plot, photos[1].source) == ("0031", "name")
    assert (photos[-1].plot, photos[-1].day) == ("7", date(2018, 3, 5))
    assert photos[-1].source == "GPS"


def test_a_photograph_lies_in_the_plot_above_which_it_was_taken(tmp_path):
    """Places were written with six digits: at 143 degrees east that is 50 metres, and the plot was
    another one.
    """
    east, north = (143, 12, 18.4444), (36, 7, 22.2222)  # degrees, minutes, seconds
    longitude, latitude = (d + m / 60 + s / 3600 for d, m, s in (east, north))
    exif = Image.Exif()
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place.update({1: "S", 2: north, 3: "E", 4: east})
    (tmp_path / "photos").mkdir()
    picture = Image.new("RGB", (60, 40), (90, 120, 60))
    picture.save(tmp_path / "photos" / "a_2024-05-01.jpg", exif=exif)
    half = 1e-5  # degrees: plots of two metres, side by side
    plots = [
        box(longitude + k * 2 * half - half, -latitude - half, longitude + k * 2 * half + half, 0)
        for k in range(-40, 41)
    ]
    frame = geopandas.GeoDataFrame({"plot": range(-40, 41)}, geometry=plots, crs=4326)
    frame.to_file(tmp_path / "plots.gpkg")
    run = tmp_path / "run"
    told = CliRunner().invoke(
        cli, ["crops", "photos", str(tmp_path / "photos"), "-o", str(run), "-m", "colour", "-q"]
    )
    assert told.exit_code == 0, told.output
    with (run / "crops.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert abs(float(row["longitude"]) - longitude) < 1e-7
    assert abs(float(row["latitude"]) + latitude) < 1e-7
    (photo,) = read_trial(run, TrialOptions(plots=tmp_path / "plots.gpkg")).photos
    assert (photo.plot, photo.source) == ("0", "GPS")


def test_tables_workbook_and_page(tmp_path):
    run, out = write_run(tmp_path / "run"), tmp_path / "out"
    asked = ["crops", "trial", str(run), "-o", str(out), "--pattern", PATTERN.pattern]
    told = CliRunner().invoke(cli, [*asked, "--json", "--at", "0.3"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts["left out"] == 0
    assert (facts["plots"], facts["plots and dates"], facts["curves in doubt"]) == (2, 18, 0)
    with (out / "long.csv").open(encoding="utf-8") as file:
        long = list(csv.DictReader(file))
    with (out / "means.csv").open(encoding="utf-8") as file:
        means = list(csv.DictReader(file))
    assert [row["mean"] for row in long if row["trait"] == "cover"] == [
        row["cover"] for row in means
    ]
    assert pyogrio.list_layers(out / "trial.xlsx")[:, 0].tolist() == [
        "means", "long", "curves", "photographs",
    ]  # fmt: skip
    back = pyogrio.read_dataframe(out / "trial.xlsx", layer="means", read_geometry=False)
    assert back["cover"].tolist() == pytest.approx([float(row["cover"]) for row in means], abs=1e-5)
    assert back["plot"].astype(str).str.zfill(4).tolist() == [row["plot"] for row in means]
    page = (out / "index.html").read_text("utf-8")
    assert page.count("<polyline") == 2
    assert 'href="../run/overlays/T0031_20180301_0.jpg"' in page
    again = CliRunner().invoke(cli, asked)
    assert isinstance(again.exception, OutputExists)


def test_nothing_fits(tmp_path):
    run = write_run(tmp_path / "run")
    with pytest.raises(BadInput, match="None of 54 photographs"):
        read_trial(run, TrialOptions(pattern="X{plot}"))
    with pytest.raises(BadInput, match="which photograph shows which plot"):
        TrialOptions()
    with pytest.raises(UnreadableFile, match="'selion crops' wrote"):
        read_trial(tmp_path / "nowhere", PATTERN)
    table = tmp_path / "t.csv"
    table.write_text("file,plot\nelsewhere.jpg,1\n", "utf-8")
    with pytest.raises(BadInput, match="is among the photographs"):
        read_trial(run, TrialOptions(table=table))
    table.write_text("file,place\nT0031_20180301_0.jpg,1\n", "utf-8")
    with pytest.raises(BadInput, match="no column plot"):
        read_trial(run, TrialOptions(table=table))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # as spreadsheets write it where they are set to another country
        (["T0031_20180301_0.jpg,1,16/04/2018"], "date '16/04/2018' of T0031_20180301_0.jpg"),
        (["T0031_20180301_0.jpg,1,", "T0031_20180301_1.jpg,1,2018-13-01"], "'2018-13-01'"),
        (["T0031_20180301_0.jpg,1,", "T0031_20180301_0.jpg,2,"], "T0031_20180301_0.jpg twice"),
        (["a.jpg,1,2018-04-16", "a.jpg,1,2018-04-17"], "a.jpg twice"),
    ],
)
def test_a_table_that_cannot_be_obeyed_is_told(tmp_path, lines, said):
    """The photograph's own date stood in for one that could not be read, and the last row won."""
    run, table = write_run(tmp_path / "run"), tmp_path / "t.csv"
    head = "file,plot,date\nT0032_20180301_0.jpg,9,2018-04-01\n"
    table.write_text(head + "".join(f"{line}\n" for line in lines), "utf-8")
    with pytest.raises(BadInput, match=said):
        read_trial(run, TrialOptions(table, "T{plot}_{date}_*"))


def test_a_table_may_say_a_thing_twice_and_leave_dates_to_others(tmp_path):
    run, table = write_run(tmp_path / "run"), tmp_path / "t.csv"
    row = "T0031_20180301_0.jpg,north,\n"
    table.write_text(f"file,plot,date\n{row}{row}", "utf-8")
    first = read_trial(run, TrialOptions(table, "T{plot}_{date}_*")).photos[0]
    assert (first.plot, first.day) == ("north", date(2018, 3, 1))


def test_writing_needs_no_curve(tmp_path):
    run = write_run(tmp_path / "run")
    trial = read_trial(run, TrialOptions(pattern="T{plot}_{date}_2"))
    (tmp_path / "out").mkdir()
    write_trial(trial, tmp_path / "out")
    assert len((tmp_path / "out" / "photographs.csv").read_text("utf-8").splitlines()) == 55
    assert math.isnan(Growth().day_of(0.5))


def test_masks_are_shown_and_hidden_where_the_photographs_are_there(tmp_path):
    photos, run, out = tmp_path / "photos", tmp_path / "run", tmp_path / "out"
    for folder in (photos, run / "overlays", out):
        folder.mkdir(parents=True)
    Image.fromarray(np.full((400, 900, 3), 90, np.uint8)).save(photos / "p1_20240501.jpg")
    columns = "file,trust,cover,overlay\n"
    rows = "".join(
        f"{name}_20240501.jpg,yes,0.2,overlays/{name}_20240501.jpg\n" for name in ("p1", "p2")
    )
    (run / "crops.csv").write_text(columns + rows)
    (run / "run.json").write_text(json.dumps({"photographs from": str(photos)}))
    trial = read_trial(run, TrialOptions(pattern="{plot}_{date}"))
    page = write_page(trial, out, out).read_text("utf-8")
    with Image.open(out / "photos" / "00001.jpg") as small:
        assert small.size == (480, 213)  # whole: 900 x 400
    assert page.count('class="bare"') == page.count('class="masked"') == 1  # the other is gone
    (run / "run.json").unlink()
    assert read_trial(run, TrialOptions(pattern="{plot}_{date}")).source is None
