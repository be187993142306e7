"""The fingerprint of the training code: changed by what changes results, and by nothing else."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelpatch import source as module
from pixelpatch.source import PACKAGE, TRAINING_SOURCE, source_digest, syntax, words

FILES = sorted(
    file
    for name in TRAINING_SOURCE
    for file in ((PACKAGE / name).rglob("*.py") if (PACKAGE / name).is_dir() else [PACKAGE / name])
)
CODE = '''
def f(a, *, b: int = 2, **c):
    """Words."""
    x = [a, b, None]
    if a > 1 and not b:
        return x[0] + 0.5
    return {"k": a, **c}
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    x =", "    # why\n    x ="),
        ('"""Words."""', '"""Other words.\n\n    More.\n    """'),
        ('    """Words."""\n', ""),
        ("[a, b, None]", "[\n        a,\n        b,\n        None,\n    ]"),
        ("        return x[0] + 0.5", "\n\n        return (x[0] + .50)"),
        ('"k"', "'k'"),
        ("\ndef", '"""A module docstring."""\n\n\ndef'),
    ],
)
def test_words_and_layout_do_not_count(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert syntax(CODE.replace(old, new)) == syntax(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("x[0]", "x[False]"),
        ("b: int = 2", "b: int = 2.0"),
        ("b: int = 2", "b: int"),
        ("*, b", "b"),
        ("None]", "True]"),
        ("None]", "]"),
        ("+ 0.5", "- 0.5"),
        ("> 1", ">= 1"),
        ("and", "or"),
        ("not b", "b"),
        ('"k"', '"K"'),
        ('"k"', 'b"k"'),
        ("**c}", '"c": c}'),
        ("[a, b, None]", "(a, b, None)"),
        ("[a, b, None]", "[b, a, None]"),
        ("def f", "def g"),
        ("def f", "async def f"),
        ("\ndef", "\n@cache\ndef"),
        ("    return {", "    else:\n        return {"),
        ("    x = [", '    "no docstring: not the first"\n    y = ['),
    ],
)
def test_whatever_runs_counts(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert syntax(CODE.replace(old, new)) != syntax(CODE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_python_s_own_unparser_changes_no_syntax(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    again = ast.unparse(ast.parse(text))
    assert again != text
    assert syntax(again) == syntax(text)


def nodes(tree: ast.AST) -> list[ast.AST]:
    """Every constant, name and operation of a module but its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    words = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }
    kinds = (ast.Constant, ast.Name, ast.BinOp, ast.arg, ast.Attribute, ast.Compare, ast.keyword)
    return [node for node in ast.walk(tree) if isinstance(node, kinds) and id(node) not in words]


@settings(max_examples=100)
@given(st.sampled_from(FILES), st.data())
def test_one_changed_constant_name_or_operator_counts(file: Path, data: st.DataObject) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    before = syntax(ast.unparse(tree))
    found = nodes(tree)
    if not found:
        return
    match found[data.draw(st.integers(0, len(found) - 1))]:
        case ast.Constant(value=str()) as node:
            node.value += "_"
        case ast.Constant(value=int() | float()) as node:
            node.value = node.value * 2 + 1
        case ast.Constant() as node:  # None and the like
            node.value = 1
        case ast.Name() as node:
            node.id += "_"
        case ast.BinOp() as node:
            node.op = ast.FloorDiv() if not isinstance(node.op, ast.FloorDiv) else ast.Mod()
        case ast.arg() | ast.keyword() as node:
            node.arg = f"{node.arg}_"
        case ast.Attribute() as node:
            node.attr += "_"
        case ast.Compare() as node:
            node.ops[0] = ast.IsNot() if not isinstance(node.ops[0], ast.IsNot) else ast.Is()
    assert syntax(ast.unparse(ast.fix_missing_locations(tree))) != before


C = """#define SQUARE(x) ((x) * (x))

/* the sum of
   squares */
float f(float x) { // of one number
    return SQUARE(x) + 1.0f; /* and one */
}
const char *url = "http://x";
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [("of one", "of any"), ("   squares */", "   squares\n*/"), ("    return", "\treturn"), ("/* and one */", "")],
)
def test_words_and_layout_of_c_do_not_count(old: str, new: str) -> None:
    assert C.count(old) == 1
    assert words(C.replace(old, new)) == words(C)


@pytest.mark.parametrize(
    ("old", "new"), [("1.0f", "1.5f"), ("float x", "double x"), ("//x", "//y"), ("((x)", "(2 * (x)"), ("+ 1", "// + 1")]
)
def test_whatever_c_computes_counts(old: str, new: str) -> None:
    assert C.count(old) == 1
    assert words(C.replace(old, new)) != words(C)


def test_a_macro_that_ends_elsewhere_counts() -> None:
    assert words("#define A 1\nint x;") != words("#define A\n1 int x;")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which the digest is taken of."""
    copied = tmp_path / "pixelpatch"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copied)
    return copied


digest = source_digest.__wrapped__  # without its cache


def test_the_digest_is_that_of_the_code_wherever_it_lies(package: Path) -> None:
    assert digest() == source_digest()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_training_file_counts(package: Path, file: Path) -> None:
    path = package / file.relative_to(PACKAGE)
    text = path.read_text(encoding="utf-8")
    path.write_text(f"# a comment\n{text}\n\n# another\n", encoding="utf-8")
    assert digest() == source_digest()
    path.write_text(f"{text}\nADDED = 1\n", encoding="utf-8")
    assert digest() != source_digest()


def test_the_names_of_files_count(package: Path) -> None:
    (package / "models" / "vit.py").rename(package / "models" / "vit_.py")
    assert digest() != source_digest()


def test_a_new_model_counts_and_a_new_figure_does_not(package: Path) -> None:
    (package / "figures" / "new.py").write_text("x = 1")
    (package / "study.py").write_text("x = 1")
    assert digest() == source_digest()
    (package / "models" / "new.txt").write_text("x = 1")
    assert digest() == source_digest()
    (package / "models" / "new.c").write_text("int x = 1;")
    with_c = digest()
    assert with_c != source_digest()
    (package / "models" / "new.py").write_text("x = 1")
    assert digest() not in (source_digest(), with_c)


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Every module that is there once training and its records are."""
    code = "import sys, pixelpatch.training; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_all_that_training_imports_counts_or_cannot_change_a_number(imported: set[str]) -> None:
    harmless = {
        "pixelpatch": "holds the version",
        "pixelpatch.errors": "one exception",
        "pixelpatch.checks": "refuses settings, and changes none",
        "pixelpatch.progress": "prints and takes times",
        "pixelpatch.stopping": "notes signals and holds them back",
        "pixelpatch.memory": "reads how much memory was taken",
        "pixelpatch.source": "tells code apart, and runs none",
        "pixelpatch.fetch": "hands on MNIST's bytes, whose digests it checks",
        "pixelpatch.files": "writes what it is given",
    }
    counted = {f"pixelpatch.{'.'.join(file.relative_to(PACKAGE).with_suffix('').parts)}" for file in FILES}
    counted = {name.removesuffix(".__init__") for name in counted}
    ours = {name for name in imported if name.partition(".")[0] == "pixelpatch"}
    assert ours - counted == set(harmless)


def test_training_needs_no_library_but_torch_and_numpy(imported: set[str]) -> None:
    assert {"torch", "numpy"} <= imported
    assert not {"pandas", "scipy", "matplotlib", "jsonschema", "yaml", "torchvision", "sklearn"} & imported
