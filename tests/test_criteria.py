"""Criteria: against a direct computation, against torch where torch has them, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.errors import SpecError
from regimen.nas.criterion import Criterion
from regimen.registry import find, plugins

NAMES = [plugin.name for plugin in plugins("criterion", Path("nowhere"))]
MININGS = ("hard", "semi_hard", "random", "all")


def made(name: str, **settings: Any) -> Criterion:
    plugin = find(name, ["criterion"], Path("nowhere"))
    criterion: Criterion = plugin.make(plugin.settings().model_validate(settings))
    return criterion


def rows(criterion: Criterion, num_classes: int = 5, num_rows: int = 12) -> tuple[Tensor, Tensor, nn.Module | None]:
    torch.manual_seed(0)
    head = criterion.head(num_classes)
    outputs = torch.randn(num_rows, criterion.num_outputs(num_classes), dtype=torch.float64, requires_grad=True)
    return outputs, torch.arange(num_rows) % num_classes, head.double() if head else None


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_gives_a_finite_loss_a_row_and_learns(name: str) -> None:
    """The published names find them, too; a few steps on the outputs themselves make the loss smaller."""
    criterion = made(name)
    outputs, targets, head = rows(criterion)
    first = criterion.losses(outputs, targets, head)
    assert first.shape == targets.shape
    assert bool(first.isfinite().all())
    moved = [outputs, *(head.parameters() if head else ())]
    optimizer = torch.optim.SGD(moved, lr=1.0 if name != "angular" else 0.02)
    for _ in range(50):
        optimizer.zero_grad()
        criterion.losses(outputs, targets, head).mean().backward()
        optimizer.step()
    assert criterion.losses(outputs, targets, head).mean().item() < 0.7 * first.mean().item()
    logits = criterion.logits(outputs, head)
    assert logits is None or logits.shape == (12, 5)
    assert criterion.embeddings(outputs).shape == outputs.shape


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("CrossEntropyLoss", "cross_entropy"),
        ("LabelSmoothingCrossEntropy", "label_smoothing"),
        ("FocalLoss", "focal"),
        ("OnlineTripletLoss", "triplet"),
        ("FaceCELoss", "angular"),
    ],
)
def test_names_of_osnaslib_find_them(published: str, name: str) -> None:
    assert find(published, ["criterion"], Path("nowhere")).name == name


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in NAMES if name != "triplet"),
        ("focal", {"gamma": 0.5, "alpha": 2.0}),
        ("angular", {"margin_on": "cosine", "margin": 0.35, "scale": 16}),
        ("angular", {"margin": 0.0, "scale": 4}),
        *(
            ("triplet", {"mining": mining, "squared": squared, "normalize": squared, "margin": 0.7})
            for mining in MININGS
            if mining != "random"
            for squared in (True, False)
        ),
    ],
)
def test_gradients_are_those_of_finite_differences(name: str, settings: dict[str, Any]) -> None:
    criterion = made(name, **settings, **({"embedding": 4} if name in ("triplet", "angular") else {}))
    outputs, targets, head = rows(criterion, num_classes=3, num_rows=7)
    assert torch.autograd.gradcheck(lambda given: criterion.losses(given, targets, head), (outputs,))


def test_gradients_of_class_centres() -> None:
    criterion = made("angular", embedding=4, scale=8)
    outputs, targets, head = rows(criterion, num_classes=3, num_rows=7)
    assert head is not None
    (centres,) = head.parameters()

    def losses(weight: Tensor) -> Tensor:
        return criterion.losses(outputs, targets, _Given(weight))

    assert torch.autograd.gradcheck(losses, (centres.detach().requires_grad_(),))
    criterion.losses(outputs, targets, head).sum().backward()
    assert float(centres.grad.abs().sum()) > 0  # type: ignore[union-attr]


class _Given(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.given = weight

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings @ F.normalize(self.given).T


# ------------------------------------------------------------------ equal to what torch has


@given(st.integers(0, 2**31), st.floats(0, 0.9))
@settings(max_examples=20, deadline=None)
def test_label_smoothing_is_torchs_and_its_definition(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    found = made("label_smoothing", smoothing=smoothing).losses(outputs, targets, None)
    wanted = torch.full((6, 4), smoothing / 4)
    wanted[torch.arange(6), targets] += 1 - smoothing
    torch.testing.assert_close(found, -(wanted * outputs.log_softmax(1)).sum(1))
    torch.testing.assert_close(
        found.mean(), nn.CrossEntropyLoss(label_smoothing=smoothing)(outputs, targets), rtol=1e-6, atol=1e-6
    )


@given(st.integers(0, 2**31), st.floats(0.1, 8))
@settings(max_examples=20, deadline=None)
def test_focal_loss_without_focus_is_cross_entropy_and_with_it_the_paper_s(seed: int, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = 3 * torch.randn(6, 4, generator=generator), torch.randint(4, (6,), generator=generator)
    plain = F.cross_entropy(outputs, targets, reduction="none")
    torch.testing.assert_close(made("focal", gamma=0).losses(outputs, targets, None), plain)
    right = outputs.double().softmax(1)[torch.arange(6), targets]
    direct = -0.25 * (1 - right) ** gamma * right.log()
    found = made("focal", gamma=gamma, alpha=0.25).losses(outputs, targets, None)
    torch.testing.assert_close(found.double(), direct, rtol=1e-4, atol=1e-6)


def test_focal_gradient_stays_finite_where_a_row_is_surely_right() -> None:
    """(1 - p)^0.5 has an infinite slope at p = 1."""
    outputs = torch.tensor([[200.0, 0.0]], requires_grad=True)
    made("focal", gamma=0.5).losses(outputs, torch.tensor([0]), None).sum().backward()
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())


def test_angular_without_margin_is_cross_entropy_of_cosines() -> None:
    criterion = made("angular", margin=0, scale=10, embedding=6)
    outputs, targets, head = rows(criterion)
    logits = criterion.logits(outputs, head)
    assert logits is not None
    assert head is not None
    cosines = F.cosine_similarity(outputs.unsqueeze(1), next(head.parameters()).unsqueeze(0), dim=2)
    torch.testing.assert_close(logits, 10 * cosines)
    torch.testing.assert_close(
        criterion.losses(outputs, targets, head), F.cross_entropy(logits, targets, reduction="none")
    )


@pytest.mark.parametrize(("margin_on", "margin"), [("angle", 0.5), ("angle", 0.1), ("cosine", 0.35)])
def test_the_margin_moves_the_own_class_alone(margin_on: str, margin: float) -> None:
    """In two dimensions, where angles can be given; the loss falls everywhere as the angle to the own class does."""
    criterion = made("angular", embedding=2, scale=8, margin=margin, margin_on=margin_on)
    centres = _Given(torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    angles = torch.linspace(0.05, math.pi - 0.01, 60, dtype=torch.float64)
    outputs = 3 * torch.stack([angles.cos(), -angles.sin()], dim=1)  # away from the other class
    targets = torch.zeros(60, dtype=torch.int64)
    own = (angles + margin).cos() if margin_on == "angle" else angles.cos() - margin
    direct = F.cross_entropy(8 * torch.stack([own, -angles.sin()], dim=1), targets, reduction="none")
    found = criterion.losses(outputs, targets, centres)
    within = angles + margin < math.pi if margin_on == "angle" else angles > 0
    torch.testing.assert_close(found[within], direct[within], rtol=1e-6, atol=1e-9)
    lowered = 8 * (-angles.sin()) - torch.log(torch.expm1(found))  # the own class's logit, from the loss
    assert bool((lowered.diff() < 0).all())


def test_tokens_of_a_row_are_averaged_and_untrained_ones_left_out() -> None:
    criterion = made("cross_entropy")
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(7, (3, 5), generator=generator)
    targets[0, 2:], targets[1] = -100, -100
    found = criterion.losses(outputs, targets, None)
    assert found[1] == 0  # a row without a trained token
    for row, kept in ((0, 2), (2, 5)):
        torch.testing.assert_close(found[row], F.cross_entropy(outputs[row, :kept], targets[row, :kept]))
        right = (outputs[row, :kept].argmax(dim=1) == targets[row, :kept]).double().mean()
        assert criterion.hits(outputs, targets, None)[row] == right
    assert torch.autograd.gradcheck(lambda given: criterion.losses(given, targets, None), (outputs,))


@pytest.mark.parametrize("name", [*NAMES, "tokens"])
def test_distilling_pulls_outputs_to_those_of_the_teacher(name: str) -> None:
    """The gradient is zero where both agree, reaches the pupil alone, and a step along it brings them nearer."""
    criterion = made("cross_entropy" if name == "tokens" else name)
    if name == "tokens":
        outputs, head = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True), None
    else:
        outputs, _, head = rows(criterion)
    taught = torch.randn_like(outputs).requires_grad_()
    same = torch.autograd.grad(criterion.distilled(outputs, outputs.detach(), head).sum(), outputs)[0]
    assert float(same.abs().max()) < 1e-9
    before = criterion.distilled(outputs, taught, head)
    assert before.shape == (len(outputs),)
    before.sum().backward()
    assert taught.grad is None
    moved = outputs.detach() - 1e-3 * outputs.grad  # type: ignore[operator]
    assert float(criterion.distilled(moved, taught, head).sum()) < before.sum().item()


def test_without_logits_a_row_is_right_where_its_nearest_is_of_its_class() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    hits = made("triplet", embedding=2).hits(outputs, torch.tensor([0, 0, 1, 1]), None)
    assert hits.tolist() == [1.0, 1.0, 0.0, 1.0]


# ------------------------------------------------------------------ triplets


@given(st.integers(0, 2**31), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_triplets_equal_a_search_over_all(seed: int, squared: bool, normalize: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (8,), generator=generator)
    margin = 0.4
    points = F.normalize(outputs) if normalize else outputs
    for mining in MININGS:
        criterion = made("triplet", embedding=3, margin=margin, mining=mining, squared=squared, normalize=normalize)
        found = criterion.losses(outputs, targets, None)
        for anchor in range(8):
            assert _direct(mining, points, targets, anchor, margin, squared, found[anchor].item())


def _direct(
    mining: str, points: Tensor, targets: Tensor, anchor: int, margin: float, squared: bool, found: float
) -> bool:
    def distance(other: int) -> float:
        plain = float((points[anchor] - points[other]).norm())
        return plain**2 if squared else plain

    positives = [distance(o) for o in range(8) if o != anchor and targets[o] == targets[anchor]]
    negatives = [distance(o) for o in range(8) if targets[o] != targets[anchor]]
    losses = [[near - far + margin for far in negatives] for near in positives]
    violating = [[loss for loss in of_pair if loss > 0] for of_pair in losses]
    if mining == "hard":
        wanted = max(0.0, max(positives) - min(negatives) + margin) if positives and negatives else 0.0
    elif mining == "all":
        wanted = _mean([loss for of_pair in violating for loss in of_pair])
    elif mining == "semi_hard":
        wanted = _mean([max(s) for of_pair in violating if (s := [loss for loss in of_pair if loss < margin])])
    else:
        low, high = (_mean([pick(of_pair) for of_pair in violating if of_pair]) for pick in (min, max))
        return low - 1e-9 <= found <= high + 1e-9
    return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("targets", [[0, 1, 2, 3], [1, 1, 1, 1]])
def test_a_batch_without_triplets_has_no_loss(mining: str, targets: list[int]) -> None:
    """OSNASLib's fails on the first."""
    outputs = torch.zeros(4, 8, requires_grad=True)
    losses = made("triplet", embedding=8, mining=mining).losses(outputs, torch.tensor(targets), None)
    losses.sum().backward()
    assert losses.tolist() == [0.0] * 4
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())


def test_random_triplets_come_from_the_seed() -> None:
    criterion = made("triplet", embedding=4, mining="random", margin=1.0)
    outputs, targets, _ = rows(criterion, num_classes=3)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(criterion.losses(outputs, targets, None))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("label_smoothing", {"smoothing": 1.0}),
        ("label_smoothing", {"smoothing": -0.1}),
        ("focal", {"gamma": -1}),
        ("focal", {"alpha": 0}),
        ("triplet", {"margin": 0}),
        ("triplet", {"mining": "easy"}),
        ("triplet", {"embedding": 1}),
        ("triplet", {"rows_per_class": 1}),
        ("angular", {"margin": 1.6}),
        ("angular", {"scale": 0}),
        ("angular", {"margin_on": "sine"}),
        ("cross_entropy", {"smoothing": 0.1}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        made(name, **wrong)


def test_an_unknown_criterion_names_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no criterion 'tripplet'.*triplet"):
        find("tripplet", ["criterion"], Path("nowhere"))
