"""What the files of a project import from elsewhere: found by reading them, not by running them."""

import ast
import os


class Heads:
    """The imports that a worker would make, in its order, as far as nothing before them could change what they do.

    A statement that sets a variable, a search path or anything else ends the reading: what comes after it is left to the workers.
    """

    def __init__(self, roots):
        self.roots = roots
        self.own = {stem for root in roots for stem in stems_in(root)}
        self.files = set()
        # By the text of the statement: the name of its package, and its tree.
        self.found = {}

    def read(self, file, package=()):
        """Reads a file and those of the project that it imports; false when the reading ended before the end of one."""
        if file in self.files:
            return True
        self.files.add(file)
        with open(file, "rb") as opened:
            return all(self._follow(statement, package) for statement in ast.parse(opened.read(), file).body)

    def _follow(self, statement, package):
        if isinstance(statement, ast.Import):
            return all(self._take(alias.name.split("."), ast.Import([alias])) for alias in statement.names)
        if isinstance(statement, ast.ImportFrom):
            base = package[: len(package) - statement.level + 1] if statement.level else ()
            names = [name for name in (*base, *(statement.module or "").split(".")) if name]
            # A relative one that leads out of the project fails.
            return (not statement.level or names[:1] and names[0] in self.own) and self._take(names, statement)
        if isinstance(statement, ast.Try):
            rest = (*statement.handlers, *statement.orelse, *statement.finalbody)
            return all(self._follow(each, package) for each in statement.body) and all(map(_is_harmless, rest))
        return _is_harmless(statement)

    def _take(self, names, statement):
        if names[0] not in self.own:
            self.found.setdefault(ast.unparse(statement), (names[0], statement))
            return True
        members = [alias.name for alias in statement.names] if isinstance(statement, ast.ImportFrom) else []
        modules = [names[:end] for end in range(1, len(names) + 1)] + [[*names, member] for member in members]
        return all(self.read(*found) for module in modules for found in self._files_of(module))

    def _files_of(self, module):
        for root in self.roots:
            path = os.path.join(root, *module)
            for file, package in ((path + ".py", module[:-1]), (os.path.join(path, "__init__.py"), module)):
                if os.path.isfile(file):
                    yield file, tuple(package)


def _is_harmless(statement):
    """Whether a statement leaves alone what later imports do. One that may not be reached is not looked for imports."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(isinstance(target, ast.Name) for target in targets)
    if isinstance(statement, (ast.If, ast.Try, ast.ExceptHandler)):
        parts = [getattr(statement, name, ()) for name in ("body", "handlers", "orelse", "finalbody")]
        return all(_is_harmless(each) for part in parts for each in part)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(statement, (*definitions, ast.Import, ast.ImportFrom, ast.Pass, ast.Raise))


def stems_in(root):
    """Names of what a directory holds that can be imported."""
    for entry in os.scandir(root):
        if entry.is_dir() or entry.name.endswith((".py", ".so", ".pyc")):
            yield entry.name.split(".")[0]
