"""Finds import cycles inside the crates: files that refer to each other by `use` or by a path in the code.

`python -m tests.circles` prints the cycles and exits with 1 if there are any. Tests are left out, and so is a
`lib.rs` or `mod.rs` that only declares and re-exports modules. A re-export counts as the file that it names.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent / "crates"
PATH = re.compile(r"\b(crate|super|self)((?:::(?:super|[a-z_][a-z0-9_]*))*)::(\{|\*|[A-Za-z_][A-Za-z0-9_]*)")
DECLARATION = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?mod ([a-z_0-9]+)\s*;", re.M)


class Crate:
    """The modules of one crate: `files` by module path, such as `("oauth", "grant")`."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[tuple[str, ...], Path] = {}
        self.code: dict[tuple[str, ...], str] = {}
        for file in sorted(root.rglob("*.rs")):
            parts = list(file.relative_to(root).with_suffix("").parts)
            if parts[-1] in ("lib", "main", "mod"):
                parts.pop()
            self.files[tuple(parts)] = file
            self.code[tuple(parts)] = _without_tests(file.read_text())

    def edges(self) -> dict[tuple, set[tuple]]:
        found = {module: set() for module in self.files}
        for module, code in self.code.items():
            for names in _paths(code, module):
                target = self.file_of(names)
                if target is not None and target != module and not self.only_declares(target):
                    found[module].add(target)
        return found

    def file_of(self, names: tuple[str, ...], depth: int = 0) -> tuple | None:
        """Returns the module that a path leads to. For a re-exported name, that is the module that defines the name."""
        for length in range(len(names), -1, -1):
            module = names[:length]
            if module not in self.files:
                continue
            rest = names[length:]
            if rest and depth < 5:
                for exported in _exports(self.code[module], module, rest[0]):
                    if (target := self.file_of(exported, depth + 1)) is not None:
                        return target
            return module
        return None

    def only_declares(self, module: tuple) -> bool:
        if self.files[module].name not in ("lib.rs", "mod.rs"):
            return False
        code = re.sub(r"//.*", "", self.code[module])
        code = re.sub(r"(pub(\([^)]*\))? )?(mod [a-z_0-9]+|use [^;]*);", "", code)
        code = re.sub(r"#!?\[[^\]]*\]", "", code)
        return not code.strip()


def _without_tests(code: str) -> str:
    code = code.split("#[cfg(test)]\nmod tests")[0]
    return re.sub(r"//.*", "", code)


def _statements(code: str):
    """Yields the paths of `use` statements, one path for each name in braces."""
    for statement in re.findall(r"\buse ((?:crate|super|self)\b[^;]*);", code):
        yield from _written_out(re.sub(r"\s+", "", re.sub(r"\bas [A-Za-z_]+", "", statement)))


def _written_out(text: str):
    brace = text.find("{")
    if brace < 0:
        yield text
        return
    depth, start, inner = 0, brace + 1, []
    for index in range(brace, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                inner.append(text[start:index])
                break
        elif text[index] == "," and depth == 1:
            inner.append(text[start:index])
            start = index + 1
    for each in filter(None, inner):
        yield from _written_out(text[:brace] + each)


def _resolved(path: str, module: tuple[str, ...]) -> tuple[str, ...]:
    names = path.split("::")
    base = () if names[0] == "crate" else module
    if names[0] == "super":
        base = module[:-1]
    names = names[1:]
    while names and names[0] == "super":
        base, names = base[:-1], names[1:]
    return base + tuple(name for name in names if name not in ("self", "*"))


def _paths(code: str, module: tuple[str, ...]):
    for statement in _statements(code):
        yield _resolved(statement, module)
    rest = re.sub(r"\buse [^;]*;", "", code)
    for match in PATH.finditer(rest):
        yield _resolved(match.group(0).rstrip("{*").rstrip(":"), module)


def _exports(code: str, module: tuple[str, ...], name: str):
    """Yields the paths that a module's `pub use` statements re-export as `name`."""
    for statement in re.findall(r"pub(?:\([^)]*\))? use ([^;]*);", code):
        for path in _written_out(re.sub(r"\s+", "", statement)):
            if path.split("::")[-1] != name:
                continue
            if path.split("::")[0] in ("crate", "super", "self"):
                yield _resolved(path, module)
            else:
                yield module + tuple(path.split("::"))


def circles(edges: dict[tuple, set[tuple]]) -> list[list[tuple]]:
    """Returns the strongly connected components of more than one file (Tarjan's algorithm)."""
    index, low, stack, found, counter = {}, {}, [], [], iter(range(10**9))

    def visit(node):
        index[node] = low[node] = next(counter)
        stack.append(node)
        for target in edges[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == node:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def main() -> int:
    count = 0
    for root in sorted(ROOT.rglob("src")):
        crate = Crate(root)
        edges = crate.edges()
        for circle in circles(edges):
            count += 1
            print(f"{root.parent.relative_to(ROOT)}: {', '.join('::'.join(each) or 'the root' for each in circle)}")
            for one in circle:
                for other in sorted(edges[one] & set(circle)):
                    print(f"    {'::'.join(one) or 'the root'} -> {'::'.join(other) or 'the root'}")
    print(f"{count} circles")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
