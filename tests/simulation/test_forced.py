"""A simulated folder is replaced by force, and a folder of somebody's own is not."""

from functools import partial

import pytest

from selion.errors import OutputExists
from selion.simulation.chips import ChipOptions, write_chips
from selion.simulation.holdings import HoldingOptions, write_holdings
from selion.simulation.photographs import PhotographOptions, write_photographs
from selion.simulation.published import simulate_published

WRITERS = {
    "chips": partial(write_chips, options=ChipOptions(("austria",), (1, 1, 1), 64)),
    "smallholdings": partial(write_holdings, options=HoldingOptions((1, 1, 1), 320)),
    "photographs": partial(write_photographs, options=PhotographOptions(1, 1, 1, (48, 64))),
    "copy": partial(simulate_published, scene="zones", years=(2024,), tile=512),
}


@pytest.mark.parametrize("name", WRITERS)
def test_only_what_was_simulated_is_replaced(name, tmp_path):
    out, write = tmp_path / "out", WRITERS[name]
    (out / "images").mkdir(parents=True)
    (out / "images" / "a.jpg").write_text("precious")
    with pytest.raises(OutputExists, match=f"selion did not make, or not as .*{name}"):
        write(out, force=True)
    assert (out / "images" / "a.jpg").read_text() == "precious"
    (out / "images" / "a.jpg").unlink()
    (out / "images").rmdir()
    write(out, force=True)
    names = sorted(one.name for one in out.iterdir())
    write(out, force=True)
    assert sorted(one.name for one in out.iterdir()) == names
