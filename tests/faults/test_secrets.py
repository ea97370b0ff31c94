"""What signs an address stands in nothing that is written or said."""

import base64
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from counting_host import counting_host
from option_inputs import INPUTS, Quick
from option_walk import Inputs
from secret_walk import SecretWalk, in_files, mark
from selion import errors, store
from selion.cli import main as command_line
from selion.cli.main import cli
from selion.errors import SelionError, without_secrets

SECRET = "S3CR3T"
PLACES = (
    "http://{host}/image.tif?sig=S3CR3T",
    "http://me:S3CR3T@{host}/image.tif",
    "/vsicurl/http://{host}/image.tif?sig=S3CR3T",
    "/vsicurl/http://me:S3CR3T@{host}/image.tif?sv=1&sig=S3CR3T#S3CR3T",
)
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SelionError)
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)


@pytest.fixture(scope="module")
def host(inputs):
    with counting_host(inputs["image"].parent) as served:
        yield served.host


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_error_says_a_secret(kind, place):
    error = kind(f"{place.format(host='example.org')}: it does not answer ({place})")
    for said in (str(error), repr(error), str(pickle.loads(pickle.dumps(error)))):
        assert SECRET not in said
        assert "example.org/image.tif: it does not answer" in said


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("see 'http://h/a?sig=k', then", "see 'http://h/a', then"),
        ("(https://h/a?sig=k).", "(https://h/a)."),
        ("with url: /search?token=k (Caused by", "with url: /search (Caused by"),
        ("http:/h/a.tif?sig=k cannot be read", "http:/h/a.tif cannot be read"),
        ("did you mean http://h/a?", "did you mean http://h/a?"),
        ("/vsicurl?url=x&sig=k is", "/vsicurl is"),
        ("s3://bucket/me@home/a.tif", "s3://bucket/me@home/a.tif"),
        ("C:/a?b@c.tif and 'x?y@z' stay", "C:/a?b@c.tif and 'x?y@z' stay"),
    ],
)
def test_what_is_taken_out_of_a_sentence(said, left):
    assert without_secrets(said) == left
    assert without_secrets(left) == left


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "words",
    [
        "map {place} -o out.parquet --page --preview --profile --save_scores --work kept",
        "map {place} -o out.parquet --json",
        "map {place} -o out.parquet --dry-run",
        "predict {place} -o out.tif --preview",
        "map {place}.missing -o out.parquet",
    ],
)
def test_no_secret_is_written_or_said(place, words, host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selion.pipeline.maps.load_refined", lambda *_a, **_k: Quick())
    given = [word.format(place=place.format(host=host)) for word in words.split()]
    done = CliRunner().invoke(cli, given, catch_exceptions=True)
    said = done.output + str(done.exception)
    if "missing" in words and not place.endswith(SECRET):
        assert isinstance(done.exception, SelionError)
    else:
        assert done.exit_code == 0, said
    assert SECRET not in said
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written or "missing" in words or "dry" in words
    for path in written:
        assert SECRET not in path.name
        assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("place", PLACES)
def test_what_opened_it_says_no_secret(place, host):
    given = place.format(host=host)
    for shown in (store.shown(given), str(store.locate(given)), repr(store.locate(given))):
        assert SECRET not in shown
        assert "image.tif" in shown


@pytest.mark.parametrize(("verb", "forms"), [("scenes", ("SAS",)), ("view", ("GDAL's options",))])
def test_a_verb_keeps_secrets(verb, forms, inputs, tmp_path, monkeypatch):
    """All verbs in all forms: ``python bench/planted.py``."""
    with counting_host(inputs.folder) as served:
        walk = SecretWalk(tmp_path, inputs, served.host, monkeypatch)
        count, leaks = walk.examine(verb, forms)
    assert count > 1
    assert not leaks, "\n".join(leaks)


def test_what_is_planted_is_found(tmp_path):
    table = pa.table({"a": [f"x {mark(3)}"] * 99})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / ".hidden").write_bytes(base64.b64encode(f"me:{mark(15)}".encode()))
    (tmp_path / mark(4)).write_text("")
    (tmp_path / "clean").write_text("nothing")
    assert in_files(tmp_path) == [".hidden", "a.parquet", mark(4)]


@pytest.mark.parametrize(
    "words",
    [
        "map {image} -o out.parquet --collection http://me:S3CR3T@example.org/x",
        "map {image} -o http://me:S3CR3T@example.org/out.parquet",
        "map {image} -o s3://bucket/out.parquet?key=S3CR3T",
        "map {image} -o out.parquet --vote http://example.org/x?sig=S3CR3T",
        "map {image} -o out.parquet --engine http://example.org/x?sig=S3CR3T",
        "plan 12,50,12.1,50.1 --year 2024 -o out --land-cover https://example.org/x?sig=S3CR3T",
        "merge {image} -o out --layout ftw-2e --year 2024 --address https://a:S3CR3T@example.org/x",
        "models show https://example.org/x?sig=S3CR3T",
        "plan 12,50,12.1,50.1 --year 2024 -o out --mosaic openai:http://a:S3CR3T@example.org/v1?k=x#y",
    ],
)
def test_an_address_with_a_key_is_refused_where_it_would_be_kept(
    words, host, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "_stop_as_asked", lambda: None)
    with pytest.raises(SystemExit) as ended:
        command_line.main(words.format(image=f"http://{host}/image.tif").split())
    said = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert "example.org" in said or "s3://bucket" in said
    assert SECRET not in said
    assert not list(tmp_path.iterdir())


def test_a_defect_of_ours_says_no_secret(capsys):
    problem = ValueError("no https://me:S3CR3T@example.org/a.tif?sig=S3CR3T here")
    command_line._trace_without_secrets(type(problem), problem, None)
    assert capsys.readouterr().err == "ValueError: no https://example.org/a.tif here\n"
