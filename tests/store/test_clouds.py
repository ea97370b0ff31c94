"""Google's and Azure's stores: put once, listed, read in ranges, by obstore and by GDAL; and a
whole map on them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cloud_stores import BlobStore, GoogleStore
from selion import store
from selion.cli.main import main
from selion.errors import OutputExists, OutputFailed
from selion.grid import whole
from selion.prediction import BlockJournal
from selion.simulation.landscape import simulate
from selion.store import ObjectFolder, clouds, object_store

NAMES = (
    "AWS_S3_ENDPOINT",
    "AWS_HTTPS",
    "AWS_NO_SIGN_REQUEST",
    "GOOGLE_BASE_URL",
    "CPL_GS_ENDPOINT",
    "GS_NO_SIGN_REQUEST",
    "GOOGLE_SKIP_SIGNATURE",
)
NAMES += (
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_NO_SIGN_REQUEST",
)


@pytest.fixture
def bare(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(params=["gs", "az"])
def cloud(request, bare):
    bare.setattr(object_store, "RETRY", replace(object_store.RETRY, backoff=0.01))
    with {"gs": GoogleStore, "az": BlobStore}[request.param]() as stand_in:
        for name, value in stand_in.environment.items():
            bare.setenv(name, value)
        stand_in.url = f"{request.param}://bucket"
        yield stand_in


def test_an_object_is_put_once_listed_and_deleted(cloud):
    place = ObjectFolder(f"{cloud.url}/a folder")
    cloud.fail["PUT"] = 2
    assert place.put("a b+c", b"first"), "the first two tries were answered 503"
    assert not place.put("a b+c", b"second")
    assert (place.get("a b+c"), place.get("b"), place.has("a b+c"), place.has("b")) == (
        b"first",
        None,
        True,
        False,
    )
    assert place.put("a b+c", b"third", replace=True)
    assert place.put("deep/b", b"12")
    assert place.names() == {"a b+c": 5, "deep/b": 2}
    assert cloud.objects["a folder/a b+c"] == b"third"
    place.delete("a b+c", "never there")
    assert place.names() == {"deep/b": 2}


def test_a_large_file_goes_in_parts(cloud, tmp_path, monkeypatch):
    monkeypatch.setattr(object_store, "WHOLE", 1000)
    monkeypatch.setattr(object_store, "PART", 5 * 2**20)
    file = tmp_path / "map.bin"
    file.write_bytes(np.random.default_rng(0).bytes(6 * 2**20))
    place = ObjectFolder(cloud.url)
    place.upload(file, "map.bin")
    assert cloud.objects["map.bin"] == file.read_bytes()
    with pytest.raises(OutputExists, match="--force"):
        place.upload(file, "map.bin")


def test_a_block_belongs_to_who_came_first_and_a_broken_one_is_replaced(cloud):
    roi, block = (
        (slice(0, 40), slice(64, 100)),
        np.arange(3 * 40 * 36, dtype=np.uint8).reshape(3, 40, 36),
    )
    one, other = (
        BlockJournal(f"{cloud.url}/journal", "key"),
        BlockJournal(f"{cloud.url}/journal", "key"),
    )
    assert one.save(roi, block)
    assert not other.save(roi, block)
    assert np.array_equal(other.load(roi, block.shape), block)
    name = next(name for name in cloud.objects if name.endswith(".block"))
    cloud.objects[name] = cloud.objects[name][:-3]
    assert one.load(roi, block.shape) is None
    assert other.save(roi, block)
    assert one.has(roi, block.shape)


def test_a_key_that_is_refused_is_one_sentence_at_once(bare):
    with BlobStore() as stand_in:
        bare.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            stand_in.environment["AZURE_STORAGE_CONNECTION_STRING"].replace(
                stand_in.key, "d3Jvbmc="
            ),
        )
        with pytest.raises(OutputFailed, match="credentials"):
            ObjectFolder("az://bucket").put("a", b"1")
        assert stand_in.asked["PUT"] == 1


def test_a_map_is_read_from_and_written_to_them(cloud, tmp_path, capsys):
    scene = simulate(4, (128, 128), 10.0, "europe")
    image = tmp_path / "image.tif"
    with store.create_cog(image, scene.image.grid, scene.image.bands, np.uint16, block=64) as sink:
        sink.write(whole(scene.image.grid), scene.image.values)
    far = ObjectFolder(cloud.url).upload(image, "in/image.tif")
    read = store.open_raster(far)
    assert np.array_equal(
        read.read((slice(30, 100), slice(3, 77))).values, scene.image.values[:, 30:100, 3:77]
    )
    assert store.fingerprint(far) == store.fingerprint(far)
    common = [
        "--block",
        "64",
        "--window",
        "64",
        "--batch",
        "1",
        "--scale",
        "1",
        "--no-preview",
        "--collection",
        "c",
        "-q",
    ]
    main(["map", str(image), "-o", str(tmp_path / "f.parquet"), *common])
    cloud.fail.update(GET=2, PUT=2)
    main(
        [
            "map",
            str(image),
            "-o",
            f"{cloud.url}/maps/f.parquet",
            "--work",
            f"{cloud.url}/work",
            *common,
        ]
    )
    assert cloud.objects["maps/f.parquet"] == (tmp_path / "f.parquet").read_bytes()
    assert (
        sum(
            name.startswith("work/journal/scores/") and name.endswith(".block")
            for name in cloud.objects
        )
        == 4
    )
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", far, "-o", f"{cloud.url}/maps/f.parquet", *common[:-3], "-q"])
    assert "exists already" in capsys.readouterr().err


def test_what_is_said_to_one_library_is_said_to_the_other(bare):
    for scheme in ("s3", "gs", "az", "https"):
        assert clouds.object_settings(f"{scheme}://bucket") == {}
    bare.setenv("AZURE_STORAGE_ACCOUNT", "mine")
    bare.setenv("AZURE_NO_SIGN_REQUEST", "YES")
    bare.setenv("GS_NO_SIGN_REQUEST", "YES")
    bare.setenv("AWS_S3_ENDPOINT", "store.example:9000")
    assert clouds.object_settings("az://b") == {"account_name": "mine", "skip_signature": True}
    assert clouds.object_settings("gs://b") == {"skip_signature": True}
    assert clouds.object_settings("s3://b") == {
        "endpoint": "https://store.example:9000",
        "client_options": {"allow_http": False},
    }
    for name, value in {
        "AZURE_STORAGE_ACCOUNT_NAME": "mine",
        "GOOGLE_SERVICE_ACCOUNT": "key.json",
        "GOOGLE_BASE_URL": "http://there",
    }.items():
        bare.setenv(name, value)
    told = clouds.gdal_clouds()
    assert told == {
        "AZURE_STORAGE_ACCOUNT": "mine",
        "GOOGLE_APPLICATION_CREDENTIALS": "key.json",
        "CPL_GS_ENDPOINT": "http://there/",
    }


def test_azures_emulator_has_its_own_address(bare):
    bare.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    assert clouds.object_settings("az://b") == {"client_options": {"allow_http": True}}
    assert clouds.gdal_clouds()["AZURE_STORAGE_CONNECTION_STRING"].endswith(
        "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
    )
