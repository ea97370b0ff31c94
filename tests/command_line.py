"""The command line in the process of the tests: what it says and how it ends, without the seconds
that a process of its own takes to begin.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import warnings

import pytest

from selion.cli.main import main


def run_here(*arguments, cwd=None, **environment):
    """Run a command as a shell would; what is only seen from outside (signals, files that are
    closed, memory) wants a process of its own.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main([str(one) for one in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
