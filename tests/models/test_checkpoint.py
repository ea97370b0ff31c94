"""torch's checkpoints, read by numpy: what torch saved comes back, and nothing in them is run."""

import argparse
import collections
import datetime as dt
import functools
import pathlib
import pickle
import subprocess
import sys
import uuid
import zipfile

import numpy as np
import pytest

from selion.errors import UnreadableFile, UnsafeFile
from selion.models.checkpoint import Checkpoint, InertObject, PickledName
from selion.models.convert import published_layout

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
GENERATOR = torch.Generator().manual_seed(1)
BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "parameter": torch.nn.Parameter(BASE.clone()),
    "transposed": BASE.t(),
    "part": BASE[1:, ::2],
    "one": torch.tensor(7),
    "none": torch.zeros(0, 3),
    "flags": torch.tensor([True, False]),
    "half": torch.randn(5, generator=GENERATOR).half(),
    "double": torch.randn(2, 2, generator=GENERATOR).double(),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "bfloat16": torch.randn(9, generator=GENERATOR).bfloat16(),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_are_those_that_torch_saved(tmp_path, protocol):
    torch.save(TENSORS, tmp_path / "a.pt", pickle_protocol=protocol)
    checkpoint = Checkpoint(tmp_path / "a.pt")
    assert list(checkpoint.content) == list(TENSORS)
    for name, tensor in TENSORS.items():
        # numpy has no bfloat16, and each of its values is a float32
        want = (tensor.float() if name == "bfloat16" else tensor).detach().numpy()
        found = checkpoint.array(checkpoint.content[name])
        assert found.dtype == want.dtype, name
        assert np.array_equal(found, want), name


@pytest.mark.parametrize("protocol", [2, 4])
def test_harmless_objects_are_carried_along_and_not_made(tmp_path, protocol):
    """What a Lightning trainer leaves in its checkpoints beside tensors."""
    optimiser = functools.partial(torch.optim.Adam, lr=0.1)
    state = torch.nn.Conv2d(1, 1, 1).state_dict()  # an OrderedDict with an attribute of its own
    saved = {
        "state_dict": state,
        "path": pathlib.PurePosixPath("/a/b.ckpt"),
        "space": argparse.Namespace(backbone="b3"),
        "kinds": collections.defaultdict(list, {"a": [1]}),
        "optimiser": optimiser,
        "loss": torch.nn.CrossEntropyLoss(),
        "time": dt.timedelta(seconds=3),
        "number": np.float64(2.5),
        "array": np.arange(3),
        "set": {1, 2},
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "plain": ["ü", -5, 2**70, 1.5, None, True, b"abc", (1, (2, 3, 4, 5))],
    }
    torch.save(saved, tmp_path / "a.ckpt", pickle_protocol=protocol)
    found = Checkpoint(tmp_path / "a.ckpt").content
    assert list(found["state_dict"]) == list(state)
    for name in ("plain", "set", "size"):
        assert found[name] == saved[name]
        assert type(found[name]) in (list, set, tuple)
    assert found["path"] == "/a/b.ckpt"
    assert found["kinds"] == {"a": [1]}
    assert found["space"].state == {"backbone": "b3"}
    assert found["dtype"] == PickledName("torch.float32")
    inert = ("space", "optimiser", "loss", "time", "number", "array", "device")
    assert {type(found[name]) for name in inert} == {InertObject}
    if protocol == 2:  # the other side: torch's own restricted unpickler refuses such a file
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "a.ckpt", weights_only=True)


class Call:
    """What is pickled as a call of a function, found by its name."""

    def __init__(self, module, name, *given):
        self.module, self.name, self.given = module, name, given

    def __reduce__(self):
        __import__(self.module)
        function = functools.reduce(getattr, self.name.split("."), sys.modules[self.module])
        return function, self.given


@pytest.mark.parametrize(
    ("module", "name", "given"),
    [
        ("os", "system", ("true",)),
        ("builtins", "eval", ("1",)),
        ("builtins", "getattr", ("x", "upper")),
        ("subprocess", "Popen", (["true"],)),
        ("torch", "load", ("x",)),
        ("torch.hub", "load", ("x", "y")),
        ("torch.nn.init", "zeros_", (1,)),
        ("importlib", "import_module", ("x",)),
        ("codecs", "decode", ("x", "rot13")),
    ],
)
def test_any_other_name_is_refused(tmp_path, module, name, given):
    torch.save({"callbacks": [Call(module, name, *given)]}, tmp_path / "a.ckpt")
    with pytest.raises(UnsafeFile, match=rf"asks for code .*\.{name}\), so it is refused"):
        Checkpoint(tmp_path / "a.ckpt")


def test_a_name_deeper_in_a_harmless_class_is_refused(tmp_path):
    written(tmp_path / "a.ckpt", b"\x80\x04\x8c\x08torch.nn\x8c\x0fModule.__init__\x93.")
    with pytest.raises(UnsafeFile, match=r"torch\.nn\.Module\.__init__"):
        Checkpoint(tmp_path / "a.ckpt")


def written(path, program, packed=zipfile.ZIP_STORED):
    """Write a checkpoint around a pickle."""
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", np.arange(4, dtype="<f4").tobytes())


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ"
)
REBUILT = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K%cK%c\x85K%c\x85\x89NtR."


@pytest.mark.parametrize(
    ("count", "offset", "size", "stride", "fits"),
    [
        (4, 0, 4, 1, True),
        (4, 1, 2, 2, True),
        (4, 1, 4, 1, False),
        (4, 0, 3, 2, False),
        (5, 0, 4, 1, False),
    ],
)
def test_a_tensor_never_reaches_beyond_its_numbers(tmp_path, count, offset, size, stride, fits):
    written(tmp_path / "a.ckpt", REBUILT % tuple(bytes([n]) for n in (count, offset, size, stride)))
    checkpoint = Checkpoint(tmp_path / "a.ckpt")
    if fits:
        want = [offset + stride * k for k in range(size)]
        assert checkpoint.array(checkpoint.content).tolist() == want
    else:
        with pytest.raises(UnreadableFile, match="fetch it again"):
            checkpoint.array(checkpoint.content)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80\x02",  # no end
        b"\x80\x02.",  # an end with nothing
        b"\x80\x02K\x01K\x02R.",  # a call of a number
        b"\x80\x02h\x07.",  # nothing was kept there
        b"\x80\x02}(K\x01u.",  # a key without a value
        b"\x80\x02}(]K\x01u.",  # a key that is a list
        b"\x80\x02u.",
        b"\x80\x02\xff.",
        b"\x80\x02X\xff\x00\x00\x00abc.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a reference that is no storage
        b"\x80\x02\x82\x01.",  # a name by a number of this process
    ],
)
def test_damaged_programs_get_a_sentence(tmp_path, program):
    written(tmp_path / "a.ckpt", program)
    with pytest.raises((UnreadableFile, UnsafeFile), match=r"a\.ckpt"):
        Checkpoint(tmp_path / "a.ckpt")


def test_packed_members_are_refused(tmp_path):
    """They may unpack to any size."""
    written(tmp_path / "a.ckpt", b"\x80\x02}.", zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableFile, match="packed"):
        Checkpoint(tmp_path / "a.ckpt")


def test_a_changed_byte_is_noticed(tmp_path):
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[content.index(np.arange(3.0, 9, dtype="<f4").tobytes())] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    checkpoint = Checkpoint(tmp_path / "a.pt")
    with pytest.raises(UnreadableFile, match="CRC-32"):
        checkpoint.array(checkpoint.content["a"])


def test_neither_torch_nor_what_is_named_is_imported(tmp_path):
    saved = {"loss": torch.nn.CrossEntropyLoss(), "w": torch.ones(3), "id": uuid.UUID(int=5)}
    torch.save(saved, tmp_path / "a.ckpt")
    script = (
        "import sys; from pathlib import Path; from selion.models.checkpoint import Checkpoint\n"
        "before = set(sys.modules); c = Checkpoint(Path(sys.argv[1]))\n"
        "print(c.array(c.content['w']).tolist(), c.content['id'].name)\n"
        "print(sorted(({'torch'} & set(sys.modules)) | ({'uuid'} & set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.ckpt"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[1.0, 1.0, 1.0] uuid.UUID", "[]"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_no_weights(tmp_path, number):
    content = {
        "hyper_parameters": {"model": "unet"},
        "state_dict": {"model.a": torch.ones(3), "model.b": torch.tensor([1.0, number])},
    }
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UnreadableFile, match="not finite in 'b'"):
        published_layout(Checkpoint(tmp_path / "x.ckpt"))
