"""Checks the types and shapes of every call in the package, as jaxtyping's own import hook does, at half the cost.

Binding the names of the axes takes ten microseconds a call. A function that is handed no arrays has none to bind, so that
beartype alone checks it.
"""

import ast
import importlib.machinery
import inspect
import sys
import typing

import jaxtyping
from beartype import beartype


def check(defined):
    """Decorate a function, or the constructor of a dataclass."""
    if isinstance(defined, type):
        if "__dataclass_fields__" in vars(defined) and inspect.isfunction(defined.__init__):
            defined.__init__ = check(defined.__init__)
        return defined
    axes = any(map(_may_name_axes, inspect.get_annotations(defined).values()))
    return jaxtyping.jaxtyped(typechecker=beartype)(defined) if axes else beartype(defined)


def _may_name_axes(annotation):
    """Whether an annotation holds one of jaxtyping's types, or the name of one, which may."""
    of_jaxtyping = isinstance(annotation, str | typing.ForwardRef) or getattr(annotation, "__module__", None) == "jaxtyping"
    return of_jaxtyping or any(map(_may_name_axes, typing.get_args(annotation)))


class Loader(importlib.machinery.SourceFileLoader):
    """Decorates all functions and classes of a module; never reads or writes bytecode, which would be that of another hook."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in list(ast.walk(tree)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                decorator = ast.copy_location(ast.parse("__import__('checked').check", mode="eval").body, node)
                # nearest to a function, which others may wrap without its annotations; after @dataclass, which makes __init__
                node.decorator_list.insert(0 if isinstance(node, ast.ClassDef) else len(node.decorator_list), decorator)
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class Finder:
    """Finds the package's modules, to be loaded as above."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] != "jaxrnn":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Check what is imported from now on."""
    sys.meta_path.insert(0, Finder)
