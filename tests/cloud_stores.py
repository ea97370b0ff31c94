"""Stand-ins for Google Cloud Storage (XML interface) and Azure Blob Storage: the few requests that
a map makes, answered as their documents say.

Written after https://cloud.google.com/storage/docs/xml-api/reference-methods and
https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import threading
from collections import Counter
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from faulty_store import Quiet

NEVER = formatdate(1_700_000_000, usegmt=True)


class CloudStore:
    """``with GoogleStore() as store``: variables for clients are in ``store.environment``; ``fail``
    requests of a method are answered 503 first.
    """

    def __init__(self):
        self.objects, self.parts = {}, {}
        self.asked, self.fail = Counter(), Counter()
        self.lock = threading.Lock()

    def __enter__(self):
        store = self

        class Handler(Quiet):
            def _serve(self):
                body = self.body()
                address = urlsplit(self.path)
                with store.lock:
                    store.asked[self.command] += 1
                    busy = store.fail[self.command] > 0
                    store.fail[self.command] -= busy
                    query = dict(parse_qsl(address.query, keep_blank_values=True))
                    answer = (
                        (503, {}, b"")
                        if busy
                        else store.answer(self, unquote(address.path), query, body)
                    )
                self._send(*answer)

            def _send(self, status, headers, content):
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    with contextlib.suppress(OSError):
                        self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request, path, query, body):
        """Return (status, headers, content)."""
        bucket, _, name = path.removeprefix(self.root).lstrip("/").partition("/")
        refused = self.refused(request, path, query)
        if refused or bucket != "bucket":
            return 403 if refused else 404, {}, refused
        if not name:
            return (
                self.batch(body)
                if request.command == "POST"
                else (
                    200,
                    {"Content-Type": "application/xml"},
                    self.listing(query.get("prefix", "")),
                )
            )
        if request.command in ("PUT", "POST"):
            return self.put(request, name, query, body)
        if request.command == "DELETE":
            return (
                (self.deleted, {}, b"")
                if self.objects.pop(name, None) is not None
                else (404, {}, b"")
            )
        return self.read(request, name)

    def read(self, request, name):
        if name not in self.objects:
            return 404, {}, b""
        content = self.objects[name]
        headers = {
            "ETag": tag(content),
            "Last-Modified": NEVER,
            "Accept-Ranges": "bytes",
            "x-goog-generation": "1",
            "x-ms-blob-type": "BlockBlob",
        }
        asked = re.fullmatch(
            r"bytes=(\d+)-(\d*)",
            request.headers.get("range") or request.headers.get("x-ms-range") or "",
        )
        if request.command == "HEAD" or not asked:
            return 200, headers, content
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        return (
            206,
            headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"},
            content[first : last + 1],
        )

    def listing(self, prefix):
        names = sorted(name for name in self.objects if name.startswith(prefix))
        rows = (
            self.row.format(
                name=escape(name),
                tag=tag(self.objects[name]),
                size=len(self.objects[name]),
                date=NEVER,
            )
            for name in names
        )
        return self.rows.format(prefix=escape(prefix), rows="".join(rows)).encode()

    def keep(self, name, content):
        self.objects[name] = content
        return {"ETag": tag(content), "Last-Modified": NEVER, "x-goog-generation": "1"}


def tag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


class GoogleStore(CloudStore):
    """Addresses ``gs://bucket/...``; no signatures are checked, as with the emulators."""

    root, deleted = "/", 204
    row = (
        "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"
        "{tag}</ETag><Size>{size}</Size></Contents>"
    )
    rows = (
        "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>"
        "{rows}</ListBucketResult>"
    )

    @property
    def environment(self):
        return {"GOOGLE_BASE_URL": self.address, "GOOGLE_SKIP_SIGNATURE": "true"}

    def refused(self, request, path, query):
        return b""

    def put(self, request, name, query, body):
        if "uploads" in query:
            self.parts[name] = {}
            return (
                200,
                {},
                (
                    b"<InitiateMultipartUploadResult><UploadId>one</UploadId>"
                    b"</InitiateMultipartUploadResult>"
                ),
            )
        if "partNumber" in query:
            self.parts[name][int(query["partNumber"])] = body
            return 200, {"ETag": tag(body)}, b""
        if request.headers.get("x-goog-if-generation-match") == "0" and name in self.objects:
            return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        if "uploadId" in query:
            kept = self.keep(
                name, b"".join(part for _, part in sorted(self.parts.pop(name).items()))
            )
            return (
                200,
                kept,
                (
                    f"<CompleteMultipartUploadResult><ETag>{escape(kept['ETag'])}</ETag>"
                    "</CompleteMultipartUploadResult>"
                ).encode(),
            )
        return 200, self.keep(name, body), b""


class BlobStore(CloudStore):
    """Addresses ``az://bucket/...`` of the account ``account``, whose key signs every request."""

    root, deleted = "/account", 202
    row = (
        "<Blob><Name>{name}</Name><Properties><Last-Modified>{date}</Last-Modified><Etag>"
        "{tag}</Etag><Content-Length>{size}</Content-Length><Content-Type>"
        "application/octet-stream</Content-Type></Properties></Blob>"
    )
    rows = (
        "<EnumerationResults><Prefix>{prefix}</Prefix><Blobs>{rows}</Blobs><NextMarker/>"
        "</EnumerationResults>"
    )
    key = base64.b64encode(b"a key for tests only").decode()

    @property
    def environment(self):
        return {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"AccountName=account;AccountKey={self.key};BlobEndpoint={self.address}/account;"
            )
        }

    def refused(self, request, path, query):
        """Check the signature ("Authorize with Shared Key"): method, eleven headers, those of x-ms,
        the resource.
        """
        heads = {name.lower(): value.strip() for name, value in request.headers.items()}
        plain = (
            "content-encoding",
            "content-language",
            "content-length",
            "content-md5",
            "content-type",
            "date",
        )
        plain += ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")
        lines = [
            request.command,
            *(
                "" if name == "content-length" and heads.get(name) == "0" else heads.get(name, "")
                for name in plain
            ),
        ]
        lines += [f"{name}:{heads[name]}" for name in sorted(heads) if name.startswith("x-ms-")]
        lines += [
            f"/account{urlsplit(request.path).path}",
            *(f"{name.lower()}:{query[name]}" for name in sorted(query)),
        ]
        wanted = base64.b64encode(
            hmac.new(base64.b64decode(self.key), "\n".join(lines).encode(), "sha256").digest()
        ).decode()
        return (
            b""
            if heads.get("authorization") == f"SharedKey account:{wanted}"
            else b"<Error><Code>AuthenticationFailed</Code></Error>"
        )

    def batch(self, body):
        """Delete many ("Blob Batch"): a request within the request for each, an answer within the
        answer.
        """
        answers = []
        for number, path in enumerate(
            re.findall(r"^DELETE (\S+) HTTP", body.decode(), re.MULTILINE)
        ):
            there = (
                self.objects.pop(
                    unquote(path).removeprefix("/account").removeprefix("/bucket/"), None
                )
                is not None
            )
            status = "202 Accepted" if there else "404 The specified blob does not exist."
            answers.append(
                f"--b\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
                f"HTTP/1.1 {status}\r\nx-ms-version: 2023-11-03\r\n\r\n"
            )
        return (
            202,
            {"Content-Type": "multipart/mixed; boundary=b"},
            ("".join(answers) + "--b--\r\n").encode(),
        )

    def put(self, request, name, query, body):
        if query.get("comp") == "block":
            self.parts.setdefault(name, {})[query["blockid"]] = body
            return 201, {}, b""
        if request.headers.get("if-none-match") == "*" and name in self.objects:
            return (
                409,
                {"x-ms-error-code": "BlobAlreadyExists"},
                b"<Error><Code>BlobAlreadyExists</Code></Error>",
            )
        if query.get("comp") == "blocklist":
            parts = self.parts.pop(name)
            body = b"".join(
                parts[one]
                for one in re.findall(r"<Uncommitted>([^<]+)</Uncommitted>", body.decode())
            )
        elif request.headers.get("x-ms-blob-type") != "BlockBlob":
            return 400, {}, b"<Error><Code>MissingRequiredHeader</Code></Error>"
        return 201, self.keep(name, body), b""
