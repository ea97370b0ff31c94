"""Verbs that are given addresses: how they are run, and a cache that has forgotten all."""

from __future__ import annotations

from dataclasses import replace

from click.testing import CliRunner

from selion.cli.main import cli
from selion.errors import SelionError
from selion.store import block_cache, ranges


def begin_anew(tmp_path, monkeypatch):
    """An empty cache, and little patience."""
    monkeypatch.setenv("SELION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "RETRY", replace(ranges.RETRY, backoff=0.01, tries=3))
    forget()


def forget():
    """Let go of what this process remembers, as another run would."""
    block_cache._memory = block_cache.LruCache(block_cache.MEMORY, len)
    ranges._opened = ranges.LruCache(1024)


def run(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def refused(*words):
    """Return the sentence with which a verb stops."""
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert isinstance(done.exception, SelionError), (done.output, done.exception)
    return str(done.exception)
