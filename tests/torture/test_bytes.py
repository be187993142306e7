"""Damage of every kind at random places of data files, records, checkpoints and tables: it is seen by what reads them.

`--thorough` changes 1,000 single bytes of data, records and checkpoints; otherwise every kind of file gets a few.
"""

import gzip
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from scale import synthetic_record
from test_checkpoint import KEY, state_of
from test_training import small

from pixelpatch.__main__ import main
from pixelpatch.checkpoint import State
from pixelpatch.data import load_mnist
from pixelpatch.errors import UserError
from pixelpatch.fetch import FILES, fetch
from pixelpatch.files import canonical_json, readable_json
from pixelpatch.record import read_record
from pixelpatch.study import resolve

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "results/full/runs").glob("*/*.json"))
MADE = synthetic_record("vit16_tiny", 0, small("vit16_tiny"))
EDGE = 200  # headers, keys and checksums lie this near to an end: every other change is made there


def one_byte(content: bytearray, place: int, rng: random.Random) -> None:
    """Another value for a byte."""
    content[place] ^= rng.randrange(1, 256)


def one_bit(content: bytearray, place: int, rng: random.Random) -> None:
    """What a failing disk does."""
    content[place] ^= 1 << rng.randrange(8)


def added(content: bytearray, place: int, rng: random.Random) -> None:
    """A byte more, often one that text does not mind."""
    content.insert(place + rng.randrange(2), rng.choice([*b" \n\r\t0", 0, rng.randrange(256)]))


def removed(content: bytearray, place: int, rng: random.Random) -> None:
    """A byte less."""
    del content[place]


def swapped(content: bytearray, place: int, rng: random.Random) -> None:
    """Two bytes in each other's place."""
    other = rng.randrange(len(content))
    content[place], content[other] = content[other], content[place]


def cut(content: bytearray, place: int, rng: random.Random) -> None:
    """The end is missing."""
    del content[place:]


CHANGES = (one_byte, one_bit)
DAMAGES = (added, removed, swapped, cut)


def damaged(content: bytes, kinds: tuple[Callable[..., None], ...], count: int) -> Iterator[bytes]:
    """`content` with `count` different damages, one at a time, of those kinds; the same in every session."""
    rng = random.Random(len(content))
    while count:
        place = rng.randrange(len(content))
        if rng.random() < 0.5:
            place = rng.choice([place % EDGE, -1 - place % EDGE]) % len(content)
        changed = bytearray(content)
        rng.choice(kinds)(changed, place, rng)
        if changed != content:
            count -= 1
            yield bytes(changed)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kinds", [CHANGES, DAMAGES], ids=["bytes", "other"])
def test_damaged_data_is_not_loaded(
    tmp_path: Path, mnist: Path, thorough: bool, name: str, kinds: tuple[Callable[..., None], ...]
) -> None:
    """150 changes (thorough) of each of the four files."""
    for file in FILES:
        os.link(mnist / file, tmp_path / file)
    content = (mnist / name).read_bytes()
    for changed in damaged(content, kinds, 150 if thorough else 3):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(UserError) as caught:
            load_mnist(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path / name} ")
        assert str(caught.value).endswith("; delete it and run again to fetch it.")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kinds", [CHANGES, DAMAGES], ids=["bytes", "other"])
def test_a_damaged_source_gives_the_right_file_or_none(
    tmp_path: Path, mnist: Path, thorough: bool, name: str, kinds: tuple[Callable[..., None], ...]
) -> None:
    """50 changes (thorough) of each packed file. Some bytes of a .gz, as its time, are none of the file's."""
    source, folder = tmp_path / "source", tmp_path / "data"
    source.mkdir()
    folder.mkdir()
    for file in FILES:
        os.link(mnist / file, folder / file)
    right = (mnist / name).read_bytes()
    refused = 0
    for changed in damaged(gzip.compress(right, 1), kinds, 50 if thorough else 2):
        (folder / name).unlink(missing_ok=True)
        (source / f"{name}.gz").write_bytes(changed)
        try:
            fetch(folder, [{"kind": "folder", "path": str(source)}])
        except UserError as error:
            assert f"{name} is missing. Tried:\n  folder {source}: " in str(error)  # noqa: PT017 (either is right)
            assert not (folder / name).exists()
            refused += 1
        else:
            assert (folder / name).read_bytes() == right
    assert refused or not thorough


@pytest.mark.parametrize("kinds", [CHANGES, DAMAGES], ids=["bytes", "other"])
def test_a_damaged_record_is_not_read(tmp_path: Path, thorough: bool, kinds: tuple[Callable[..., None], ...]) -> None:
    """More than 200 changes (thorough) of the published records, and of one of today's format."""
    path, count = tmp_path / "seed0.json", 7 if thorough else 1
    records = RECORDS if thorough else RECORDS[:: max(1, len(RECORDS) // 30)]
    for content in [record.read_bytes() for record in records] + [canonical_json(MADE).encode() + b"\n"]:
        path.write_bytes(content)
        read_record(path)
        for changed in damaged(content, kinds, count):
            path.write_bytes(changed)
            with pytest.raises(UserError) as caught:
                read_record(path)
            assert str(caught.value).startswith(f"{path} ")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kinds", [CHANGES, DAMAGES], ids=["bytes", "other"])
@pytest.mark.parametrize("name", ["vit4_assignment", "blog_vit"])
def test_a_damaged_checkpoint_is_put_aside(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    thorough: bool,
    name: str,
    kinds: tuple[Callable[..., None], ...],
) -> None:
    """150 changes (thorough) of a system's checkpoint; the state that was to load it is as it was."""
    path, aside, state = tmp_path / "x.checkpoint", tmp_path / "x.checkpoint.refused", state_of(small(name))
    state.epoch_seconds = [1.0, 2.0]
    state.save(path, KEY)
    content = path.read_bytes()
    assert loaded(path, name).epoch == 2
    for changed in damaged(content, kinds, 150 if thorough else 8):
        path.write_bytes(changed)
        capsys.readouterr()
        fresh = loaded(path, name)
        assert (fresh.epoch, fresh.interruptions) == (0, [])
        new = state_of(small(name))
        assert all(map(torch.equal, fresh.model.state_dict().values(), new.model.state_dict().values()))
        assert not path.exists()
        assert aside.read_bytes() == changed
        said = capsys.readouterr().err
        assert said.startswith(f"{path} is ")
        assert said.endswith(f"; it is now {aside}, and the run starts from the beginning\n")


def loaded(path: Path, name: str) -> State:
    """A new state of the experiment, after it was to go on from `path`."""
    state = state_of(small(name))
    state.begin(path, KEY)
    return state


# Tables and study.json are made from records and configuration. Where one is damaged, what reads it says so.


READ_BY = {
    "tables/runs.csv": ["tables claims", "tables accuracy", "tables comparisons", "figure accuracy_by_system"],
    "tables/curves.csv": ["tables claims", "figure learning_curves"],
    "tables/confusion.csv": ["figure confusion", "tables modes"],
    "tables/claims.csv": ["show", "figure documented_vs_replicated"],
    "study.json": ["tables accuracy", "tables claims", "figure accuracy_by_system", "collect"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published tables, and the study.json beside them."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("results")
    config |= {"preset": "full", "seeds": "recorded", "results": str(ROOT / "results")}
    (folder / "study.json").write_text(readable_json(resolve(config, schema)), encoding="utf-8")
    shutil.copytree(ROOT / "results/full/tables", folder / "tables")
    (folder / "runs").symlink_to(ROOT / "results/full/runs")
    return folder


@pytest.mark.filterwarnings("ignore:Glyph")  # of a title with a damaged letter
@pytest.mark.parametrize("name", READ_BY)
def test_what_reads_a_damaged_table_ends_well_or_with_a_sentence(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], thorough: bool, name: str
) -> None:
    """Some damages leave a table: another digit. No table is the last word: they are all made from the records."""
    right = (results / name).read_bytes()
    shutil.copytree(results, tmp_path / "results", symlinks=True)
    for changed in damaged(right, (*CHANGES, *DAMAGES), 30 if thorough else 2):
        (tmp_path / "results" / name).write_bytes(changed)
        for command in READ_BY[name] if thorough else READ_BY[name][-1:]:
            status = main(arguments(command, tmp_path / "results"))
            said = capsys.readouterr().err
            assert status in (0, 1)
            if status == 1:
                assert said.startswith("error: ")
                # A damaged study may still be one, and then asks for the images.
                assert str(tmp_path) in said or "data/mnist" in said


def arguments(command: str, folder: Path) -> list[str]:
    """A verb on the tables in `folder`, which writes elsewhere."""
    verb, *rest = command.split()
    place = ["--study", str(folder / "study.json"), "--tables", str(folder / "tables")]
    match verb:
        case "show":
            return [verb, str(folder)]
        case "figure":
            return [verb, *rest, *place, "--data", "unused", "--output", str(folder / "figure.png")]
        case "collect":
            return [verb, *place, "--data", str(ROOT / "data/mnist")]
    return [verb, *rest, *place]
