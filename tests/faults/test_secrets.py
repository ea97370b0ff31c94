"""What signs an address stands in nothing that is written or said."""

import pickle

import pytest
from click.testing import CliRunner

from counting_host import counting_host
from option_inputs import INPUTS, Quick
from option_walk import Inputs
from selion import errors, store
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
def host(tmp_path_factory):
    inputs = Inputs(tmp_path_factory.mktemp("inputs"), INPUTS)
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
