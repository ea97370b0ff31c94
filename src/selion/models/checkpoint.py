"""torch's checkpoints, read without torch and without running anything in them.

Such a file is a zip: the numbers lie in it as they are, one member a storage, and a pickle says how
tensors lie in them.  Unpickling is running a program, so the pickle is not unpickled here.  Its
operations are read one by one, and only those that make plain values are followed.  A name of a
class or function stays a name: what a few known ones stand for is made here, objects of harmless
kinds (see :data:`HARMLESS` and :data:`PACKAGES`) become :class:`InertObject`, and any other name is
refused.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from selion.errors import UnreadableFile, UnsafeFile

HARMLESS = frozenset(
    f"{module}.{name}"
    for module, names in {
        "argparse": "Namespace",
        "builtins": "bool bytes bytearray complex dict float int list object range slice str tuple",
        "copyreg": "_reconstructor",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "functools": "partial",
        "numpy": "dtype ndarray bool_ float16 float32 float64 int32 int64 uint8",
        "numpy.core.multiarray": "_reconstruct scalar",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.multiarray": "_reconstruct scalar",
        "numpy._core.numeric": "_frombuffer",
        "torch": "device dtype bfloat16 bool float16 float32 float64 int32 int64 uint8",
        "typing": "Any",
        "uuid": "UUID",
    }.items()
    for name in names.split()
)
"""Names that may stand in a checkpoint: what is made by them is carried along and never used."""
PACKAGES = (
    "ftw_tools",
    "jsonargparse",
    "kornia",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "omegaconf",
    "pytorch_lightning",
    "segmentation_models_pytorch",
    "torch.nn",
    "torch.optim",
    "torchgeo",
    "torchmetrics",
    "torchvision",
)
"""Packages whose classes may stand in a checkpoint; their functions may not."""
_STORAGES = {
    "torch.BFloat16Storage": "bfloat16",
    "torch.BoolStorage": "?",
    "torch.ByteStorage": "u1",
    "torch.CharStorage": "i1",
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.IntStorage": "i4",
    "torch.LongStorage": "i8",
    "torch.ShortStorage": "i2",
}
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_DAMAGED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class StoredNumbers:
    """One member of the archive."""

    key: str
    kind: str
    """numpy's code of its numbers, without byte order; or "bfloat16"."""
    count: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies; :meth:`Checkpoint.array` reads it."""

    storage: StoredNumbers
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In numbers, as the offset."""


@dataclass(frozen=True, slots=True)
class PickledName:
    """A class or function that a pickle names.  It is not looked up."""

    name: str


@dataclass(eq=False, slots=True)
class InertObject:
    """What stands for an object of a harmless kind: its parts, and nothing that could be run."""

    name: str
    parts: tuple[object, ...] = ()
    state: object = None


class Checkpoint:
    """A checkpoint that was opened.

    Parameters
    ----------
    path : Path
        A zip as ``torch.save`` writes it.

    Raises
    ------
    UnsafeFile
        If reading the file would run code.  It is not run.
    UnreadableFile
        If it is no checkpoint, or is truncated.
    """

    content: Any
    """What was saved; tensors are :class:`StoredTensor`."""

    def __init__(self, path: Path) -> None:
        check_container(path)
        self.path = path
        self._kept: dict[StoredNumbers, np.ndarray] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                (program,) = (n for n in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", n))
                self._root = program.removesuffix("data.pkl")
                order = f"{self._root}byteorder"
                big = order in archive.namelist() and self._member(archive, order) == b"big"
                self._order = ">" if big else "<"
                self.content = PickleMachine(path).run(self._member(archive, program))
        except (*_DAMAGED, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def array(self, tensor: StoredTensor) -> np.ndarray:
        """Read a tensor; bfloat16, which numpy lacks, becomes float32.

        Raises
        ------
        UnreadableFile
            If its numbers are not there.
        """
        try:
            if tensor.storage not in self._kept:
                with zipfile.ZipFile(self.path) as archive:
                    self._kept[tensor.storage] = self._numbers(archive, tensor.storage)
            numbers = self._kept[tensor.storage]
            last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
            empty = 0 in tensor.shape
            if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (
                not empty and tensor.offset + last >= numbers.size
            ):
                raise ValueError("a tensor reaches beyond its numbers")
            strides = tuple(step * numbers.itemsize for step in tensor.strides)
            part = numbers[tensor.offset :] if not empty else numbers[:0]
            return np.lib.stride_tricks.as_strided(part, tensor.shape, strides, writeable=False)
        except (*_DAMAGED, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def _numbers(self, archive: zipfile.ZipFile, storage: StoredNumbers) -> np.ndarray:
        content = self._member(archive, f"{self._root}data/{storage.key}")
        half = storage.kind == "bfloat16"
        numbers = np.frombuffer(content, self._order + ("u2" if half else storage.kind))
        if numbers.size < storage.count:
            raise ValueError(f"{numbers.size} numbers of {storage.count}")
        if half:  # the upper half of a float32
            return (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)

    @staticmethod
    def _member(archive: zipfile.ZipFile, name: str) -> bytes:
        facts = archive.getinfo(name)
        if facts.compress_type != zipfile.ZIP_STORED:  # torch packs nothing, bombs do
            raise ValueError(f"{name} is packed")
        return archive.read(facts)

    def _damaged(self, error: Exception) -> UnreadableFile:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        return UnreadableFile(
            f"{self.path} cannot be read as a checkpoint ({said}): it may be truncated; fetch it "
            "again."
        )


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # Python says so of some that are cut
        return False


def check_container(path: Path) -> None:
    """Only the zip form can hold tensors apart from the pickle.

    A bare pickle is nothing but a program.

    Raises
    ------
    UnsafeFile, UnreadableFile
        See :class:`Checkpoint`.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(2)
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error.strerror}): give a checkpoint file."
        ) from error
    if start[:1] == b"\x80":
        raise UnsafeFile(
            f"{path} is a bare pickle, which can only be read by executing it, so it is refused: "
            "get the weights as safetensors."
        )
    if not _is_zip(path):
        raise UnreadableFile(
            f"{path} is not a whole checkpoint (a zip archive was expected): it may be truncated, "
            "or of another kind."
        )


def _tensor(storage: StoredNumbers, offset: int, shape: Any, strides: Any, *_: object) -> object:
    if not isinstance(storage, StoredNumbers) or not all(
        isinstance(n, int) for n in (offset, *shape, *strides)
    ):
        raise TypeError("a tensor of something else than numbers")
    return StoredTensor(storage, offset, tuple(shape), tuple(strides))


def _items(items: object = (), *_: object) -> dict[Any, Any]:
    return dict(items) if isinstance(items, Mapping | list | tuple) else {}


def _first(value: object, *_: object) -> object:
    return value


def _set(items: object = ()) -> object:
    return set(items) if isinstance(items, list | tuple) else set()


def _text_path(*parts: object) -> str:
    return "/".join(str(part) for part in parts).replace("//", "/")


def _bytes(text: str, *_: object) -> bytes:
    return text.encode("latin-1")


def plain(value: object) -> object:
    """Return the attributes of an inert object that has some, anything else as it is."""
    return value.state if isinstance(value, InertObject) and value.state is not None else value


def kind_of(value: object) -> str:
    """Name a value's kind, for a sentence."""
    return value.name.rpartition(".")[2] if isinstance(value, InertObject) else type(value).__name__


_MADE: dict[str, Callable[..., object]] = {
    "_codecs.encode": _bytes,
    "builtins.frozenset": _set,
    "builtins.set": _set,
    "collections.OrderedDict": _items,
    "collections.defaultdict": lambda *_: {},
    "lightning.fabric.utilities.data.AttributeDict": _items,
    "lightning.pytorch.utilities.parsing.AttributeDict": _items,
    "pytorch_lightning.utilities.parsing.AttributeDict": _items,
    "torch.Size": lambda items=(): tuple(items),
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    **{
        f"pathlib{inner}.{kind}Path": _text_path
        for inner in ("", "._local")
        for kind in ("", "Posix", "Windows", "PurePosix", "PureWindows")
    },
}
"""What is made here of a name and its arguments."""
_FORMER = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MARK = object()


@dataclass
class PickleMachine:
    """Follows a pickle's operations without calling anything that it names."""

    path: Path
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, program: bytes) -> object:
        """Follow a program to its end, and return what it leaves.

        Raises
        ------
        UnsafeFile
            At a name that is not known to be harmless, or an operation that makes objects otherwise
            than by a name.
        ValueError, LookupError, TypeError
            If it is damaged.
        """
        for operation, argument, _ in pickletools.genops(program):
            if operation.name == "STOP":
                return self.stack.pop()
            step = self.STEPS.get(operation.name)
            if step is not None:
                step(self, argument)
            elif operation.name in self.VALUES:
                self.stack.append(argument)
            elif operation.name in self.MAKERS:
                self.stack.append(self.MAKERS[operation.name]())
            elif operation.name not in {"PROTO", "FRAME"}:
                raise self._refused(f"the operation {operation.name}")
        raise EOFError("no end")

    def _refused(self, what: str) -> UnsafeFile:
        return UnsafeFile(
            f"{self.path} asks for code to be run on reading ({what}), so it is refused: get the "
            "weights as safetensors."
        )

    def _name(self, module: str, name: str) -> None:
        full = f"{_FORMER.get(module, module)}.{name}"
        known = full in _MADE or full in _STORAGES or full in HARMLESS
        packaged = any(module == p or module.startswith(f"{p}.") for p in PACKAGES)
        if not known and not (packaged and _CLASS.fullmatch(name)):
            raise self._refused(full)
        self.stack.append(PickledName(full))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name that is no text")
        self._name(module, name)

    def _call(self, callee: object, given: object) -> None:
        if not isinstance(callee, PickledName):
            raise self._refused("a call of what has no name")
        if not isinstance(given, tuple):
            raise TypeError("arguments that are no tuple")
        make = _MADE.get(callee.name)
        self.stack.append(make(*given) if make else InertObject(callee.name, given))

    def _reduce(self, _: object) -> None:
        given = self.stack.pop()
        self._call(self.stack.pop(), given)

    def _newobj_ex(self, _: object) -> None:
        named, given = self.stack.pop(), self.stack.pop()
        self._call(self.stack.pop(), (*given, named) if named else given)

    def _build(self, _: object) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], InertObject):
            self.stack[-1].state = state
        # else an attribute beside what a mapping holds, such as a state dict's versions

    def _stored(self, _: object) -> None:
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(storage, PickledName) or not isinstance(count, int):
            raise ValueError("a reference that is no storage")
        if storage.name not in _STORAGES:
            raise ValueError(f"numbers of the kind {storage.name}")
        self.stack.append(StoredNumbers(str(key), _STORAGES[storage.name], count))

    def _marked(self) -> list[Any]:
        start = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def _put_in(self, items: list[Any]) -> None:
        into = self.stack[-1]
        if isinstance(into, dict):
            into.update(zip(items[::2], items[1::2], strict=True))
        elif isinstance(into, set):
            into.update(items)
        elif isinstance(into, list):
            into.extend(items)
        elif not isinstance(into, InertObject):
            raise TypeError(f"items for a {type(into).__name__}")

    def _last(self, count: int) -> list[Any]:
        items = self.stack[len(self.stack) - count :] if len(self.stack) >= count else []
        if len(items) < count or any(item is _MARK for item in items):
            raise IndexError("too little on the stack")
        del self.stack[len(self.stack) - count :]
        return items

    VALUES: ClassVar = frozenset(
        {
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"),
            *("BINFLOAT", "FLOAT", "BINSTRING", "SHORT_BINSTRING", "STRING"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        }
    )
    MAKERS: ClassVar[dict[str, Callable[[], object]]] = {
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
        "EMPTY_DICT": dict,
        "EMPTY_LIST": list,
        "EMPTY_SET": set,
        "EMPTY_TUPLE": tuple,
        "MARK": lambda: _MARK,
    }
    STEPS: ClassVar[dict[str, Callable[[PickleMachine, Any], object]]] = {
        "GLOBAL": _global,
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "NEWOBJ": _reduce,
        "NEWOBJ_EX": _newobj_ex,
        "BUILD": _build,
        "BINPERSID": _stored,
        "APPEND": lambda self, _: self._put_in(self._last(1)),
        "SETITEM": lambda self, _: self._put_in(self._last(2)),
        "APPENDS": lambda self, _: self._put_in(self._marked()),
        "SETITEMS": lambda self, _: self._put_in(self._marked()),
        "ADDITEMS": lambda self, _: self._put_in(self._marked()),
        "TUPLE": lambda self, _: self.stack.append(tuple(self._marked())),
        "TUPLE1": lambda self, _: self.stack.append(tuple(self._last(1))),
        "TUPLE2": lambda self, _: self.stack.append(tuple(self._last(2))),
        "TUPLE3": lambda self, _: self.stack.append(tuple(self._last(3))),
        "LIST": lambda self, _: self.stack.append(self._marked()),
        "DICT": lambda self, _: self.stack.append(_pairs(self._marked())),
        "FROZENSET": lambda self, _: self.stack.append(frozenset(self._marked())),
        "POP": lambda self, _: self.stack.pop(),
        "POP_MARK": lambda self, _: self._marked(),
        "DUP": lambda self, _: self.stack.append(self.stack[-1]),
        "BINPUT": lambda self, at: self.memo.__setitem__(at, self.stack[-1]),
        "LONG_BINPUT": lambda self, at: self.memo.__setitem__(at, self.stack[-1]),
        "PUT": lambda self, at: self.memo.__setitem__(int(at), self.stack[-1]),
        "MEMOIZE": lambda self, _: self.memo.__setitem__(len(self.memo), self.stack[-1]),
        "BINGET": lambda self, at: self.stack.append(self.memo[at]),
        "LONG_BINGET": lambda self, at: self.stack.append(self.memo[at]),
        "GET": lambda self, at: self.stack.append(self.memo[int(at)]),
    }


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
