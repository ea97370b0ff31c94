"""A small command for each mode of each verb, and what its options may be given.

A new verb wants an entry in ``MODES``; a new option wants one in ``OTHERS`` if it takes a name, a
path or anything else that cannot be guessed from its type.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

from option_inputs import INPUTS, PROBE, Quick, QuickObjects, frame, job
from option_walk import ONCE, Given, Mode
from selion.closerange import ColourCorrection, CropRun
from selion.closerange.codes import Code, CodedPhoto
from selion.country import PlanRun
from selion.imagery import Season
from selion.models import ModelCard
from selion.store import atomic_folder

__all__ = ["EXEMPT", "INPUTS", "MODES", "OTHERS"]


@contextmanager
def serial(_options):
    """Do blocks here, whoever was to do them."""
    from selion.runners import Serial

    yield Serial(1)


def mapped(*_args, **kwargs):
    """The map of an area, without its making."""
    made = SimpleNamespace(
        frame=frame(),
        job=job(),
        path=Path("out.parquet"),
        facts=dict,
        notes=(),
        scores=SimpleNamespace(
            scores=SimpleNamespace(
                provenance=dict.fromkeys(("title", "year", "licence", "citation"), "")
            )
        ),
    )
    if kwargs.get("use"):
        kwargs["use"](made)
    return made


def archived(out, *, force, **_asked):
    """An archive that is published as a real one is, without its scenes."""
    with atomic_folder(out, force) as made:
        (made / "catalog.json").write_text("{}")
    return SimpleNamespace(
        items=[], tiles=[], options=SimpleNamespace(year=2024), catalogue=out / "catalog.json"
    )


SURVEY = SimpleNamespace(
    rows=list, refused=(), notes=(), plans=(), options=SimpleNamespace(target=5)
)
COST = SimpleNamespace(facts=lambda: {"dollars": 1.0})
MOSAICS = SimpleNamespace(notes=(), bytes_read=1)
PAGES = {"selion.reports.maps.write_report": Path("page.html")}
LOADED = {"selion.pipeline.maps.load_refined": lambda *_a, **_k: Quick()}
COMPARED = {"selion.pipeline.maps.compare_precision": "as before"}
DRAWN = {"selion.reports.preview.Preview": None, "selion.reports.preview.write_preview": "preview"}
AREAS = {
    "selion.pipeline.areas.survey_area": SURVEY,
    "selion.pipeline.run.map_area": mapped,
    "selion.pipeline.cost.estimate_area": COST,
    "selion.world.imagery_map.prepare_mosaics": (job(), MOSAICS),
    "selion.world.imagery_map.map_prepared": mapped,
    "selion.cli.map_run.print_plan": None,
    "selion.world.map_published": mapped,
    "selion.cli.map_published.PublishedRun._plan": None,
    "selion.world.map_published_fields": lambda *_a, **_k: (Path("out"), frame()),
    "selion.world.fields_cost": (1, 1),
    **COMPARED,
    **PAGES,
    **DRAWN,
}
BLOCKS = {"selion.pipeline.maps.open_runner": serial}
PLANNED = {"selion.prediction.plan": None}
AREA = "12,50,12.02,50.02"
BOX = "11,49,12,50"
SERVED = {
    "selion.web.server.listen": lambda *_a: (
        SimpleNamespace(),
        SimpleNamespace(url=lambda name: f"http://{name}"),
        None,
    ),
    "selion.web.server.make_app": "app",
    "selion.web.server.serve": None,
    "threading.Timer": lambda *_a: SimpleNamespace(start=lambda: None, daemon=True),
}
ADAPTED = SimpleNamespace(contest=SimpleNamespace(kept="", photos=(), contenders=(), sentence=""))


def begun(epochs):
    """An adaptation whose photographs are chosen, and that was trained for so many epochs."""
    out = Path("out")
    return SimpleNamespace(epochs=epochs, said="", folder=out, labels=out / "labels")


ADAPTED_BY_HAND = {
    "selion.closerange.adapt_model": ADAPTED,
    "selion.reports.adaptation.write_page": None,
    "selion.closerange.prepare_drawn": begun(0),
    "selion.closerange.mask_editor": SimpleNamespace(counts=lambda: {"total": 2, "done": 1}),
    "selion.web.server.serve_until": None,
    "selion.web.masks.masks_page": "page",
    "selion.models.sam.click.ClickedObject": "clicked",
}
SCREENED = {
    "selion.web.screening.screening_page": (
        "page",
        SimpleNamespace(
            listing=SimpleNamespace(notes=(), items=()),
            journal=SimpleNamespace(history=SimpleNamespace(keys=()), path="log"),
        ),
    ),
    "selion.web.correcting.correcting_page": "correcting",
    "selion.models.sam.click.ClickedObject": "clicked",
}
PLAN = SimpleNamespace(
    notes=("a note",),
    recipe=SimpleNamespace(name="run", model=SimpleNamespace(start_from="", architecture={})),
    windows=8,
    validation=(),
)
TRAINED = {
    "selion.training.plan_training": PLAN,
    "selion.reports.training_run.is_finished": False,
    "selion.training.run.make_network": (None, "from nothing"),
    "selion.training.run.probe": 1.0,
    "selion.reports.training_run.run": SimpleNamespace(
        trained=SimpleNamespace(
            leads=True, scores=None, images_per_second=1.0, waited=0.0, engine="cpu"
        ),
        card=SimpleNamespace(folder="model"),
        notes=(),
    ),
    "selion.reports.training_run.numbers": {},
}
CHECKED = {"selion.data.check_dataset": ONCE}
SCORED = {
    "selion.models.load_model": lambda *_a, **_k: Quick(),
    "selion.evaluation.deployment_scores": {"changed": 0.5},
    "selion.evaluation.evaluate": ONCE,
    "selion.reports.evaluation.write_report": [Path("report.html")],
    "selion.reports.evaluation.case_figures": [],
}
LAND_COVER = {
    "land_cover": Given("{cover}", "--land-cover-crops 40"),
    "crop_codes": Given("40,10", "--land-cover {cover} --land-cover-crops 40"),
    "crop_share": Given("0.9", "--land-cover {cover} --land-cover-crops 40"),
}
FIELDS = {
    "method": Given("components"),
    "vote": Given("min_area_m2=250000", "--method vote"),
    "simplify": "60",
    "regularise": "30",
    "min_area": "220000",
    "max_area": "200000",
    "collection": "mine",
    "acquired": "2024-08-01T10:00:00Z",
    **LAND_COVER,
}
WINDOWS = {
    "window": "32",
    "overlap": "0.5",
    "padding": Given("6", "--window 32"),
    "block": "64",
    "batch": "1",
    "gsd": "5",
    "scale": "2",
    "bands": "2,1,3,4",
}
MODEL = {"model": "other", "refiner": "own", "cover": Given("all", "--refine own"), "gpu": "0"}
RUN = {"runner": "processes", "workers": Given("3", "--runner processes"), "work": "kept"}
SEARCH = {
    "provider": "planetary-computer",
    "dates": "2024-03-01/2024-05-31 2024-08-01/2024-10-15",
    "season_rule": Given("calendar", "--calendar {photos}", ""),
    "calendar": Given("{photos}", "--season-rule calendar --calendar other"),
    "crop": Given("winter", "--season-rule calendar --calendar {photos}"),
    "excluded": "3,8",
    "mosaic": "kept-tiles",
    "mosaic_zarr": Given("", "--mosaic kept-tiles"),
    "crs": "EPSG:3857",
    "pixel": "20",
}
EXEMPT = {"stats": {"quiet": "nothing is printed but the result anyhow"}}
"""Options of a verb that may do nothing there, and why."""
SAMPLED = SimpleNamespace(
    drawn=1, units=2, notes=(), strata=[SimpleNamespace(name="fields", units=2, drawn=1)]
)
JOBS = {
    "selion.models.find_card": lambda name: ModelCard(
        str(name), Quick().inputs, Quick().classes, format="transformers"
    ),
    "selion.imagery.find_seasons": (
        Season("window_a", date(2024, 3, 1), date(2024, 5, 31)),
        Season("window_b", date(2024, 8, 1), date(2024, 10, 15)),
    ),
}
"""What a plan asks so that its jobs are not refused later."""
RATE = SimpleNamespace(value=0.5, half_width=0.1)
ESTIMATED = SimpleNamespace(
    notes=("a note",),
    answered=(1,),
    hectares=lambda: 1.0,
    whole=SimpleNamespace(
        overall=RATE,
        by_class={"field": SimpleNamespace(mapped=0.5, area=RATE, users=RATE, producers=RATE)},
    ),
)
LISTED = {"selion.papers.find_weights": lambda *_a: {}}
SCORED_PHOTOS = {
    "selion.papers.photographs.score_photographs": SimpleNamespace(tables=("a table",)),
    "selion.papers.photo_tables.write_photo_tables": [Path("table-4.csv")],
    "selion.papers.photo_tables.table_text": "a table",
    "selion.reports.reproduction_photographs.write_photo_report": Path("report.html"),
}
SCORED_LANDSCAPES = {
    "selion.papers.landscapes.score_landscapes": SimpleNamespace(notes=()),
    "selion.papers.landscape_tables.write_landscape_tables": [Path("table-1.csv")],
    "selion.reports.reproduction_landscapes.write_landscape_report": Path("report.html"),
}
REPRODUCED = {
    "selion.papers.find_weights": lambda *_a: {},
    "selion.papers.request.reproduce": lambda *_a, on_table, **_k: on_table(None) or [],
    "selion.papers.to_markdown": "table",
    "selion.reports.reproduction.write_report": Path("report.html"),
}


def coded(_folder, files, plot_of, _on_step):
    """As though photographs of p1 showed a code with that, and others none."""
    said = CodedPhoto((Code("p1", "QR Code", 1.0, 2.0),), (plot_of("p1"),))
    return {file: said if file.startswith("p1") else CodedPhoto() for file in files}


CODED = {"selion.closerange.trial.read_codes": coded}
MODES = {
    "map": [
        Mode(
            "map {image} -o out.parquet",
            {**LOADED, **COMPARED, **PAGES, **DRAWN, "selion.pipeline.maps.map_image": ONCE},
            {**BLOCKS, **PLANNED},
        ),
        Mode(
            "map {image} --model own -o out.parquet",
            {"selion.models.refine.segmenter.load_model": lambda *_a, **_k: QuickObjects()},
            PLANNED,
            skip=("image", "model", "preview", "page", "fast"),
        ),
        Mode(f"map {AREA} --year 2024 -o out.parquet", AREAS),
        Mode(f"map {AREA} --year 2024 --imagery ftw-mosaics -o out.parquet", AREAS),
        Mode(f"map {AREA} --year 2025 --from ftw-2e -o out.parquet", AREAS),
        Mode(f"map {AREA} --year 2025 --from ftw-1e:fields -o out.parquet", AREAS),
    ],
    "look": [Mode("look {image}", {"selion.pipeline.opening.open_dates": ONCE})],
    "predict": [
        Mode(
            "predict {image} -o out.tif",
            {**LOADED, **COMPARED, "selion.reports.preview.write_score_preview": "p"},
            {**BLOCKS, **PLANNED},
        )
    ],
    "fields": [
        Mode("fields {scores} -o out.parquet", DRAWN, BLOCKS),
        Mode(
            "fields {refined} -o out.parquet",
            {**DRAWN, "selion.pipeline.maps.fields_from_scores": ONCE},
            BLOCKS,
        ),
    ],
    "world": [Mode("world")],
    "scenes": [
        Mode(
            f"scenes {AREA} 2024",
            {
                "selion.pipeline.areas.survey_area": SURVEY,
                "selion.pipeline.areas.write_survey": None,
            },
        ),
        Mode(
            f"scenes {AREA} 2024 -o scenes.json",
            {
                "selion.pipeline.areas.survey_area": SURVEY,
                "selion.pipeline.areas.write_survey": None,
            },
        ),
    ],
    "composite": [
        Mode(
            f"composite {AREA} 2024 -o out.tif",
            {
                "selion.pipeline.areas.survey_area": SURVEY,
                "selion.pipeline.composites.write_composite": SimpleNamespace(facts=dict),
                "selion.pipeline.cost.estimate_area": COST,
                "selion.runners.open_runner": serial,
            },
        )
    ],
    "evaluate": [
        Mode(
            "evaluate --pred {prediction}/fields.parquet --truth {truth}",
            {
                "selion.evaluation.files.compare_files": ONCE,
                "selion.reports.evaluation.write_report": [Path("report.html")],
            },
            skip=("pixels",),
        ),
        Mode("evaluate quick {dataset} --bootstrap 20", SCORED, skip=("pixels", "maps", "truth")),
        Mode(
            "evaluate own {dataset} --bootstrap 20",
            SCORED | {"selion.models.load_model": lambda *_a, **_k: QuickObjects()},
            skip=("pixels", "maps", "truth"),
        ),
        Mode("evaluate quick {ftw} --bootstrap 20", SCORED, skip=("pixels", "maps", "truth")),
        Mode(
            "evaluate --pixels {pixels} --bootstrap 20",
            {
                "selion.evaluation.pixels.oracle_system": None,
                "selion.models.load_model": lambda *_a, **_k: Quick(),
                "selion.evaluation.pixels.evaluate_pixels": ONCE,
            },
        ),
    ],
    "reproduce prue": [
        Mode("reproduce prue --table 1", REPRODUCED, skip=("data",)),
        Mode("reproduce prue --table 1 --table 3 --data {ftw}", REPRODUCED),
    ],
    "reproduce depthcropseg": [
        Mode("reproduce depthcropseg --table IV", LISTED | SCORED_PHOTOS, skip=("data",)),
        Mode("reproduce depthcropseg --table IV --data {photos}", SCORED_PHOTOS),
    ],
    "reproduce magseg": [
        Mode("reproduce magseg --table 4", LISTED | SCORED_LANDSCAPES, skip=("data",)),
        Mode("reproduce magseg --table 1 --data {photos}", SCORED_LANDSCAPES),
    ],
    "sample": [
        Mode(f"sample {AREA} {{maps}} -o out", {"selion.survey.draw_sample": SAMPLED}),
        Mode(
            f"sample {AREA} {{maps}} -o out --objects",
            {
                "selion.survey.draw_objects": SimpleNamespace(
                    drawn=1, fields=2, strata=[SimpleNamespace(name="all", fields=2, drawn=1)]
                )
            },
        ),
    ],
    "estimate": [
        Mode(
            "estimate {photos} -o out",
            {
                "selion.survey.estimate_sample": ESTIMATED,
                "selion.survey.write_estimates": None,
                "selion.reports.survey.to_html": "page",
            },
        )
    ],
    "change": [
        Mode(
            "change {year} {later} -o out",
            {
                "selion.change.compare_years": ONCE,
                "selion.reports.change.write_report": Path("page.html"),
            },
        ),
        Mode(
            "change {maps} {maps} -o out",
            {
                "selion.country.compare_maps": ONCE,
                "selion.reports.change_maps.write_map_report": Path("page.html"),
            },
            skip=("tables",),
        ),
        Mode(
            "change {plan_year} {plan_later} -o out",
            {
                "selion.country.compare_plans": ONCE,
                "selion.reports.change_maps.write_map_report": Path("page.html"),
            },
            skip=("pixel",),
        ),
        Mode(
            "change {table} {table} -o out --tables",
            {
                "selion.country.compare_maps": ONCE,
                "selion.reports.change_maps.write_map_report": Path("page.html"),
            },
        ),
    ],
    "history": [
        Mode(
            "history {year} {later} {last} -o out",
            {
                "selion.world.history.write_history": ONCE,
                "selion.reports.history.write_report": Path("page.html"),
            },
        ),
        Mode(
            f"history {AREA} --years 2017-2018 --from ftw-2e -o out",
            {
                "selion.world.years.map_years": [],
                "selion.world.history.write_history": SimpleNamespace(
                    facts={"fields": 1, "alive": 1, "years": {}}
                ),
                "selion.reports.history.write_report": Path("page.html"),
            },
        ),
    ],
    "plan": [
        Mode(
            f"plan {AREA} --year 2024 --probe-file {{probe}} -o out --workers 4 --edge 20",
            {**JOBS, "selion.country.make_plan": ONCE},
        ),
        Mode(
            f"plan {AREA} --year 2024 --probe -o out --workers 4 --edge 20",
            {
                **JOBS,
                "selion.country.probe_pipeline": PROBE,
                "selion.country.probe_mosaics": replace(PROBE, imagery="ftw-mosaics"),
                "selion.country.make_plan": ONCE,
            },
        ),
    ],
    "merge": [
        Mode("merge {table} {cut} -o out", {"selion.country.merge_maps": ONCE}),
        Mode(
            "merge {table} -o out --layout ftw-2e --year 2024 --address https://a.example/x",
            {"selion.country.publish_maps": ONCE},
        ),
    ],
    "query": [Mode("query 12,50,12.011,50.001 {maps} -o out.parquet")],
    "stats": [
        Mode("stats {maps} --districts {units}", skip=("quiet",)),
        Mode("stats {maps} --districts {units} -o out.csv", skip=("quiet",)),
    ],
    "tiles": [Mode("tiles {maps} -o out.pmtiles --max-zoom 10")],
    "crops adapt": [
        Mode(
            "crops adapt {photos}/photos --masks {photos}/masks -o out",
            {
                "selion.closerange.adapt_model": ADAPTED,
                "selion.reports.adaptation.write_page": None,
            },
        ),
        Mode("crops adapt {photos}/photos -o out --count 2", SERVED | ADAPTED_BY_HAND),
        Mode(
            "crops adapt {photos}/photos -o out",
            SERVED | ADAPTED_BY_HAND | {"selion.closerange.prepare_drawn": begun(5)},
        ),
    ],
    "crops trial": [
        Mode("crops trial {measured} -o out --pattern {{plot}}_{{date}}_*", CODED),
        Mode("crops trial {measured} -o out --plots {measured}/places.gpkg", CODED),
        Mode("crops trial {measured} -o out --codes {{plot}}", CODED),
    ],
    "crops codes": [Mode("crops codes {measured}/places.gpkg -o out.pdf")],
    "crops plots": [
        Mode("crops plots {ortho} {plots} -o out -m colour --min-pixels 1"),
        Mode(
            "crops plots {ortho} {plots} -o out",
            {
                "selion.closerange.measure_plots": SimpleNamespace(
                    rows=[], untrusted=0, model="", seconds={"wall": 0.0}, notes=()
                )
            },
        ),
    ],
    "crops photos": [
        Mode(
            "crops {photos}/photos -o out -m colour --workers 1",
            {"selion.closerange.measure_folder": ONCE}
            | {"selion.closerange.make_correction": ColourCorrection(notes=("mended",))},
        ),
        Mode(
            "crops {photos}/photos -o out --workers 1",
            {"selion.closerange.measure_folder": CropRun(Path("out"), [], [], [], "crops-rgb", "")}
            | {"selion.closerange.make_correction": ColourCorrection(notes=("mended",))},
        ),
        Mode("crops --print-marker marker.png"),
    ],
    "run": [
        Mode("run {plan}", {"selion.country.run_plan": PlanRun((), ("a", "b"), {})}),
    ],
    "watch": [Mode("watch {plan}", SERVED), Mode("watch {plan} --once", SERVED)],
    "view": [
        Mode("view {image}", SERVED),
        Mode(
            "view {image} --map-into maps",
            SERVED
            | {
                "selion.web.view.page.view_page": (
                    "page",
                    SimpleNamespace(close=lambda: None, problems=(), summary=lambda: "None."),
                )
            },
        ),
    ],
    "review open": [
        Mode(
            "review open reviewed",
            SERVED
            | {
                "selion.web.review.open_session": ONCE,
                "selion.web.view.page.view_page": ("page", SimpleNamespace(close=lambda: None)),
            },
            copies=("reviewed",),
        )
    ],
    "review export": [
        Mode(
            "review export reviewed -o out",
            {"selion.review.export_review": ONCE},
            copies=("reviewed",),
        )
    ],
    "review annotations": [
        Mode("review annotations reviewed -o out", copies=("reviewed",)),
    ],
    "review import": [
        Mode("review import reviewed {annotated} --person Ada", copies=("reviewed",)),
    ],
    "review status": [Mode("review status {reviewed}")],
    "train": [
        Mode("train fields-s2-2season", TRAINED),
        Mode(
            "train fields-s2-2season --sweep schedule.lr=1e-3,1e-4",
            {
                "selion.reports.sweep.run_sweep": [],
                "selion.reports.sweep.write_sweep": "page.html",
                "selion.reports.sweep.table": [],
                "selion.reports.sweep.header": [],
            },
        ),
        Mode("train --from-review {reviewed}", TRAINED | {"selion.review.plan_from_review": PLAN}),
        Mode("train --list"),
    ],
    "label depth": [
        Mode("label depth {photos}/photos -o out --depth {photos}/depths"),
        Mode(
            "label depth {photos}/photos -o out",
            {
                "selion.models.depth.network.load_depth": (SimpleNamespace(name="net", edge=1), ()),
                "selion.labelling.pseudo.label_photos": [],
            },
        ),
    ],
    "label screen": [Mode("label screen {screened}/photos {screened}/pseudo", SERVED | SCREENED)],
    "label report": [
        Mode(
            "label report {screened}/pseudo",
            {
                "selion.reports.screening.write_report": lambda _, out: ("found", out or "page"),
                "selion.reports.screening.to_text": str,
            },
        )
    ],
    "label pseudo": [
        Mode(
            "label pseudo {dataset} -m quick -o out",
            {
                "selion.models.load_model": lambda *_a, **_k: Quick(),
                "selion.labelling.scenes.label_scenes": [
                    SimpleNamespace(has_mask=True, quality=0.5, key="a", why="")
                ],
            },
        ),
    ],
    "label trimap": [Mode("label trimap {photos}/masks {photos}/other -o out")],
    "label selftrain": [
        Mode(
            "label selftrain fields-s2-2season --pseudo {photos} -o out",
            {
                "selion.labelling.selection.keep_pseudo": (),
                "selion.labelling.selftrain.plan_selftraining": SimpleNamespace(notes=("a note",)),
                "selion.reports.self_training.run": Path("model"),
            },
        ),
    ],
    "models list": [Mode("models list")],
    "models verify": [
        Mode(
            "models verify a",
            {
                "selion.models.verify_model": SimpleNamespace(
                    card=SimpleNamespace(name="a"), difference=0.0, engine="by hand"
                )
            },
        )
    ],
    "models encoders": [Mode("models encoders")],
    "models show": [Mode("models show fields-s2-2season")],
    "models fetch": [
        Mode("models fetch ftw-3class", {"selion.models.fetch_model": SimpleNamespace(folder="x")})
    ],
    "models import": [
        Mode(
            "models import a.ckpt", {"selion.models.import_checkpoint": SimpleNamespace(folder="x")}
        )
    ],
    "models export": [
        Mode(
            "models export a -o out",
            {
                "selion.models.find_card": lambda *_: None,
                "selion.models.language.merging.export_merged": SimpleNamespace(folder="x"),
            },
        )
    ],
    "models quantise": [
        Mode(
            "models quantise a {image} -o out",
            {
                "selion.pipeline.quantisation.quantise_model": (
                    SimpleNamespace(folder="x"),
                    SimpleNamespace(agreement=1.0, windows=4, worst=1.0, speed=2.0),
                )
            },
        )
    ],
    "data list": [Mode("data list")],
    "data show": [Mode("data show ftw")],
    "data fetch": [Mode("data fetch ftw -o out", {"selion.data.fetch_dataset": [Path("a")]})],
    "data check": [
        Mode("data check {ftw}", CHECKED, code=2),
        Mode("data check ftw --root {ftw}", CHECKED, code=2),
    ],
    "data make": [
        Mode(
            "data make {image} -p {polygons} -o out --size 32 --block-km 0.3",
            {"selion.data.make_dataset": ONCE},
        ),
        Mode(
            "data make {image} -p {polygons} -o out",
            {"selion.data.make_dataset": ONCE},
        ),
    ],
    "qgis install": [
        Mode("qgis install --qgis-profile profile", {"selion.qgis.install_plugin": "folder"})
    ],
    "qgis package": [Mode("qgis package")],
    "qgis path": [Mode("qgis path")],
    "qgis style": [Mode("qgis style year/fields.parquet", copies=("year",))],
    "simulate": [
        Mode(
            "simulate -o out --size 32",
            {
                "selion.simulation.landscape.simulate": ONCE,
                "selion.pipeline.demo.write_landscape": lambda *_a, **_k: [Path("image.tif")],
            },
        ),
        Mode(
            "simulate -o out --archive",
            {
                "selion.simulation.archive.simulate_archive": archived,
            },
        ),
    ],
    "demo": [
        Mode(
            "demo",
            {
                "selion.pipeline.demo.run_demo": SimpleNamespace(scores={}),
                "selion.reports.demo.write_report": Path("page.html"),
                "selion.reports.demo.text_table": "table",
            },
        )
    ],
    "verify": [Mode("verify {table}")],
    "clean": [Mode("clean left", copies=("left",))],
    "doctor": [Mode("doctor", {"selion.reports.doctor.examine": {"a": 1}})],
}
OTHERS = {
    "map": {
        **FIELDS,
        **WINDOWS,
        **MODEL,
        **RUN,
        **SEARCH,
        "out": "other.gpkg",
        "year": "2019",
        "imagery": Given("ftw-mosaics@copy"),
        "edition": Given("ftw-2e@copy"),
        "scores": "scores.tif",
        "consistency": "consistency.tif",
        "price": Given("2", "--dry-run"),
        "least_confidence": "80",
    },
    "look": {"model": "fields-s2-2season"},
    "predict": {
        **WINDOWS,
        **{k: MODEL[k] for k in ("model", "refiner", "gpu")},
        **RUN,
        "out": "other.tif",
    },
    "fields": {
        "out": "other.gpkg",
        "image": "{cover}",
        **FIELDS,
        "cover": "all",
        **{k: RUN[k] for k in ("runner", "workers")},
    },
    "scenes": {
        **{k: v for k, v in SEARCH.items() if k not in ("crs", "pixel", "mosaic", "mosaic_zarr")},
        "out": "other.json",
    },
    "composite": {
        **SEARCH,
        **RUN,
        "out": "other.tif",
        "tiles": "tiles",
        "price": Given("2", "--dry-run"),
    },
    "evaluate": {
        "maps": "{year}/fields.parquet",
        "truth": "{year}/fields.parquet",
        "out": "other",
        "extent": "{districts}",
        "by": "kind",
        "calibration": "fit.toml",
        "layout": "pastis",
        "split": "train",
        "ratios": "0.05",
        "widths": "3",
        "oracle": "sam",
        "draws": "30",
        "iou": "0.9",
        "cap": "1",
        "method": "components",
        "reproject": Given(None, "--truth {far_truth}", only=True),
    },
    "reproduce prue": {
        "tables": "2",
        "data": "{dataset}",
        "weights": "{photos}",
        "own": "quick",
        "countries": "austria",
        "out": "other",
        "maps": "{photos}",
        "census": "{table}",
        "prices": "{table}",
    },
    "reproduce magseg": {
        "tables": "5",
        "data": "{dataset}",
        "layout": Given("ews", "--data {photos}"),
        "split": Given("val", "--data {photos}"),
        "weights": "{photos}",
        "own": "quick",
        "by": "climate",
        "out": "other",
    },
    "reproduce depthcropseg": {
        "tables": "VII",
        "data": "{dataset}",
        "layout": Given("ews", "--data {photos}"),
        "split": Given("val", "--data {photos}"),
        "weights": "{photos}",
        "own": "quick",
        "out": "other",
    },
    "sample": {
        "out": "other",
        "error": "0.02",
        "expected": Given("0.7", "--error 0.02"),
        "breaks": "0.5",
        "sizes": Given("0.5,2", "--objects"),
        "districts": "{units}",
        "district_column": Given("code", "--districts {units}"),
        "land_cover": Given("{cover}", "--land-cover-crops 40"),
        "crop_codes": Given("40", "--land-cover {cover}"),
    },
    "estimate": {"out": "other", "answers": "{table}"},
    "change": {
        "out": "other",
        "tolerance": "0.1",
        "pixel": "5",
        "districts": "{units}",
        "district_column": Given("code", "--districts {units}"),
        "cell": "4",
        "work": "parts",
        "images": Given("{image}", "--images {ortho}"),
    },
    "history": {
        **{k: RUN[k] for k in ("runner", "workers")},
        "out": "other",
        "tolerance": "0.1",
        "years": "2019-2020",
        "edition": "ftw-2e@copy",
        "gsd": "20",
        **{k: FIELDS[k] for k in ("simplify", "min_area", "max_area", "method")},
        "land_cover": Given("{cover}", "--land-cover-crops 40"),
        "crop_codes": Given("40", "--land-cover {cover}"),
        "water_codes": Given("80", "--land-cover {cover}"),
        "elevation": "{dem}",
        "districts": "{districts}",
        "district_column": Given("name", "--districts {districts}"),
        "reference": "{reference}",
        "reference_column": Given("right", "--reference {reference}"),
        "reference_year": Given("2024", "--reference {reference}"),
    },
    "plan": {
        "imagery": Given("ftw-mosaics@copy"),
        **{name: value for name, value in SEARCH.items() if name != "crs"},
        **FIELDS,
        **WINDOWS,
        **MODEL,
        "scores": "scores.tif",
        "consistency": "consistency.tif",
        "out": "other",
        "year": "2023",
        "prices": "{prices}",
        "probe_file": "{slow}",
        "probe_at": BOX,
        "model": "other",
        "samples": Given("3", "--model talks", only=True),
        "grammar": Given("none", "--model talks", only=True),
        "answer_scores": Given("labels", "--model talks", only=True),
        "edge": "10",
    },
    "run": {"runner": "processes", "workers": Given("3", "--runner processes")},
    "merge": {
        "out": "other",
        "plan": "{plan}",
        "year": "2023",
        "addresses": "s3://b/x",
        "collection": "mine",
        "min_area": "5000",
        "work": "kept",
    },
    "query": {"out": "other.gpkg", "columns": "class"},
    "stats": {"by": "{more_units}", "name": "code", "out": "other.json"},
    "tiles": {"out": "other.pmtiles"},
    "crops adapt": {
        "out": "other",
        "model": "crops-wide",
        "masks": "{photos}/other",
        "pattern": "{{plot}}",
        "classes": "crop-weed",
        "licence": "mine",
        "gsd": "0.5",
        "sam": "sam2",
        "person": "Ada",
        "port": "8123",
        "force": Given(None, "--seed 4"),
    },
    "crops trial": {
        "out": "other",
        "pattern": "p{{plot}}_{{date}}_*",
        "table": "{measured}/table.csv",
        "plots": "{measured}/fewer.gpkg",
        "codes": "p{{plot}}",
        "names": Given("place", "--plots {measured}/places.gpkg"),
    },
    "crops codes": {
        "out": "other.pdf",
        "codes": "T7-{{plot}}",
        "names": "place",
        "size": "60",
        "paper": "letter",
    },
    "crops plots": {
        "out": "other",
        "model": "colour-otsu",
        "names": "place",
        "window": "32",
        "buffer": "20",
        "min_area": "400",
    },
    "crops photos": {
        "out": "other",
        "model": "colour-otsu",
        "gsd": "0.5",
        "marker": "30",
        "print_marker": "other.png",
        "window": "32",
        "card": "{photos}/card.png",
        "corners": Given("1,1,9,1,9,9,1,9", "--colour-card {photos}/card.png"),
        "flat": "{photos}/flat.png",
    },
    "view": {
        "names": "{places}",
        "basemap": "https://tiles.invalid/{{z}}/{{x}}/{{y}}.png",
        "into": "other",
        "model": "fields-s2-2season",
        "labels": "{photos}/masks",
    },
    "review open": {
        "against": "{year}",
        "image": "{image}",
        "scores": "{scores}",
        "photos": "{screened}/photos {screened}/pseudo",
        "person": "Ada",
        "port": "8123",
    },
    "review export": {"out": "other", "image": "{image}"},
    "review annotations": {"out": "other", "image": "{image}", "size": "40"},
    "review import": {"person": "Ben", "image": "{image}"},
    "label pseudo": {
        "out": "other",
        "model": "other",
        "unsure": "0.2 0.7",
        "window": "64",
        "gsd": "5",
        "scale": "2",
        "bands": "1,2",
    },
    "label report": {"out": "other.html"},
    "label selftrain": {
        "pseudo": "{dataset}",
        "photos": "{photos}/photos",
        "out": "other",
        "labelled": "{dataset}",
        "root": "{ftw}",
        "decisions": "log.jsonl",
        "sure": "0.8",
        "share": "0.3",
        "gsd": "1 2",
        "changes": "schedule.epochs=2",
    },
    "train": {
        "review": "{year}",
        "image": "{image}",
        "model": "other",
        "out": "other",
        "changes": "schedule.epochs=2",
        "sweeps": "schedule.lr=1e-3,1e-4",
    },
    "label depth": {
        "out": "other",
        "model": "base",
        "depths": "{photos}/masks",
        "full": "0*",
        "device": "cuda",
        "clip": "20",
        "force": Given(None, "--clip 20"),
    },
    "label screen": {"person": "Ada", "port": "8123", "sam": "sam2"},
    "label trimap": {"out": "other", "classes": "soil,plant"},
    "models import": {"out": "other", "like": "FTW_PRUE_EFNET_B3"},
    "models quantise": {"out": "other"},
    "models export": {"out": "other"},
    "data fetch": {"out": "other", "groups": "kenya"},
    "data check": {"shifts": "0", "root": "{one_country}", "split": "test", "groups": "kenya"},
    "data make": {
        "polygons": "{year}/fields.parquet",
        "out": "other",
        "area": "{districts}",
        "keep": "kind=1",
        "boundary": "2",
        "licence": "CC0-1.0",
        "group": "here",
        "seed": "3",
        "model": "fields-s2-2season",
    },
    "qgis install": {"profile": "other"},
    "qgis package": {
        "out": "other.zip",
        "repository": "https://code.example.org/us",
        "tracker": "https://code.example.org/problems",
        "homepage": "https://code.example.org/",
        "email": "us@fields.org",
    },
    "qgis style": {"name": "size"},
    "simulate": {
        "size": "64",
        "seed": "2",
        "out": "other",
        "style": "prairie",
        "centre": Given("30 40", ""),
    },
    "demo": {"out": "other", "image": "{image}"},
}
