"""Splits against scikit-learn and PyTorch, augmentation and resizing against torchvision."""

import math

import numpy as np
import pytest
import torch
from configurations import CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor
from torch.utils.data import DataLoader, random_split
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF

from pixelpatch.augmentation import augment, crop_boxes
from pixelpatch.data import cut_into_batches, make_splits, permutation, prepare
from pixelpatch.dataloader_order import dataloader_permutation
from pixelpatch.digits import Digits
from pixelpatch.grids import Grids, tile

CROP = {"scale": [0.8, 1.0], "ratio": [0.9, 1.1]}


@pytest.fixture(scope="module")
def numbered() -> dict[str, Tensor]:
    """MNIST's sizes, with the image's number in its label, so that a split shows which images it has."""
    return {
        "train_images": torch.zeros(60000, 1, 1, dtype=torch.uint8),
        "train_labels": torch.arange(60000),
        "test_images": torch.zeros(10000, 1, 1, dtype=torch.uint8),
        "test_labels": torch.arange(10000),
    }


def test_pixel_transformer_splits(numbered: dict[str, Tensor]) -> None:
    spec = {
        "sample": {"images": 20000, "seed": 42},
        "lost_header_rows": True,
        "validation": {"images": 2000, "seed": 42, "split_by": "sklearn"},
    }
    splits = make_splits(spec, numbered)
    assert {name: len(split) for name, split in splits.items()} == {"train": 17999, "validation": 2000, "test": 9999}
    assert splits["test"].labels.tolist() == list(range(1, 10000))
    sample = torch.randperm(60000, generator=Generator().manual_seed(42))[1:20000].numpy()
    train, validation = train_test_split(sample, test_size=0.1, random_state=42)
    assert splits["train"].labels.tolist() == train.tolist()
    assert splits["validation"].labels.tolist() == validation.tolist()
    kept = make_splits(spec | {"lost_header_rows": False}, numbered)
    assert {name: len(split) for name, split in kept.items()} == {"train": 18000, "validation": 2000, "test": 10000}


def test_assignment_splits(numbered: dict[str, Tensor]) -> None:
    splits = make_splits({"validation": {"images": 5000, "seed": 42, "split_by": "torch"}}, numbered)
    assert {name: len(split) for name, split in splits.items()} == {"train": 55000, "validation": 5000, "test": 10000}
    theirs = random_split(range(60000), [55000, 5000], generator=Generator().manual_seed(42))
    assert splits["train"].labels.tolist() == list(theirs[0].indices)
    assert splits["validation"].labels.tolist() == list(theirs[1].indices)


def test_a_limit_keeps_the_first_of_each_split(numbered: dict[str, Tensor]) -> None:
    spec = {"validation": {"images": 5000, "seed": 42, "split_by": "torch"}}
    whole, limited = make_splits(spec, numbered), make_splits(spec | {"limit": {"train": 7, "test": 3}}, numbered)
    assert limited["train"].labels.tolist() == whole["train"].labels[:7].tolist()
    assert limited["test"].labels.tolist() == [0, 1, 2]
    assert len(limited["validation"]) == 5000


def test_resizing_is_torchvision_s() -> None:
    images = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8, generator=Generator().manual_seed(0))
    expected = TF.resize(images.float() / 255, [32, 32], antialias=True)
    torch.testing.assert_close(prepare(images, {"resize": 32, "standardise": False}), expected)
    standardised = TF.normalize(images.float() / 255, [0.1307], [0.3081])
    torch.testing.assert_close(prepare(images, {"standardise": True}), standardised)


def test_crop_boxes_have_torchvision_s_distribution() -> None:
    """Chi-square homogeneity of height × width and of where a 26 × 26 box lies, over many draws of both."""
    count, side = 40_000, 28
    ours = crop_boxes(count, side, Generator().manual_seed(3), **CROP).numpy()
    torch.manual_seed(4)
    image = torch.zeros(1, side, side)
    theirs = np.array([RandomResizedCrop.get_params(image, CROP["scale"], CROP["ratio"]) for _ in range(count)])
    for key in (lambda box: box[:, 2] * 100 + box[:, 3], lambda box: box[:, 0] * 100 + box[:, 1]):
        values = np.unique(np.concatenate([key(ours), key(theirs)]))
        table = np.array([[(key(boxes) == value).sum() for value in values] for boxes in (ours, theirs)])
        rare = table.sum(axis=0) < 20
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
        assert stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue > 1e-3


def test_crop_boxes_without_a_fit_are_the_whole_image_as_torchvision_has_it() -> None:
    wide = {"scale": [1.0, 1.0], "ratio": [0.5, 2.0]}  # a whole-area box fits only when nearly square
    ours = crop_boxes(3000, 28, Generator().manual_seed(0), **wide).numpy()
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(torch.zeros(1, 28, 28), **wide) for _ in range(3000)])
    whole = [np.all(boxes == [0, 0, 28, 28], axis=1).mean() for boxes in (ours, theirs)]
    assert whole[0] == pytest.approx(whole[1], abs=0.05)
    assert set(map(tuple, ours)) == set(map(tuple, theirs))


def test_augmenting_is_torchvision_s_flip_and_crop() -> None:
    """Each image of a batch is what torchvision makes of the same flip and box."""
    rng, side = Generator().manual_seed(0), 28
    images = torch.rand(64, 1, side, side, generator=rng)
    state = rng.get_state()
    batch = augment(images, rng, flip=0.5, crop=CROP)
    rng.set_state(state)
    boxes = crop_boxes(64, side, rng, **CROP)
    flips = torch.rand(64, 1, 1, generator=rng).flatten() < 0.5
    assert 0 < int(flips.sum()) < 64
    for image, (top, left, height, width), flip, ours in zip(images, boxes.tolist(), flips, batch, strict=True):
        expected = TF.resized_crop(image.flip(2) if flip else image, top, left, height, width, [side, side])
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-6)


def test_augmenting_is_within_a_grey_level_or_two_of_pil() -> None:
    """The write-up transforms 8-bit PIL images, which round twice."""
    rng = Generator().manual_seed(1)
    image = torch.randint(256, (1, 1, 28, 28), dtype=torch.uint8, generator=rng)
    for _ in range(20):
        state = rng.get_state()
        ours = augment(image.float(), rng, crop=CROP)
        rng.set_state(state)
        top, left, height, width = crop_boxes(1, 28, rng, **CROP)[0].tolist()
        pil = TF.resized_crop(Image.fromarray(image[0, 0].numpy()), top, left, height, width, [28, 28])
        assert float((ours[0, 0] - torch.from_numpy(np.array(pil)).float()).abs().max()) <= 2


@given(flip=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_flips_come_at_their_rate_and_mirror_exactly(flip: float, seed: int) -> None:
    images = torch.arange(4.0).view(1, 1, 1, 4).expand(4000, 1, 4, 4).contiguous()
    flipped = augment(images, Generator().manual_seed(seed), flip=flip)
    mirrored = (flipped == images.flip(3)).flatten(1).all(dim=1)
    assert ((flipped == images).flatten(1).all(dim=1) | mirrored).all()
    assert abs(int(mirrored.sum()) - 4000 * flip) <= 6 * math.sqrt(4000 * flip * (1 - flip)) + 1e-9


def test_tiles_are_row_by_row() -> None:
    images = torch.rand(2, 4, 1, 3, 3)
    grids = tile(images)
    assert grids.shape == (2, 1, 6, 6)
    for grid, four in zip(grids[:, 0], images[:, :, 0], strict=True):
        rows = [torch.cat([four[0], four[1]], dim=1), torch.cat([four[2], four[3]], dim=1)]
        assert torch.equal(grid, torch.cat(rows))


@given(count=st.integers(1, 50), size=st.integers(1, 60), seed=st.integers(0, 1000))
def test_an_epoch_has_every_image_once(count: int, size: int, seed: int) -> None:
    order = permutation(count, Generator().manual_seed(seed))
    batches = cut_into_batches(order, size, drop_last=False)
    assert torch.equal(torch.cat(batches), order)
    assert sorted(order.tolist()) == list(range(count))
    full = cut_into_batches(order, size, drop_last=True)
    assert all(len(batch) == size for batch in full)
    assert len(full) == count // size


@pytest.mark.parametrize(("count", "size"), [(1, 1), (10, 3), (257, 64), (60000, 64)])
def test_an_epoch_s_order_can_be_dataloader_s(count: int, size: int) -> None:
    """Of a real DataLoader over three epochs; what else is drawn between epochs goes on alike."""
    torch.manual_seed(count)
    loader = DataLoader(range(count), batch_size=size, shuffle=True)
    theirs = [(torch.cat(list(loader)), torch.rand(1)) for _ in range(3)]
    torch.manual_seed(count)
    for order, following in theirs:
        assert torch.equal(dataloader_permutation(count, torch.default_generator), order)
        assert torch.equal(torch.rand(1), following)


def test_digits_epochs_differ_and_labels_stay_with_their_images(digits: dict[str, Tensor]) -> None:
    task = Digits({"standardise": False}, digits, torch.device("cpu"))
    rng = Generator().manual_seed(0)
    epochs = [list(task.batches(64, rng, drop_last=False)) for _ in range(2)]
    assert not torch.equal(epochs[0][0][1], epochs[1][0][1])
    originals = {image.numpy().tobytes(): int(label) for image, label in zip(*_train(task), strict=True)}
    for (images,), labels in epochs[0]:
        assert [originals[image.numpy().tobytes()] for image in images] == labels.tolist()


def _train(task: Digits) -> tuple[Tensor, Tensor]:
    return task.splits["train"].images, task.splits["train"].labels


@pytest.mark.parametrize("fresh", [True, False])
def test_grids_show_their_labels_and_are_fresh_only_when_asked(digits: dict[str, Tensor], fresh: bool) -> None:
    spec = {"standardise": False, "grids": {"train": 50, "test": 30, "fresh": fresh, "seed": 0}}
    task = Grids(spec, digits, torch.device("cpu"))
    rng = Generator().manual_seed(0)
    first, second = (list(task.batches(20, rng, drop_last=False)) for _ in range(2))
    seen = [{image.numpy().tobytes() for (images, _), _ in epoch for image in images} for epoch in (first, second)]
    assert (seen[0] == seen[1]) is not fresh
    (images, tokens), targets = first[0]
    assert images.shape == (20, 1, 56, 56)
    assert (tokens[:, 0] == 10).all()
    assert torch.equal(tokens[:, 1:], targets[:, :4])
    assert (targets[:, 4] == 11).all()
    train = digits["train_images"].float() / 255
    of_label = {int(label): train[digits["train_labels"] == label] for label in range(10)}
    for grid, labels in zip(images[:5, 0], targets[:5, :4].tolist(), strict=True):
        quarters = [grid[:28, :28], grid[:28, 28:], grid[28:, :28], grid[28:, 28:]]
        for quarter, label in zip(quarters, labels, strict=True):
            assert (of_label[label] == quarter).flatten(1).all(dim=1).any()


def test_test_grids_are_the_same_for_every_seed(digits: dict[str, Tensor]) -> None:
    spec = {"standardise": True, "grids": {"train": 50, "test": 30, "fresh": True, "seed": 0}}
    a, b = (Grids(spec, digits, torch.device("cpu")) for _ in range(2))
    assert torch.equal(a.test, b.test)
    limited = Grids(spec | {"limit": {"train": 5, "test": 10}}, digits, torch.device("cpu"))
    assert len(limited.test) == 10
    assert limited.epoch_images == 5


def test_the_grids_are_the_author_s_very_grids(numbered: dict[str, Tensor]) -> None:
    """The first ones by SYSTEMS.md; all by the author's loop, which draws grid after grid, each split from its seed."""
    spec = CONFIG["experiments"]["seq2seq_2x2"]["spec"]["data"]
    task = Grids(spec, numbered, torch.device("cpu"))
    assert task.fixed_train[0].tolist() == [37542, 46067, 46876, 46414]
    assert task.test[0].tolist() == [7542, 6067, 6876, 6414]
    for drawn, images, count in ((task.fixed_train, 60_000, 60_000), (task.test, 10_000, 10_000)):
        torch.manual_seed(42)
        assert torch.equal(drawn, torch.stack([torch.randint(images, (4,)) for _ in range(count)]))
    one_after_the_other = Grids(spec | {"grids": spec["grids"] | {"seed_per_split": False}}, numbered, task.test.device)
    assert torch.equal(one_after_the_other.test, task.test)
    assert one_after_the_other.fixed_train[0].tolist() != task.fixed_train[0].tolist()
