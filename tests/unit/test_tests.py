"""What holds for the tests themselves."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def borrowing():
    """Names of the test modules that import another one."""
    return {
        file.name
        for file in TESTS.rglob("test_*.py")
        if any(name.split(".")[-1].startswith("test_") for name in imported(file))
    }


def test_no_test_module_imports_another():
    """Builders that several share stand in a module without tests; a renamed function must not break five files."""
    assert borrowing() == set()
