"""What workers do whose driver is killed in the middle of an image."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from predict_toys import Toy
from selion.prediction import BlockJournal, PredictOptions, StripWork, plan, run_blocks
from selion.runners import Serial
from strip_toys import image

psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
DRIVER = """
import sys
from functools import partial
from pathlib import Path
from predict_toys import Toy
from selion.prediction import BlockJournal, PredictOptions, StripWork, plan, run_blocks
from selion.runners.processes import Processes
from strip_toys import Slow, image
if __name__ == "__main__":
    decided = plan(image(), Toy(), PredictOptions(block=60))
    journal = BlockJournal(Path(sys.argv[1]), decided.key)
    with Processes(2, 1) as run:
        run_blocks(StripWork(image(), decided, journal, partial(Slow, pause=0.2), Toy()), run)
"""


def blocks(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workers_of_a_killed_driver_end_and_write_no_more(tmp_path):
    script, folder = tmp_path / "driver.py", tmp_path / "blocks"
    script.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), *filter(None, sys.path)))},
    )
    deadline = time.monotonic() + 600
    while len(list(folder.glob("*.block"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) >= 2
    driver.send_signal(signal.SIGKILL)
    driver.wait(120)
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []
    left = blocks(folder)
    time.sleep(2)
    assert blocks(folder) == left, "somebody goes on writing"
    decided = plan(image(), Toy(), PredictOptions(block=60))
    done = len([name for name in left if name.endswith(".block")])
    assert 0 < done < len(decided.blocks)

    def finished(place):
        journal = BlockJournal(place, decided.key)
        assert run_blocks(StripWork(image(), decided, journal, Toy, Toy()), Serial()) == ()
        return {name: body for name, body in blocks(place).items() if name.endswith(".block")}

    assert finished(folder) == finished(tmp_path / "quiet")
