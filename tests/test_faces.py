"""Telling people apart: verification and identification against direct computations, pairs and batches that keep their
promises, and folders of pictures.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimen.errors import DataError, MissingExtra
from regimen.nas.classbatches import ClassBatches
from regimen.nas.faces import (
    Pairs,
    accepted_at,
    best_threshold,
    identification,
    make_pairs,
    split_people,
    verification,
)
from regimen.nas.peoplefolder import read_people
from regimen.registry import find


def people(seed: int, num_people: int = 12, pictures: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(num_people) * 7, pictures))


def points(whose: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(whose.max() + 1, 8))
    return np.asarray(centres[whose] + noise * generator.normal(size=(len(whose), 8)))


@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(8, 200))
@settings(max_examples=25, deadline=None)
def test_pairs_are_balanced_and_folds_share_no_person(seed: int, folds: int, num_pairs: int) -> None:
    whose = people(seed)
    pairs = make_pairs(whose, np.random.default_rng(seed), num_pairs=num_pairs, folds=folds)
    assert (whose[pairs.first] == whose[pairs.second]).tolist() == pairs.same.tolist()
    assert len(set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))) == len(pairs.first)
    assert pairs.same.sum() == (~pairs.same).sum()
    assert len(pairs.first) <= num_pairs + 2 * folds
    seen = [set(whose[np.concatenate([pairs.first, pairs.second])[np.tile(pairs.fold, 2) == f]]) for f in range(folds)]
    assert all(not one & other for one, other in itertools.combinations(seen, 2))
    again = make_pairs(whose, np.random.default_rng(seed), num_pairs=num_pairs, folds=folds)
    assert all(np.array_equal(one, other) for one, other in zip(pairs, again, strict=True))


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_threshold_is_the_best_of_all(seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    distances = generator.uniform(0, 2, 15)
    if ties:
        distances = np.round(distances, 1)
    same = generator.random(15) < 0.5
    found = best_threshold(distances, same)
    tried = [((distances <= at) == same).mean() for at in (-1.0, *distances)]
    assert ((distances <= found) == same).mean() == max(tried)


def test_verification_is_judged_at_the_threshold_of_the_other_folds() -> None:
    """Two folds by hand: the distances of the second are all three times those of the first."""
    points_ND = np.array([[0.0], [1.0], [0.0], [2.0], [0.0], [3.0], [0.0], [6.0]])
    pairs = Pairs(
        np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7]), np.array([True, False, True, False]), np.array([0, 0, 1, 1])
    )
    found = verification(points_ND, pairs)
    assert found.thresholds == (4.5, 1.5)  # of the other fold
    assert found.by_fold == (0.5, 0.5)  # 2 <= 4.5 is taken for one person; 3 > 1.5 for two
    assert (found.accuracy, found.spread, found.num_pairs) == (0.5, 0.0, 4)


def test_easy_people_are_told_apart_and_noise_is_not() -> None:
    whose = people(3, num_people=40)
    pairs = make_pairs(whose, np.random.default_rng(0), num_pairs=400, folds=5)
    clear, none = points(whose, 0.05), np.random.default_rng(1).normal(size=(len(whose), 8))
    assert verification(clear, pairs).accuracy == 1.0
    assert accepted_at(clear, pairs, 0.01) == 1.0
    assert identification(clear, whose).accuracy == 1.0
    assert abs(verification(none, pairs).accuracy - 0.5) < 0.1
    assert accepted_at(none, pairs, 0.01) < 0.1
    assert identification(none, whose).accuracy < 0.2
    assert np.isnan(verification(none * np.nan, pairs).accuracy)


def test_turning_and_scaling_all_embeddings_changes_nothing() -> None:
    whose = people(5, num_people=20)
    pairs = make_pairs(whose, np.random.default_rng(0), num_pairs=200, folds=4)
    given_ND = points(whose, 1.0)
    turned = 3 * given_ND @ np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0]
    assert verification(given_ND, pairs).by_fold == verification(turned, pairs).by_fold
    assert identification(given_ND, whose) == identification(turned, whose)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_identification_equals_a_direct_search(seed: int, rank: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    whose, given_ND = generator.integers(0, 9, 24), generator.normal(size=(24, 3))
    right = []
    for row in range(24):
        others = [other for other in range(24) if other != row]
        if any(whose[other] == whose[row] for other in others):
            nearest = sorted(others, key=lambda other: np.linalg.norm(given_ND[other] - given_ND[row]))[:rank]
            right.append(any(whose[other] == whose[row] for other in nearest))
    found = identification(given_ND, whose, rank=rank, rows=rows)
    assert found.num_rows == len(right)
    assert found.accuracy == np.mean(right)


def test_what_cannot_be_asked_is_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(DataError, match="3 people with 6 pictures are too few for 2 folds"):
        make_pairs([0, 0, 1, 1, 2, 2], generator, folds=2)
    with pytest.raises(DataError, match="no person has two pictures"):
        identification(np.eye(3), [0, 1, 2])
    with pytest.raises(DataError, match="2 people cannot be split in 3 parts"):
        split_people([0, 1, 1], (0.5, 0.25, 0.25), generator)
    with pytest.raises(DataError, match="1 classes have two rows or more"):
        ClassBatches([0, 0, 1], batch_size=4, rows_of_a_class=2, seed=0)


@given(st.integers(0, 2**31), st.integers(3, 12))
@settings(max_examples=20, deadline=None)
def test_parts_share_no_person(seed: int, num_people: int) -> None:
    whose = people(seed, num_people)
    parts = split_people(whose, (0.6, 0.2, 0.2), np.random.default_rng(seed))
    found = [set(whose[rows]) for rows in parts]
    assert all(found)
    assert all(not one & other for one, other in itertools.combinations(found, 2))


@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(2, 24))
@settings(max_examples=25, deadline=None)
def test_batches_hold_several_rows_of_each_class(seed: int, rows_of_a_class: int, batch_size: int) -> None:
    generator = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(9), np.arange(4), generator.integers(0, 9, 40)])
    order = ClassBatches(targets, batch_size=batch_size, rows_of_a_class=rows_of_a_class, seed=seed)
    for rows in order(3):
        _, counts = np.unique(targets[rows], return_counts=True)
        assert (counts == rows_of_a_class).all()
        assert len(counts) == order.classes_of_a_batch >= 2
    assert len(order(3)) == order.num_batches
    assert all(np.array_equal(one, other) for one, other in zip(order(3), order(3), strict=True))
    seen = np.unique(np.concatenate([rows for epoch in range(12) for rows in order(epoch)]))
    assert len(seen) > 0.9 * sum(1 for target in targets if (targets == target).sum() > 1)


# ------------------------------------------------------------------ pictures


def faces(name: str, **settings: Any) -> Any:
    plugin = find(name, ["task"], Path("nowhere"))
    return plugin.make(plugin.settings().model_validate(settings))


SMALL = {"num_people": 24, "num_pictures": 8}


def test_splits_share_no_picture_and_test_no_person() -> None:
    task = faces("face_like", **SMALL)
    splits, everything = task.splits, task.people()
    assert [len(part.classes) for part in (splits.train, splits.valid, splits.test)] == [108, 36, 48]
    assert task.num_classes == 18
    whose = {picture.numpy().tobytes(): int(person) for picture, person in zip(*everything, strict=True)}
    found = [{p.numpy().tobytes() for p in part.inputs} for part in (splits.train, splits.valid, splits.test)]
    assert all(not one & other for one, other in itertools.combinations(found, 2))
    seen = [{whose[picture] for picture in part} for part in found]
    assert seen[0] == seen[1]
    assert not seen[0] & seen[2]
    # One person, one class, in both.
    known = [(whose[p.numpy().tobytes()], int(c)) for part in splits_of(splits)[:2] for p, c in zip(*part, strict=True)]
    assert len(set(known)) == 18
    assert sorted(set(splits.test.classes.tolist())) == list(range(6))


def splits_of(splits: Any) -> list[Any]:
    return [splits.train, splits.valid, splits.test]


def test_generated_faces_come_from_their_seed_and_differ_by_person() -> None:
    one, again, other = (faces("face_like", **SMALL, data_seed=seed) for seed in (0, 0, 1))
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    task = faces("face_like", **SMALL, folds=3, pairs=60)
    clean = faces("face_like", **SMALL, folds=3, pairs=60, noise=0.0)
    noisy = faces("face_like", **SMALL, folds=3, pairs=60, noise=3.0)
    by_points = [each.judged(each.splits.test.inputs.flatten(1)) for each in (clean, task, noisy)]
    assert by_points[0]["identification"] > by_points[2]["identification"] + 0.2
    assert by_points[0]["accuracy"] > 0.55
    inputs = task.splits.train.inputs
    turned = task.augment(inputs, np.random.default_rng(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(turned, inputs, strict=True)]
    assert 0 < sum(mirrored) < len(mirrored)


@pytest.mark.parametrize(("criterion", "settings"), [("angular", {"scale": 16, "margin": 0.2}), ("triplet", {})])
def test_training_helps_with_people_it_has_not_seen(criterion: str, settings: dict[str, Any]) -> None:
    """A network of the chain space from scratch, some epochs, judged on other people."""
    task = faces("face_like", num_people=100, pairs=400)
    plugin = find(criterion, ["criterion"], Path("nowhere"))
    loss = plugin.make(plugin.settings().model_validate({"embedding": 16, **settings}))
    torch.manual_seed(0)
    net = task.space.make_network((2, 2, 2, 2, 2), task.inputs(loss.num_outputs(task.num_classes)))
    head = loss.head(task.num_classes)
    train, test = task.splits.train, task.splits.test
    order = ClassBatches(train.classes, batch_size=60, rows_of_a_class=max(3, loss.rows_of_a_class()), seed=0)
    parameters = [*net.parameters(), *(head.parameters() if head else ())]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)

    def judged() -> dict[str, float]:
        net.eval()
        with torch.no_grad():
            found: dict[str, float] = task.judged(loss.embeddings(net(test.inputs)))
        net.train()
        return found

    before = judged()
    for epoch in range(8):
        for rows in map(torch.from_numpy, order(epoch)):
            optimizer.zero_grad()
            loss.losses(net(train.inputs[rows]), train.classes[rows], head).mean().backward()
            optimizer.step()
    after = judged()
    assert after["accuracy"] > before["accuracy"] + 0.07
    assert after["identification"] > before["identification"]
    net.eval()
    valid = task.splits.valid
    with torch.no_grad():
        assert loss.hits(net(valid.inputs), valid.classes, head).mean().item() > 0.1  # of 75 people


def write_people(folder: Path, counts: dict[str, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for picture in range(count):
            colours = np.full((10, 14, 3), (20 * number, 10 * picture, 5), np.uint8)
            colours[:, :2] = 255  # outside of the middle square
            image.fromarray(colours).save(folder / name / f"{picture}.png")


def test_a_folder_of_people_is_read(tmp_path: Path) -> None:
    write_people(tmp_path / "faces", {"ann": 3, "bob": 1, "cy": 4, "dee": 5, "eve": 2, "flo": 2})
    (tmp_path / "faces" / "ann" / "notes.txt").write_text("no picture")
    found = read_people(tmp_path / "faces", 8)
    assert found.names == ("ann", "cy", "dee", "eve", "flo")
    assert found.people.tolist() == [0] * 3 + [1] * 4 + [2] * 5 + [3] * 2 + [4] * 2
    assert found.pictures.shape == (16, 3, 8, 8)
    assert found.pictures[4].unique().tolist() == [5, 10, 40]  # the second picture of cy
    assert read_people(tmp_path / "faces", 8, grey=True).pictures.shape == (16, 1, 8, 8)
    assert read_people(tmp_path / "faces", 8, most=2, people=3).people.tolist() == [0, 0, 1, 1, 2, 2]
    task = faces("faces", data_dir=str(tmp_path / "faces"), size=8, folds=2)
    assert [len(part.classes) for part in splits_of(task.splits)][2] in (2, 3, 4, 5)
    assert task.splits.train.inputs.abs().max() <= 1
    assert task.inputs().channels == 3


def test_folders_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"nowhere: is no folder\. Give a folder with one folder a person"):
        read_people(Path("nowhere"), 8)
    write_people(tmp_path / "faces", {"ann": 1, "bob": 1})
    with pytest.raises(DataError, match="holds no folder with 2 pictures or more"):
        read_people(tmp_path / "faces", 8)
    (tmp_path / "faces" / "bob" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png: cannot be decoded"):
        read_people(tmp_path / "faces", 8)
    write_people(tmp_path / "more", {"ann": 3, "bob": 3})
    with pytest.raises(DataError, match=r"has 6 pictures, which take 28\.8 GB as numbers"):
        read_people(tmp_path / "more", 20_000)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match="reading pictures needs Pillow"):
        read_people(tmp_path / "more", 8)
