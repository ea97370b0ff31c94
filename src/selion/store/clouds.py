"""Object stores are read by GDAL and written by obstore, which know different variables.

What the environment says to one is said to the other too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from selion.store.retry import RetryPolicy

YES = ("YES", "TRUE", "ON", "1")
EMULATOR = {
    "AccountName": "devstoreaccount1",
    "AccountKey": (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    ),
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
"""Azure's own emulator: this key is the same everywhere, and published
(learn.microsoft.com/azure/storage/common/storage-connect-azurite)."""


OPEN_BUCKETS = {"us-west-2.opendata.source.coop": "us-west-2"}
"""Buckets that anybody may read without keys, and their regions."""


def object_settings(url: str) -> dict[str, Any]:
    """Return what obstore must be told about a store.

    That is beside what it reads from the environment itself.
    """
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if scheme == "s3" and bucket in OPEN_BUCKETS and not _first("AWS_S3_ENDPOINT"):
        return {"region": OPEN_BUCKETS[bucket], "skip_signature": True}
    return {"s3": _s3, "gs": _gs, "az": _az}[scheme]() if scheme in ("s3", "gs", "az") else {}


def gdal_clouds() -> dict[str, str]:
    """Return GDAL's names of what the environment says in obstore's."""
    said = {
        "GS_NO_SIGN_REQUEST": "YES" if _yes("GOOGLE_SKIP_SIGNATURE") else "",
        "CPL_GS_ENDPOINT": _slashed(_first("GOOGLE_BASE_URL")),
        "GOOGLE_APPLICATION_CREDENTIALS": _first(
            "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"
        ),
        "AZURE_STORAGE_ACCOUNT": _first("AZURE_STORAGE_ACCOUNT_NAME"),
        "AZURE_STORAGE_ACCESS_KEY": _first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_MASTER_KEY"),
        "AZURE_STORAGE_SAS_TOKEN": _first("AZURE_STORAGE_SAS_KEY"),
        "AZURE_NO_SIGN_REQUEST": "YES" if _yes("AZURE_SKIP_SIGNATURE") else "",
        "AZURE_STORAGE_CONNECTION_STRING": _joined(EMULATOR)
        if _yes("AZURE_STORAGE_USE_EMULATOR")
        else "",
    }
    return {name: value for name, value in said.items() if value}


def _s3() -> dict[str, Any]:
    host = _first("AWS_S3_ENDPOINT")
    signed = {"skip_signature": True} if _yes("AWS_NO_SIGN_REQUEST") else {}
    if not host:
        return signed
    plain = os.environ.get("AWS_HTTPS", "YES").upper() in ("NO", "FALSE")
    endpoint = host if "://" in host else f"{'http' if plain else 'https'}://{host}"
    return signed | _at(endpoint, "endpoint")


def _gs() -> dict[str, Any]:
    base = _first("GOOGLE_BASE_URL", "CPL_GS_ENDPOINT").rstrip("/")
    unsigned = _yes("GS_NO_SIGN_REQUEST") or _yes("GOOGLE_SKIP_SIGNATURE")
    if not base:
        return {"skip_signature": True} if unsigned else {}
    # an account without a key: obstore's own word for unsigned requests holds for reading only
    nobody = {
        "gcs_base_url": base,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    return _at(base, "base_url") | ({"service_account_key": json.dumps(nobody)} if unsigned else {})


def _az() -> dict[str, Any]:
    if _yes("AZURE_STORAGE_USE_EMULATOR"):
        return {"client_options": {"allow_http": True}}
    parts = dict(
        part.partition("=")[::2]
        for part in _first("AZURE_STORAGE_CONNECTION_STRING").split(";")
        if part
    )
    told = {
        "account_name": parts.get("AccountName") or _first("AZURE_STORAGE_ACCOUNT"),
        "account_key": parts.get("AccountKey"),
        "sas_key": parts.get("SharedAccessSignature"),
        "skip_signature": _yes("AZURE_NO_SIGN_REQUEST"),
    }
    endpoint = parts.get("BlobEndpoint", "").rstrip("/")
    return {name: value for name, value in told.items() if value} | (
        _at(endpoint, "endpoint") if endpoint else {}
    )


def _at(address: str, name: str) -> dict[str, Any]:
    """Name an address; an unencrypted one must be allowed."""
    return {name: address, "client_options": {"allow_http": address.startswith("http://")}}


def _joined(parts: Mapping[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in parts.items())


def _slashed(address: str) -> str:
    return f"{address.rstrip('/')}/" if address else ""


def _first(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _yes(name: str) -> bool:
    return os.environ.get(name, "").upper() in YES


def open_store(url: str, retry: RetryPolicy, seconds: float) -> Any:
    """Open a store as obstore does.

    Parameters
    ----------
    url : str
        A prefix.
    retry : RetryPolicy
        How long a connection is waited for, and the pauses between obstore's own tries.
    seconds : float
        What one request may take, its content on the way included.
    """
    import obstore

    settings = object_settings(url)
    plain = {"allow_http": True} if url.startswith("http://") else {}
    client: Any = (
        {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=retry.connect),
        }
        | plain
        | settings.pop("client_options", {})
    )
    quick: Any = {
        "max_retries": 3,
        "backoff": {
            "init_backoff": timedelta(seconds=retry.backoff),
            "max_backoff": timedelta(seconds=4),
            "base": 2,
        },
    }
    return obstore.store.from_url(
        url,
        client_options=client,
        retry_config=quick | {"retry_timeout": timedelta(minutes=2)},
        **settings,
    )
