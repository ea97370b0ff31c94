"""The structure of the package under ``src/``: a table of figures and, with ``--svg``, a drawing.

    python bench/structure.py [--root DIR] [--svg FILE] [--arrows] [--fragments]

A *component* is a top-level folder or a module at the package's root; the root's ``__init__`` is
the public face and no component.  An *arrow* says that one component imports another, whether the
import stands at the top of a file, in a function, under ``TYPE_CHECKING``, in a stub or in a
string.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import keyword
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

Pair = tuple[str, str]
Graph = dict[str, set[str]]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

FRAGMENT_LINES = 6
FRAGMENT_TOKENS = 30
FRAGMENT_PLACES = 8
MANY_PARAMETERS = 10
KNOWN_SHARE = 0.8
"""Share of the components that a layout must name to be the layout of a tree."""


@dataclass(frozen=True)
class Layer:
    """Components on one floor: blind to each other but for ``sideways``, or each open to its
    right.
    """

    name: str
    components: tuple[str, ...]
    sideways: frozenset[Pair] = frozenset()
    ordered: bool = False

    def allows(self, source: str, target: str) -> bool:
        """Whether ``source`` may import its neighbour ``target``."""
        if self.ordered:
            return self.components.index(source) < self.components.index(target)
        return (source, target) in self.sideways


def pairs(*rules: str) -> frozenset[Pair]:
    """Read rules such as ``"cli > web qgis"``."""
    found = set()
    for rule in rules:
        source, _, targets = rule.partition(">")
        found |= {(source.strip(), target) for target in targets.split()}
    return frozenset(found)


def layer(name: str, components: str, *rules: str, ordered: bool = False) -> Layer:
    """Make a layer of words."""
    return Layer(name, tuple(components.split()), pairs(*rules), ordered)


LAYERS = (
    layer(
        "interfaces",
        "__main__ cli web qgis reports",
        "__main__ > cli",
        "cli > web qgis reports",
        "web > reports",
        "qgis > reports",
    ),
    layer(
        "workflows",
        "world survey country evaluation change pipeline review closerange papers verification",
        "survey > country pipeline review",
        "country > change pipeline world",
        "world > pipeline change",
        "evaluation > pipeline",
        "papers > country evaluation pipeline",
    ),
    layer("learning", "labelling training", "labelling > training"),
    layer("stages", "imagery data simulation models prediction fields metrics"),
    layer("in and out", "runners store"),
    layer(
        "foundation",
        "segmenter sample labels classes raster grid progress cores extras errors",
        ordered=True,
    ),
)
"""An import goes down, or sideways where a rule says so, or to the right in an ordered layer."""

LAYERS_BEFORE = (
    layer("command line", "cli"),
    layer("pages", "web"),
    layer(
        "wholes",
        "country demo evaluate review qgis sweep trained selftrained mapped quantised doctor "
        "notebook road maps change crops composites cost areas scoring preview landcover "
        "page picture",
        "country > road maps cost composites areas scoring",
        "maps > preview picture scoring landcover",
        "preview > picture",
        "road > scoring areas composites maps",
        "composites > areas",
        "cost > areas maps",
        "demo > maps page picture evaluate",
        "evaluate > page picture maps",
        "trained > page picture",
        "sweep > page trained",
        "selftrained > page picture trained",
        "crops > page",
        "notebook > picture",
        "mapped > page picture",
        "change > maps page picture",
    ),
    layer("learning", "labelling train", "labelling > train"),
    layer("stations", "imagery data models predict score"),
    layer("bytes, outlines", "fields runners store", "fields > store"),
    layer("ground", "segmenter sample labels classes raster grid extras errors", ordered=True),
)
"""The layers before packages were renamed, from the architecture test of that time."""

LAYOUTS = {"layers": LAYERS, "layers before": LAYERS_BEFORE}


# Reading


@dataclass(frozen=True)
class Source:
    """A file of the package; a stub has the name of the package whose ``__init__`` it describes."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.stem == "__init__"

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def is_stub(self) -> bool:
        return self.path.suffix == ".pyi"

    @property
    def component(self) -> str:
        return component_of(self.name)

    @cached_property
    def plain(self) -> ast.Module:
        """The tree without docstrings."""
        tree = ast.parse(self.text)
        Undocument().visit(tree)
        return ast.fix_missing_locations(tree)

    @cached_property
    def statements(self) -> list[str]:
        """The code written anew, one statement on a line, without comments and docstrings.

        What a formatter chooses is gone: line breaks, trailing commas, brackets, quotes.
        """
        return plain_lines(self.plain)


def component_of(module: str) -> str:
    """Name of a module's component; empty for the package's root."""
    return module.split(".")[1] if "." in module else ""


def find_package(root: Path) -> Path:
    """Return the folder of the single package under ``src/``."""
    found = [path.parent for path in sorted(root.glob("src/*/__init__.py"))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SystemExit(f"wanted one package under {root / 'src'}, found: {names}")
    return found[0]


def read_sources(package: Path, pattern: str = "*.py") -> list[Source]:
    """Read and parse every file of the package that fits."""
    sources = []
    for path in sorted(package.rglob(pattern)):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        sources.append(Source(name, path, text, ast.parse(text)))
    return sources


def is_docstring(node: ast.AST) -> bool:
    """Whether a statement is a bare string: a docstring, or the note under a constant or field."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def percentile(values: Iterable[int], share: float) -> int:
    """Return the value below which ``share`` of the values lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0


# Sizes


def text_tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def code_lines(source: Source) -> int:
    """Count physical lines that are not blank, not only a comment, and not in a docstring.

    A bare string anywhere counts as a docstring (see :func:`is_docstring`).
    """
    docs: set[int] = set()
    for node in ast.walk(source.tree):
        if is_docstring(node):
            docs |= set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]
    lines = enumerate(source.text.splitlines(), 1)
    stripped = ((number, line.strip()) for number, line in lines)
    return sum(bool(s) and not s.startswith("#") and n not in docs for n, s in stripped)


class Undocument(ast.NodeTransformer):
    """Take docstrings out of a tree."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            empty = [] if isinstance(node, ast.Module) else [ast.Pass()]
            body[:] = [n for n in body if not is_docstring(n)] or empty
        return node


def plain_lines(node: ast.AST) -> list[str]:
    return [line.strip() for line in ast.unparse(node).splitlines() if line.strip()]


def count_lines(node: ast.AST) -> int:
    """Count the :func:`plain_lines` of a statement or module whose docstrings are left out.

    Ten times as fast as to write them, because expressions are not looked at: each is on its
    statement's line.
    """
    body = [n for n in node.body if not is_docstring(n)]  # type: ignore[attr-defined]
    lines = len(getattr(node, "decorator_list", ())) + (not isinstance(node, ast.Module))
    lines += sum(map(_lines_of, body)) if body or isinstance(node, ast.Module) else 1
    rest = getattr(node, "orelse", [])
    if rest:
        is_elif = isinstance(node, ast.If) and len(rest) == 1 and isinstance(rest[0], ast.If)
        lines += sum(map(_lines_of, rest)) + (not is_elif)
    lines += sum(map(count_lines, getattr(node, "handlers", ())))
    last = getattr(node, "finalbody", [])
    return lines + (sum(map(_lines_of, last)) + 1 if last else 0)


def _lines_of(node: ast.AST) -> int:
    if isinstance(node, ast.Match):
        return 1 + sum(map(count_lines, node.cases))
    return count_lines(node) if hasattr(node, "body") else 1


def line_tokens(line: str) -> list[str]:
    """Split a line into its NAME, OP, NUMBER and STRING tokens.

    From Python 3.12 on an f-string is several tokens: compare counts of one Python only.
    """
    wanted = {tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING}
    found: list[str] = []
    try:
        found.extend(token.string for token in text_tokens(line) if token.type in wanted)
    except tokenize.TokenError:  # a string over several lines
        found = found or line.split()
    return found


def count_comments(source: Source) -> tuple[int, int]:
    """Count comments, at a line's end or on their own, and those that only steer a tool."""
    comments = [t.string for t in text_tokens(source.text) if t.type == tokenize.COMMENT]
    steering = re.compile(r"#\s*(noqa|type:|pragma|fmt:|ruff:|mypy:|pyright:)")
    return len(comments), sum(bool(steering.match(comment)) for comment in comments)


def line_lengths(sources: Iterable[Source]) -> list[int]:
    """Columns of every line that is not blank, docstrings and comments included."""
    lines = itertools.chain.from_iterable(source.text.splitlines() for source in sources)
    return [len(line) for line in lines if line.strip()]


@dataclass(frozen=True)
class Function:
    """A function or method, nested ones too.

    ``lines`` go from ``def`` to the end, docstring included; ``statements`` are lines of the code
    written anew (:func:`count_lines`), decorators among them, which no formatter changes.
    """

    name: str
    place: str
    lines: int
    statements: int
    parameters: int


def count_parameters(node: FunctionNode) -> int:
    """Count parameters, ``*args`` and ``**kwargs`` one each, without ``self`` and ``cls``."""
    named = [*node.args.posonlyargs, *node.args.args]
    own = bool(named) and named[0].arg in {"self", "cls"}
    extra = [node.args.vararg, node.args.kwarg]
    return len(named) - own + len(node.args.kwonlyargs) + sum(e is not None for e in extra)


def find_functions(source: Source, package: Path) -> Iterator[Function]:
    """Measure every function of a file."""
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionNode):
            place = f"{source.path.relative_to(package)}:{node.lineno}"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            statements = count_lines(node)
            yield Function(node.name, place, lines, statements, count_parameters(node))


def repeated_classes(sources: Iterable[Source]) -> dict[str, int]:
    """Names of classes that stand at the top of more than one file, with their number."""
    tops = itertools.chain.from_iterable(source.tree.body for source in sources)
    counts = Counter(node.name for node in tops if isinstance(node, ast.ClassDef))
    return {name: count for name, count in counts.most_common() if count > 1}


# Repeated fragments


def is_import(line: str) -> bool:
    return line.startswith(("import ", "from "))


def fragment_lines(source: Source) -> list[list[str]]:
    """Tokens of a file's statements, imports left out."""
    return [line_tokens(line) for line in source.statements if not is_import(line)]


def fragment_line_numbers(source: Source) -> list[int]:
    """The line of the file on which each of :func:`fragment_lines` begins."""
    text = ast.unparse(source.plain)
    # The code written anew has the same nodes in the same order as the tree it was written from.
    nodes = zip(ast.walk(ast.parse(text)), ast.walk(source.plain), strict=True)
    begins: dict[int, int] = {}
    for anew, node in nodes:
        if hasattr(anew, "lineno"):
            begins.setdefault(anew.lineno, node.lineno)  # type: ignore[attr-defined]
    found, last = [], 1
    for number, line in enumerate(text.splitlines(), 1):
        last = begins.get(number, last)
        if line.strip() and not is_import(line.strip()):
            found.append(last)
    return found


def fragment_key(window: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Tell a window by its shape: values are blanked, and names numbered as they first come."""
    names: dict[str, str] = {}
    key = []
    for line in window:
        for token in line:
            if token.isidentifier() and not keyword.iskeyword(token):
                key.append(names.setdefault(token, f"name{len(names)}"))
            elif token[0].isdigit() or token[-1] in "\"'":
                key.append("value")
            else:
                key.append(token)
        key.append("\n")
    return tuple(key)


def windows(lines: Sequence[Sequence[str]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every window of six statements that is no thin list of names."""
    for start in range(len(lines) - FRAGMENT_LINES + 1):
        window = lines[start : start + FRAGMENT_LINES]
        if sum(map(len, window)) >= FRAGMENT_TOKENS:
            yield start, fragment_key(window)


@dataclass(frozen=True)
class Fragment:
    """Two places that share a run of statements; each is a file and its first statement's index."""

    here: tuple[int, int]
    there: tuple[int, int]
    statements: int


def repeated_fragments(sources: Sequence[Source]) -> list[Fragment]:
    """Find pairs of places that share a run of six statements or more, the longest first.

    They are :attr:`Source.statements` without imports, so line length does not matter.
    Two runs are the same if one becomes the other by renaming consistently and changing values;
    every six statements of a run hold thirty tokens or more, which leaves out lists of fields.
    Runs that overlap are merged; a window that stands in more than eight places is too common.
    """
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, source in enumerate(sources):
        for start, key in windows(fragment_lines(source)):
            places[key].append((number, start))
    starts: dict[tuple[int, int, int], set[int]] = defaultdict(set)
    for found in places.values():
        if len(found) <= FRAGMENT_PLACES:
            for (file, start), (other, there) in itertools.combinations(found, 2):
                if file != other or there - start >= FRAGMENT_LINES:
                    starts[file, other, there - start].add(start)
    fragments = []
    for (file, other, shift), runs in starts.items():
        for start in sorted(runs):
            if start - 1 not in runs:
                last = next(end for end in itertools.count(start) if end + 1 not in runs)
                length = last - start + FRAGMENT_LINES
                fragments.append(Fragment((file, start), (other, start + shift), length))
    return sorted(fragments, key=lambda fragment: -fragment.statements)


# Imports


@dataclass(frozen=True)
class Import:
    """One module needs another; ``kind`` is top, lazy, types, stub or string."""

    source: str
    target: str
    kind: str
    place: str

    @property
    def arrow(self) -> Pair:
        return component_of(self.source), component_of(self.target)


def full_name(source: Source, name: str, level: int) -> str:
    """Make a relative name absolute."""
    if not level:
        return name
    package = source.package.split(".")
    return ".".join([*package[: len(package) - level + 1], *([name] if name else [])])


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of an attribute chain; empty where it does not begin with a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def attached(call: ast.Call, source: Source) -> dict[str, str]:
    """Names that ``lazy_loader.attach`` is given, and where they are defined."""
    named = {k.arg: k.value for k in call.keywords if k.arg}
    named |= dict(zip(("name", "submodules", "submod_attrs"), call.args, strict=False))
    found = {}
    if (modules := named.get("submodules")) is not None:
        for name in ast.literal_eval(modules) or ():
            found[name] = f"{source.name}.{name}"
    if (attributes := named.get("submod_attrs")) is not None:
        for module, names in (ast.literal_eval(attributes) or {}).items():
            found |= {name: f"{source.name}.{module}.{name}" for name in names}
    return found


def lazy_names(source: Source) -> dict[str, str]:
    """Names that a package hands on when asked: by its stub, or by ``lazy_loader.attach``."""
    found: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if source.is_stub and isinstance(node, ast.ImportFrom):
            base = full_name(source, node.module or "", node.level)
            found |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("lazy.attach"):
            found |= attached(node, source)
    return found


class Resolver:
    """Says which module a dotted name means, through what packages hand on lazily."""

    def __init__(self, sources: Iterable[Source], stubs: Iterable[Source]) -> None:
        self.modules = {source.name for source in sources}
        self.handed: dict[str, str] = {}
        for source in itertools.chain(sources, stubs):
            if source.is_package:
                names = lazy_names(source).items()
                self.handed |= {f"{source.name}.{name}": target for name, target in names}

    def module(self, name: str) -> str | None:
        """Return the module that holds ``name``, or None where it is not of the package."""
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            head = ".".join(parts[:length])
            target = self.handed.get(head, head)
            if not f"{target}.".startswith(f"{head}."):
                return self.module(".".join([target, *parts[length:]]))
            if head not in self.modules:
                return ".".join(parts[: length - 1]) or None
        return name


@dataclass
class Imports(ast.NodeVisitor):
    """Collects what a file imports, wherever and however.

    A string counts if it names a module of the package, as ``package.module`` or
    ``package.module:name``, or begins so in an f-string or a call of ``import_module``; not if it
    is run as a command (after ``"-m"``) or names a logger.  ``import package`` counts for what is
    then taken from it.
    """

    source: Source
    resolver: Resolver
    label: str
    kind: str = "top"
    found: list[Import] = field(default_factory=list)
    libraries: list[Import] = field(default_factory=list)
    """What is imported of other packages; the target is a top-level name."""
    bound: dict[str, str] = field(default_factory=dict)
    chains: list[tuple[str, int, str]] = field(default_factory=list)
    quiet: set[int] = field(default_factory=set)

    def collect(self) -> list[Import]:
        """Return every import of another module of the package."""
        self.visit(self.source.tree)
        for chain, line, kind in self.chains:
            head, _, rest = chain.partition(".")
            if head in self.bound:
                self.add(f"{self.bound[head]}.{rest}", line, kind)
        return list(dict.fromkeys(self.found))

    def add(self, name: str, line: int, kind: str) -> None:
        target = self.resolver.module(name)
        if target is not None and target != self.source.name:
            place = f"{self.label}:{line}"
            self.found.append(Import(self.source.name, target, kind, place))

    def add_library(self, name: str, line: int, kind: str) -> None:
        library = name.partition(".")[0]
        if library != self.source.name.partition(".")[0]:
            place = f"{self.label}:{line}"
            self.libraries.append(Import(self.source.name, library, kind, place))

    def within(self, kind: str, nodes: Iterable[ast.AST]) -> None:
        before, self.kind = self.kind, kind
        for node in nodes:
            self.visit(node)
        self.kind = before

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        outside = [*node.decorator_list, *ast.iter_child_nodes(node.args)]
        self.within(self.kind, outside if node.returns is None else [*outside, node.returns])
        self.within("lazy" if self.kind == "top" else self.kind, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # the visitor's naming

    def visit_If(self, node: ast.If) -> None:
        typing = dotted(node.test).endswith("TYPE_CHECKING")
        self.within("types" if typing else self.kind, [node.test, *node.body])
        self.within(self.kind, node.orelse)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.bound[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )
            self.add(alias.name, node.lineno, self.kind)
            self.add_library(alias.name, node.lineno, self.kind)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = full_name(self.source, node.module or "", node.level)
        self.add_library(base, node.lineno, self.kind)
        if "." not in base:
            self.add(base, node.lineno, self.kind)
        for alias in node.names:
            name = f"{base}.{alias.name}"
            if name in self.resolver.modules:
                self.bound[alias.asname or alias.name] = name
            self.add(name, node.lineno, self.kind)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if chain := dotted(node):
            self.chains.append((chain, node.lineno, self.kind))
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = dotted(node.func).rpartition(".")[2]
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            if function == "getLogger":
                self.quiet.add(id(first))
            elif function == "import_module" and first.value.startswith("."):
                level = len(first.value) - len(first.value.lstrip("."))
                name = full_name(self.source, first.value[level:], level)
                self.add(name, node.lineno, "string")
            elif function in {"import_module", "require"}:
                self.add_library(first.value, node.lineno, "string")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not is_docstring(node):
            self.generic_visit(node)

    def visit_List(self, node: ast.List | ast.Tuple) -> None:
        for word, after in itertools.pairwise(node.elts):
            if isinstance(word, ast.Constant) and word.value == "-m":
                self.quiet.add(id(after))
        self.generic_visit(node)

    visit_Tuple = visit_List  # noqa: N815  # the visitor's naming

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        first = node.values[0] if node.values else None
        if isinstance(first, ast.Constant):
            self.add_string(str(first.value).rstrip("."), node.lineno)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and id(node) not in self.quiet:
            self.add_string(node.value, node.lineno)

    def add_string(self, text: str, line: int) -> None:
        match = re.fullmatch(r"(\w+(?:\.\w+)+)(?::\w+)?", text)
        if match and self.resolver.module(match[1]) not in {None, match[1].partition(".")[0]}:
            self.add(match[1], line, "string")


def label_of(source: Source) -> str:
    """Path of a file within the package."""
    folders = source.name.split(".")[1:] if source.is_package else source.name.split(".")[1:-1]
    return "/".join([*folders, source.path.name])


def find_libraries(sources: Sequence[Source]) -> list[Import]:
    """Every import of another package, the standard library's too.

    By a string it is one as the argument of ``import_module`` or ``require``.
    """
    resolver = Resolver(sources, ())
    visitors = [Imports(source, resolver, label_of(source)) for source in sources]
    for visitor in visitors:
        visitor.collect()
    return [found for visitor in visitors for found in visitor.libraries]


def find_imports(sources: Sequence[Source], stubs: Sequence[Source]) -> list[Import]:
    """Every import between modules of the package; what a package hands on lazily is a stub's."""
    resolver = Resolver(sources, stubs)
    found = []
    for source in [*sources, *stubs]:
        label = label_of(source)
        if source.is_package:
            for target in lazy_names(source).values():
                module = resolver.module(target)
                if module is not None:
                    found.append(Import(source.name, module, "stub", f"{label}:1"))
        if not source.is_stub:
            found += Imports(source, resolver, label).collect()
    return found


def module_graph(sources: Iterable[Source], imports: Iterable[Import]) -> Graph:
    """Modules and whom they import, in functions and by string too.

    A lazy package's stub is no import of its own: a name taken from the package counts as taken
    from the module that defines it.
    """
    graph: Graph = {source.name: set() for source in sources}
    for found in imports:
        if found.kind != "stub":
            graph[found.source].add(found.target)
    return graph


def component_graph(sources: Iterable[Source], imports: Iterable[Import]) -> Graph:
    """Components and whom they import; the root is no component."""
    graph: Graph = {source.component: set() for source in sources if source.component}
    for found in imports:
        source, target = found.arrow
        if source and target and source != target:
            graph[source].add(target)
    return graph


def arrows_of(graph: Mapping[str, Collection[str]]) -> list[Pair]:
    return sorted((source, target) for source in graph for target in graph[source])


def reachable(graph: Graph, start: str) -> set[str]:
    """Everything that ``start`` imports, directly or not."""
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph[node]
    return seen


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that all reach each other (strongly connected), the largest first."""
    reach = {node: reachable(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in reach[node] if node in reach[other])) for node in graph
    }
    return sorted((list(group) for group in groups if len(group) > 1), key=lambda g: (-len(g), g))


def mutual(graph: Graph) -> list[Pair]:
    """Pairs that import each other."""
    return [(a, b) for a, b in arrows_of(graph) if a < b and a in graph[b]]


# Layers


def best_order(graph: Graph) -> list[str]:
    """Order components so that few arrows go up: sources first, sinks last, else the most
    giving.
    """
    left = {component: set(targets) for component, targets in graph.items()}
    top: list[str] = []
    bottom: list[str] = []
    while left:
        taken = {
            component: sum(component in targets for targets in left.values()) for component in left
        }
        sinks = sorted(component for component in left if not left[component])
        best = max(sorted(left), key=lambda component: len(left[component]) - taken[component])
        sources = sorted(component for component in left if not taken[component])
        out = (sinks or sources or [best])[0]
        (bottom if sinks else top).append(out)
        del left[out]
        for targets in left.values():
            targets.discard(out)
    return top + bottom[::-1]


def computed_layers(graph: Graph) -> tuple[Layer, ...]:
    """Rows for a tree whose layers nobody gave: as deep as the longest road below a component."""
    order = best_order(graph)
    depth: dict[str, int] = {}
    for place, component in reversed(list(enumerate(order))):
        below = [
            depth[other] for other in graph[component] if other in order[place:] and other in depth
        ]
        depth[component] = max(below, default=-1) + 1
    rows = sorted(set(depth.values()), reverse=True)
    return tuple(
        Layer(f"row {row}", tuple(component for component in order if depth[component] == row))
        for row in rows
    )


@dataclass(frozen=True)
class Layout:
    """Layers as given, or computed where no given ones name the components of the tree."""

    name: str
    layers: tuple[Layer, ...]
    given: bool
    unknown: tuple[str, ...] = ()

    def against(self, arrows: Iterable[Pair]) -> list[Pair]:
        """Arrows that go up, or sideways where no rule allows it."""
        return [arrow for arrow in arrows if not self.allows(*arrow)]

    def allows(self, source: str, target: str) -> bool:
        floor = {
            component: k for k, layer in enumerate(self.layers) for component in layer.components
        }
        if source not in floor or target not in floor:
            return True
        if floor[source] == floor[target]:
            return self.layers[floor[source]].allows(source, target)
        return floor[source] < floor[target]


def choose_layout(graph: Graph) -> Layout:
    """Take the given layers that know most of the components, or compute some."""

    def strangers(layers: tuple[Layer, ...]) -> tuple[str, ...]:
        known = {component for layer in layers for component in layer.components}
        return tuple(sorted(set(graph) - known))

    name, layers = min(LAYOUTS.items(), key=lambda item: len(strangers(item[1])))
    unknown = strangers(layers)
    if len(unknown) > (1 - KNOWN_SHARE) * len(graph):
        return Layout("computed", computed_layers(graph), given=False)
    kept = [
        Layer(
            one.name,
            tuple(component for component in one.components if component in graph),
            one.sideways,
            one.ordered,
        )
        for one in layers
    ]
    extra = [Layer("not in the list", unknown)] if unknown else []
    return Layout(
        name, (*extra, *(one for one in kept if one.components)), given=True, unknown=unknown
    )


# The table


@dataclass(frozen=True)
class Structure:
    """All that the table and the drawing need."""

    package: Path
    sources: list[Source]
    imports: list[Import]
    lines: dict[str, int]
    """Code lines by module."""
    components: Graph
    layout: Layout

    @property
    def arrows(self) -> list[Pair]:
        return arrows_of(self.components)

    @property
    def bad(self) -> list[Pair]:
        """Arrows against the layers, and both of a pair that imports each other."""
        circles = mutual(self.components)
        return sorted({*self.layout.against(self.arrows), *circles, *((b, a) for a, b in circles)})


def read_structure(root: Path) -> Structure:
    """Read a checkout."""
    package = find_package(root)
    sources = read_sources(package)
    imports = find_imports(sources, read_sources(package, "*.pyi"))
    components = component_graph(sources, imports)
    lines = {source.name: code_lines(source) for source in sources}
    return Structure(package, sources, imports, lines, components, choose_layout(components))


Row = tuple[str, str, str]


def spread(values: Sequence[int]) -> str:
    median, most = percentile(values, 0.5), percentile(values, 0.95)
    return f"{median} / {most} / {max(values, default=0)}"


def size_rows(found: Structure) -> list[Row]:
    """Files, lines, tokens; modules at the root are its ``.py`` files with ``__init__``."""
    plain = [line for source in found.sources for line in source.statements]
    at_root = [source for source in found.sources if source.path.parent == found.package]
    counts = [count_comments(source) for source in found.sources]
    comments, steering = (sum(column) for column in zip(*counts, strict=True))
    lines = sum(found.lines.values())
    return [
        ("files", f"{len(found.sources)}", "*.py"),
        ("code lines", f"{lines:,}", "neither blank, comment nor docstring"),
        ("statements", f"{len(plain):,}", "code lines however it is formatted"),
        ("tokens", f"{sum(len(line_tokens(line)) for line in plain):,}", "of the statements"),
        ("modules at the root", f"{len(at_root)}", "*.py, __init__ among them"),
        (
            "comments per 100 code lines",
            f"{100 * comments / lines:.1f}",
            f"{comments} comments, {steering} of them steer a tool (noqa and the like)",
        ),
        ("line length", spread(line_lengths(found.sources)), "p50 / p95 / max, blank lines not"),
    ]


def function_rows(found: Structure) -> list[Row]:
    """Lengths and parameters of functions."""
    functions = [f for source in found.sources for f in find_functions(source, found.package)]
    longest = max(functions, key=lambda f: f.lines)
    many = sorted(
        (f for f in functions if f.parameters > MANY_PARAMETERS), key=lambda f: -f.parameters
    )
    counts = [f.parameters for f in functions]
    return [
        (
            "function lines",
            spread([f.lines for f in functions]),
            f"p50 / p95 / max of {len(functions)}; {longest.name} {longest.place}",
        ),
        (
            "function statements",
            spread([f.statements for f in functions]),
            "p50 / p95 / max, however formatted",
        ),
        ("parameters", f"{percentile(counts, 0.95)} / {max(counts)}", "p95 / max, without self"),
        (
            f"functions with more than {MANY_PARAMETERS}",
            f"{len(many)}",
            ", ".join(f"{f.name} {f.parameters} ({f.place})" for f in many),
        ),
    ]


def repeat_rows(found: Structure) -> list[Row]:
    """What is written twice."""
    count = len(repeated_fragments(found.sources))
    names = repeated_classes(found.sources)
    return [
        (
            "repeated fragments per 10k code lines",
            f"{10_000 * count / sum(found.lines.values()):.0f}",
            f"{count} pairs of places that share {FRAGMENT_LINES} statements or more",
        ),
        (
            "class names defined more than once",
            f"{len(names)}",
            ", ".join(f"{name} {times}" for name, times in names.items()),
        ),
    ]


def kinds_of(found: Structure) -> dict[Pair, list[Import]]:
    """Imports behind each arrow."""
    behind: dict[Pair, list[Import]] = defaultdict(list)
    for one in found.imports:
        behind[one.arrow].append(one)
    return behind


def arrow_rows(found: Structure) -> list[Row]:
    """Arrows between components, and those against the layers."""
    behind = kinds_of(found)
    hidden = Counter(
        kind
        for arrow in found.arrows
        for kind in ("lazy", "types", "stub", "string")
        if all(one.kind == kind for one in behind[arrow])
    )
    against, both, rings = (
        found.layout.against(found.arrows),
        mutual(found.components),
        cycles(found.components),
    )
    said = ", ".join(f"{count} only {kind}" for kind, count in hidden.items())
    stranger = (
        f"; not in the list: {' '.join(found.layout.unknown)}" if found.layout.unknown else ""
    )
    listed = f"against '{found.layout.name}'{stranger}"
    guessed = "no given layers fit; against the order that has fewest, found greedily"
    door = {one.arrow for one in found.imports if one.arrow[0] != one.arrow[1]}
    return [
        ("components", f"{len(found.components)}", "top-level folders with code, root modules"),
        ("arrows between components", f"{len(found.arrows)}", said),
        ("arrows, the root too", f"{len(door)}", "what it hands on, and what is taken from it"),
        ("arrows up or sideways", f"{len(against)}", listed if found.layout.given else guessed),
        (
            "components that import each other",
            f"{len(both)}",
            ", ".join(f"{a} <> {b}" for a, b in both),
        ),
        (
            "circles of components",
            f"{len(rings)}",
            "; ".join(f"{len(ring)}: {' '.join(ring)}" for ring in rings),
        ),
    ]


def cycle_rows(found: Structure) -> list[Row]:
    """Cycles of modules (strongly connected groups), by the kinds of imports that count."""

    def groups(*kinds: str) -> list[list[str]]:
        chosen = [one for one in found.imports if not kinds or one.kind in kinds]
        return cycles(module_graph(found.sources, chosen))

    at_top, lazy = groups("top"), groups("top", "lazy")
    rows = [
        ("import cycles, at the top of files", f"{len(at_top)}", ""),
        ("import cycles, lazy imports too", f"{len(lazy)}", ", ".join(f"{len(g)}" for g in lazy)),
        ("import cycles, types and strings too", f"{len(groups())}", ""),
    ]
    for group in groups():
        names = " ".join(name.partition(".")[2] or "__init__" for name in group)
        rows.append(("", f"{len(group)}", names))
    return rows


def print_rows(rows: Sequence[Row]) -> None:
    first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
    for what, value, note in rows:
        print(f"{what:<{first}}  {value:>{second}}  {note}".rstrip())


def print_arrows(found: Structure, arrows: Iterable[Pair]) -> None:
    """Print arrows with their kinds and the first places that make them."""
    behind = kinds_of(found)
    for source, target in arrows:
        places = list(dict.fromkeys(f"{one.place} ({one.kind})" for one in behind[source, target]))
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        print(f"  {source} > {target}: {', '.join(places[:3])}{more}")


def print_fragments(found: Structure) -> None:
    """Print every repeated fragment: its statements, and the two lines where it begins."""

    def place(file: int, index: int) -> str:
        source = found.sources[file]
        name = source.path.relative_to(found.package)
        return f"{name}:{fragment_line_numbers(source)[index]}"

    for fragment in repeated_fragments(found.sources):
        print(f"  {fragment.statements:3}  {place(*fragment.here)} ~ {place(*fragment.there)}")


# The drawing

BOX_WIDTH, BOX_HEIGHT, GAP = 132, 46, 18
LEFT, MARGIN, BAND, LINE = 124, 24, 118, 84
HEAD, FOOT = 78, 12
PER_LINE = 12
GREY, RED = "#aab4c0", "#d0021b"
TINTS = ("#eef3fb", "#f1f8ee", "#fdf6e9", "#f6effa", "#eaf7f6", "#f3f3f3")


@dataclass(frozen=True)
class Box:
    """Place of a component in the drawing."""

    component: str
    x: float
    y: float

    @property
    def middle(self) -> float:
        return self.x + BOX_WIDTH / 2


def lines_of(layer: Layer) -> list[tuple[str, ...]]:
    """Break a layer with many components into lines of about the same length."""
    count = -(-len(layer.components) // PER_LINE)
    size = -(-len(layer.components) // count)
    return [layer.components[k : k + size] for k in range(0, len(layer.components), size)]


def band_height(layer: Layer) -> int:
    return BAND + LINE * (len(lines_of(layer)) - 1)


def place_boxes(layers: Sequence[Layer]) -> tuple[dict[str, Box], int]:
    """Centre each line of components; return the boxes and the width of the drawing."""
    longest = max(len(line) for layer in layers for line in lines_of(layer))
    inner = longest * (BOX_WIDTH + GAP) - GAP
    boxes, top = {}, HEAD
    for one in layers:
        for number, line in enumerate(lines_of(one)):
            taken = len(line) * BOX_WIDTH
            gap = min((inner - taken) / len(line), 4 * GAP)
            x = LEFT + MARGIN + (inner - taken - gap * (len(line) - 1)) / 2
            y = top + (BAND - BOX_HEIGHT) / 2 + number * LINE
            for component in line:
                boxes[component] = Box(component, x, y)
                x += BOX_WIDTH + gap
        top += band_height(one)
    return boxes, LEFT + inner + 2 * MARGIN


def ports(arrows: Sequence[Pair], boxes: Mapping[str, Box]) -> dict[tuple[Pair, str], float]:
    """Spread the ends of arrows along the edges of the boxes, in the order of their other ends."""
    ends: dict[tuple[str, str], list[tuple[float, Pair]]] = defaultdict(list)
    for source, target in arrows:
        ends[source, "from"].append((boxes[target].middle, (source, target)))
        ends[target, "to"].append((boxes[source].middle, (source, target)))
    spots = {}
    for (component, end), found in ends.items():
        for number, (_, arrow) in enumerate(sorted(found), 1):
            spots[arrow, end] = boxes[component].x + BOX_WIDTH * number / (len(found) + 1)
    return spots


def curve(arrow: Pair, boxes: Mapping[str, Box], spots: Mapping[tuple[Pair, str], float]) -> str:
    """Path of an arrow: down between rows, up between rows, or an arc beside a row."""
    source, target = boxes[arrow[0]], boxes[arrow[1]]
    x, end_x = spots[arrow, "from"], spots[arrow, "to"]
    if source.y == target.y:
        sign = 1 if source.x < target.x else -1
        y = source.y + (BOX_HEIGHT if sign > 0 else 0)
        bend = y + sign * min(16 + abs(end_x - x) / 22, 46)
        return f"M{x:.0f},{y:.0f} C{x:.0f},{bend:.0f} {end_x:.0f},{bend:.0f} {end_x:.0f},{y:.0f}"
    down = source.y < target.y
    y = source.y + (BOX_HEIGHT if down else 0)
    end_y = target.y + (0 if down else BOX_HEIGHT)
    pull = (end_y - y) * 0.45
    return (
        f"M{x:.0f},{y:.0f} C{x:.0f},{y + pull:.0f} "
        f"{end_x:.0f},{end_y - pull:.0f} {end_x:.0f},{end_y:.0f}"
    )


def draw_arrows(arrows: Sequence[Pair], bad: Collection[Pair], boxes: Mapping[str, Box]) -> str:
    """Draw arrows, the red ones over the grey."""
    spots = ports(arrows, boxes)
    drawn = []
    for arrow in sorted(arrows, key=lambda one: one in bad):
        name = "bad" if arrow in bad else "good"
        title = f"<title>{escape(arrow[0])} imports {escape(arrow[1])}</title>"
        path = curve(arrow, boxes, spots)
        drawn.append(f'<path class="{name}" marker-end="url(#{name})" d="{path}">{title}</path>')
    return "\n".join(drawn)


def draw_bands(layers: Sequence[Layer], width: int) -> str:
    """Draw a band with its name for each layer."""
    drawn, top = [], HEAD
    for number, one in enumerate(layers):
        height = band_height(one)
        tint = TINTS[number % len(TINTS)]
        drawn.append(
            f'<rect x="0" y="{top}" width="{width}" height="{height}" fill="{tint}"/>\n'
            f'<text class="layer" x="{MARGIN - 6}" y="{top + height / 2 + 5:.0f}">'
            f"{escape(one.name)}</text>"
        )
        top += height
    return "\n".join(drawn)


def draw_box(box: Box, files: int, lines: int) -> str:
    noun = "file" if files == 1 else "files"
    return (
        f'<rect class="box" x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="6"/>\n'
        f'<text class="component" x="{box.middle:.0f}" '
        f'y="{box.y + 19:.0f}">{escape(box.component)}</text>\n'
        f'<text class="size" x="{box.middle:.0f}" y="{box.y + 36:.0f}">'
        f"{files} {noun}, {lines:,} lines</text>"
    )


def marker(name: str, colour: str, size: int) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" orient="auto" '
        f'markerUnits="userSpaceOnUse" markerWidth="{size}" markerHeight="{size}">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def caption(found: Structure) -> Pair:
    """Two lines of counts."""
    groups = cycles(module_graph(found.sources, found.imports))
    against, both = found.layout.against(found.arrows), mutual(found.components)
    lines = sum(found.lines.values())
    rule = (
        "against the layers" if found.layout.given else "against the best order of the components"
    )
    largest = f", the largest of {len(groups[0])}" if groups else ""
    first = (
        f"{len(found.sources)} files, {lines:,} code lines in {len(found.components)} components"
    )
    second = (
        f"{len(found.arrows)} imports between components; {len(against)} {rule}, "
        f"pairs of components that import each other: {len(both)} (both in red); "
        f"{len(groups)} import cycles of modules{largest}"
    )
    return first, second


STYLE = f"""
text {{ font-family: "DejaVu Sans", Verdana, sans-serif; fill: #1f2933; }}
.title {{ font-size: 18px; font-weight: bold; }}
.note {{ font-size: 13px; }}
.layer {{ font-size: 14px; font-weight: bold; fill: #52606d; }}
.component {{ font-size: 13px; font-weight: bold; text-anchor: middle; }}
.size {{ font-size: 10.5px; fill: #52606d; text-anchor: middle; }}
.box {{ fill: #ffffff; stroke: #7b8794; stroke-width: 1.2; }}
.good {{ fill: none; stroke: {GREY}; stroke-width: 1; stroke-opacity: 0.6; }}
.bad {{ fill: none; stroke: {RED}; stroke-width: 2.6; }}
"""


def draw(found: Structure) -> str:
    """Draw components as boxes in rows and imports as arrows from top to bottom."""
    layers = found.layout.layers
    boxes, width = place_boxes(layers)
    height = HEAD + sum(map(band_height, layers)) + FOOT
    files = Counter(source.component for source in found.sources)
    lines: Counter[str] = Counter()
    for name, count in found.lines.items():
        lines[component_of(name)] += count
    first, second = caption(found)
    name = found.package.name
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(f'{name}: {first}; {second}')}</title>",
        f"<style>{STYLE}</style>",
        f"<defs>{marker('good', GREY, 7)}{marker('bad', RED, 12)}</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="{MARGIN - 6}" y="32">{escape(f"{name}: {first}")}</text>',
        f'<text class="note" x="{MARGIN - 6}" y="56">{escape(second)}</text>',
        draw_bands(layers, width),
        draw_arrows(found.arrows, set(found.bad), boxes),
        *(draw_box(box, files[box.component], lines[box.component]) for box in boxes.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; draw if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout; default: here")
    parser.add_argument("--svg", type=Path, help="draw the components into this file")
    parser.add_argument("--arrows", action="store_true", help="list every arrow and its places")
    parser.add_argument("--fragments", action="store_true", help="list repeated fragments")
    options = parser.parse_args(arguments)
    found = read_structure(options.root)
    measures = (size_rows, function_rows, repeat_rows, arrow_rows, cycle_rows)
    print_rows([row for measure in measures for row in measure(found)])
    listed = found.arrows if options.arrows else found.bad
    if listed:
        print("all arrows:" if options.arrows else "arrows against the layers or in a circle:")
        print_arrows(found, listed)
    if options.fragments:
        print("repeated fragments (statements, and where they begin):")
        print_fragments(found)
    if options.svg:
        options.svg.write_text(draw(found), encoding="utf-8")


if __name__ == "__main__":
    main()
