"""The fingerprint of the code that a run executes: changed by what changes its results, and by nothing else."""

import ast
import copy
import inspect
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_training import CONFIG, small
from torch import Tensor

from pixelpatch import source as module
from pixelpatch.losses import build_loss, loss_name
from pixelpatch.source import PACKAGE, WITHOUT_EFFECT, files_digest, parts, reached, source_digest, syntax, words
from pixelpatch.stopping import Stop
from pixelpatch.training import train

SYSTEMS = [name for name, block in CONFIG["experiments"].items() if block.keys() & {"claims"}]


def spec_of(name: str) -> dict[str, Any]:
    """The spec of a system on next to no data; of `one_generator`, that of the author's own run of the grid reader."""
    spec = small("seq2seq_2x2" if name == "one_generator" else name)
    if name == "pixel_transformer":
        spec["model"] |= CONFIG["experiments"][name]["spec"]["model"] | {"depth": 1}  # all 785 tokens
    if name == "one_generator":
        spec["training"]["one_generator"] = True
    spec["data"]["limit"] = {"train": 8, "validation": 4, "test": 4}
    spec["training"]["batch"] = 4
    return spec


KINDS = [*SYSTEMS, "one_generator"]  # of runs: together they execute all training code but that for GPUs
FILES = sorted(set().union(*(reached(parts(spec_of(name), gpu=True)) for name in KINDS)))
module_imports = module._imported
MODULES = [file for file in FILES if file.suffix == ".py"]
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


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
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
@given(st.sampled_from(MODULES), st.data())
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
    """A copy of the package, which digests are taken of."""
    copied = tmp_path / "pixelpatch"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copied)
    monkeypatch.setattr(module, "syntax", SYNTAX)
    monkeypatch.setattr(module, "_imported", IMPORTED)
    return copied


SYNTAX, IMPORTED = cache(syntax), cache(lambda source: list(module_imports(source)))  # by content: a text is read once


def digests(*, gpu: bool = False) -> dict[str, str]:
    """The digest of each kind of run, of the files as they are now."""
    module._read.cache_clear()
    module._digest.cache_clear()
    return {name: source_digest(spec_of(name), gpu=gpu) for name in KINDS}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def append(path: Path, text: str) -> str:
    """Put text behind what a file holds; returns what it held."""
    before = path.read_text(encoding="utf-8")
    path.write_text(before + text, encoding="utf-8")
    return before


@pytest.fixture(scope="module")
def executed(digits: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Path]]:
    """The files of the package of which a run of each kind, from spec to record, calls a function."""
    found: dict[str, set[Path]] = {}
    for name in KINDS:
        called: set[str] = set()

        def note(frame: FrameType, event: str, _: Any, called: set[str] = called) -> None:
            if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # no body of a module or class
                called.add(frame.f_code.co_filename)

        checkpoint = tmp_path_factory.mktemp(name) / "seed0.checkpoint"
        sys.setprofile(note)
        try:
            train(spec_of(name), 0, digits, checkpoint=checkpoint, stop=Stop(), name=name)
        finally:
            sys.setprofile(None)
        found[name] = {path for file in called if (path := Path(file)).is_relative_to(PACKAGE)}
    return found


def module_name(path: Path) -> str:
    """The dotted name of a module below the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", KINDS)
def test_whatever_a_run_executes_counts_but_for_what_no_number_depends_on(
    package: Path, executed: dict[str, set[Path]], name: str
) -> None:
    assert {"training", "checkpoint", "models.kernels"} <= {module_name(path) for path in executed[name]}
    before = digests()[name]
    for path in sorted(executed[name]):
        copied = package / path.relative_to(PACKAGE)
        text = append(copied, "\nADDED = 1\n")
        counts = digests()[name] != before
        copied.write_text(text, encoding="utf-8")
        assert counts == (module_name(path) not in WITHOUT_EFFECT), path
    assert digests()[name] == before


def test_every_file_that_counts_is_executed_by_some_run(executed: dict[str, set[Path]]) -> None:
    """No digest changes with code that no run has; a GPU's code is left out, and what only gathers is imported."""
    of_a_cpu = set().union(*(reached(parts(spec_of(name), gpu=False)) for name in KINDS))
    assert {path for path in of_a_cpu if path.suffix == ".py"} - set().union(*executed.values()) == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_comments_and_docstrings_of_a_file_change_nothing_and_a_statement_does(package: Path, file: Path) -> None:
    path, before = package / file.relative_to(PACKAGE), digests(gpu=True)
    text = path.read_text(encoding="utf-8")
    if file.suffix == ".py":
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0].value.value = "Other words."
        other, more = f"{ast.unparse(tree)}\n# a comment\n", f"{text}\nADDED = 1\n"
    else:
        other, more = f"// a comment\n{text}\n/* another */\n", f"{text}\nint added = 1;\n"
    path.write_text(other, encoding="utf-8")
    assert digests(gpu=True) == before
    path.write_text(more, encoding="utf-8")
    assert changed(before, digests(gpu=True))


@pytest.mark.parametrize(
    ("file", "runs"),
    [
        ("training.py", KINDS),
        ("checkpoint.py", KINDS),
        ("data.py", KINDS),
        ("losses/__init__.py", KINDS),
        ("models/__init__.py", KINDS),
        ("models/kernels.c", KINDS),
        ("models/cnn.py", ["blog_cnn"]),
        ("models/blog_vit.py", ["blog_vit"]),
        ("models/grid_reader.py", ["seq2seq_2x2", "one_generator"]),
        ("grids.py", ["seq2seq_2x2", "one_generator"]),
        ("digits.py", [name for name in SYSTEMS if name != "seq2seq_2x2"]),
        ("losses/cross_entropy.py", [name for name in KINDS if name != "vit16_tiny"]),
        ("losses/softmax_cross_entropy.py", ["vit16_tiny"]),
        ("augmentation.py", ["vit4_assignment"]),
        ("dataloader_order.py", ["one_generator"]),
        ("graphs.py", []),
        ("record.py", []),
        ("runs.py", []),
        ("study.py", []),
        ("__init__.py", []),
        *((f"{name}.py", []) for name in WITHOUT_EFFECT),
    ],
)
def test_each_part_counts_for_the_runs_that_have_it(package: Path, file: str, runs: list[str]) -> None:
    before = digests()
    append(package / file, "\nint added = 1;\n" if file.endswith(".c") else "\nADDED = 1\n")
    assert changed(before, digests()) == set(runs)


def test_graphs_count_for_runs_on_a_gpu_alone(package: Path) -> None:
    before = digests(gpu=True)
    assert changed(before, digests()) == set(KINDS)
    append(package / "graphs.py", "\nADDED = 1\n")
    assert changed(before, digests(gpu=True)) == set(KINDS)


def test_a_setting_that_is_a_number_does_not_count_and_a_part_that_it_names_does() -> None:
    spec = spec_of("vit4_assignment")
    other = copy.deepcopy(spec)
    other["training"] |= {"learning_rate": 0.5, "one_generator": False}
    other["model"]["width"] = 8
    assert source_digest(other) == source_digest(spec)
    del other["data"]["augmentation"]
    assert source_digest(other) != source_digest(spec)


@pytest.mark.parametrize("new", ["models/new.py", "losses/new.py", "figures/new.py", "new.py", "models/new.c", "x.txt"])
def test_a_new_file_changes_nothing(package: Path, new: str) -> None:
    before = digests(gpu=True)
    (package / new).write_text("x = 1")
    assert digests(gpu=True) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("models.dropout", "models.dropping"),
        ("models.transformer", "transformer"),
        ("checkpoint", "training_state"),
        ("data", "datasets.mnist"),
    ],
)
def test_a_module_that_moves_together_with_its_imports_changes_nothing(package: Path, old: str, new: str) -> None:
    before = digests(gpu=True)
    target = package.joinpath(*new.split(".")).with_suffix(".py")
    target.parent.mkdir(exist_ok=True)
    package.joinpath(*old.split(".")).with_suffix(".py").rename(target)
    gone = digests(gpu=True)
    assert changed(before, gone)  # without its imports, it is lost
    importers = 0
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        moved = text.replace(f"from pixelpatch.{old} import", f"from pixelpatch.{new} import")
        importers += moved != text
        path.write_text(moved, encoding="utf-8")
    assert importers
    assert digests(gpu=True) == before


def test_a_statement_that_moves_to_another_module_counts(package: Path) -> None:
    """What is hashed are whole files: code that is cut in two is other code."""
    before = digests()
    vit, target = package / "models/vit.py", package / "models/positions.py"
    text = vit.read_text(encoding="utf-8")
    at = text.index("def sincos_positions")
    target.write_text(text[at:], encoding="utf-8")
    vit.write_text(text[:at] + "\nfrom pixelpatch.models.positions import sincos_positions\n", encoding="utf-8")
    assert {"pixel_transformer", "vit16_tiny", "vit4_assignment"} <= changed(before, digests())


def test_files_have_a_digest_in_any_order_and_place(package: Path) -> None:
    def digest(*paths: str) -> str:
        module._read.cache_clear()
        module._digest.cache_clear()
        return files_digest(*paths)

    before = digest("models", "data.py")
    assert before == digest("data.py", "models") != digest("models")
    (package / "models/vit.py").rename(package / "models/other.py")
    (package / "models/notes.txt").write_text("x")
    assert digest("models", "data.py") == before
    append(package / "models/kernels.c", "\nint added;\n")
    assert digest("models", "data.py") != before


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Every module that is there once training and what it imports where it is needed are."""
    needed = ", ".join(sorted({f"pixelpatch.{part}" for name in KINDS for part in parts(spec_of(name), gpu=True)}))
    code = f"import sys, {needed}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_all_that_training_imports_counts_or_is_listed_as_without_effect(imported: set[str]) -> None:
    ours = {name.partition(".")[2] for name in imported if name.partition(".")[0] == "pixelpatch"} - {""}
    assert ours - {module_name(file) for file in MODULES} == set(WITHOUT_EFFECT)


def test_training_needs_no_library_but_torch_and_numpy(imported: set[str]) -> None:
    assert {"torch", "numpy"} <= imported
    assert not {"pandas", "scipy", "matplotlib", "jsonschema", "yaml", "torchvision", "sklearn"} & imported


def test_the_command_line_and_a_digest_need_no_pytorch() -> None:
    """It takes seconds to load, of every verb that needs none."""
    code = "import json, sys, pixelpatch.__main__; from pixelpatch.source import source_digest; "
    code += "source_digest(json.loads(sys.argv[1]), gpu=True); sys.exit('torch' in sys.modules)"
    spec = json.dumps(spec_of("vit4_assignment"))
    assert subprocess.run([sys.executable, "-c", code, spec], check=False).returncode == 0


@pytest.mark.parametrize("softmax", [False, True])
def test_the_loss_that_counts_is_the_one_that_a_run_builds(softmax: bool) -> None:
    spec = spec_of("vit4_assignment")
    spec["training"]["softmax_before_loss"] = softmax
    assert f"losses.{loss_name(spec['training'])}" in parts(spec, gpu=False)
    assert build_loss(spec["training"]).__module__ == f"pixelpatch.losses.{loss_name(spec['training'])}"
