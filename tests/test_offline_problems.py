"""Problems that need no download: each builds, learns, and reads the same rows every time; what they claim holds."""

from __future__ import annotations

import bz2
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regimen
from regimen.benchmark.examples import Examples
from regimen.benchmark.grammar import LETTERS, write
from regimen.benchmark.problem import Batch, Problem
from regimen.benchmark.tokens import UNTRAINED
from regimen.cli import main
from regimen.errors import MissingExtra
from regimen.registry import find, plugins

FILES = {"surfaces", "digits", "chars", "sequences", "tinylm"}
NAMES = [plugin.name for plugin in plugins("task") if plugin.path.stem in FILES and plugin.origin == "built in"]
OFFLINE = [name for name in NAMES if name != "tolstoi_char_rnn"]
LEARNING_RATES = {"tinylm_sorting": 1e-3}
STEPS = {"tinylm_sorting": 8}


def problem(name: str, **settings: Any) -> Problem:
    plugin = find(name, ["task"])
    return plugin.make(plugin.settings().model_validate({"name": name, **settings}))


def surface(name: str) -> Any:
    """The function under the noise."""
    return getattr(sys.modules[type(problem(f"two_d_{name}")).__module__], name)


def batch_of(task: Problem, rows: int) -> Batch:
    examples = task.sample(rows)
    return Batch(task.transform(examples.inputs[torch.arange(rows)]), examples.targets[torch.arange(rows)])


def rows_of(examples: Examples) -> list[bytes]:
    rows = torch.arange(examples.num_rows)
    both = (part[rows].reshape(len(rows), -1).numpy() for part in (examples.inputs, examples.targets))
    return [row.tobytes() for row in np.concatenate(list(both), axis=1)]


@pytest.mark.parametrize("name", OFFLINE)
def test_a_run_learns(name: str) -> None:
    rate = LEARNING_RATES.get(name, 5e-3)
    optimizer = {"name": "adam", "lr": rate}
    spec = {
        "task": name,
        "strategy": {"name": "standard", "optimizer": optimizer},
        "budget": {"steps": STEPS.get(name, 30)},
    }
    curve = regimen.run({**spec, "threads": 1, "device": "cpu"}).curves["valid/loss"]
    assert curve[-1].value < 0.97 * curve[0].value
    assert curve[0].step == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_net_is_as_large_as_said_and_learns_a_sample(name: str) -> None:
    task = problem(name)
    torch.manual_seed(0)
    net, batch = task.make_net(), batch_of(task, 4)
    assert sum(parameter.numel() for parameter in net.parameters()) == task.num_parameters
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATES.get(name, 5e-3))
    losses = []
    for _ in range(8):
        loss = task.losses(task.forward(net, batch), batch)
        assert loss.shape == (4,)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(float(loss.detach().mean()))
    assert min(losses[-3:]) < losses[0]
    hits = task.hits(task.forward(net, batch), batch)
    assert hits is None or (hits.shape == (4,) and bool(((hits >= 0) & (hits <= 1)).all()))


@pytest.mark.parametrize("name", OFFLINE)
def test_rows_are_the_same_for_every_seed_and_no_split_shares_one(name: str) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = problem(name).read()
    torch.manual_seed(2)
    np.random.seed(2)
    second = problem(name).read()
    assert problem(name).fingerprint() == problem(name).fingerprint()
    rows = {split: rows_of(getattr(first, split)) for split in ("train", "train_eval", "valid", "test")}
    assert rows == {split: rows_of(getattr(second, split)) for split in rows}
    assert set(rows["train_eval"]) <= set(rows["train"])
    assert not set(rows["train"]) & set(rows["valid"])
    assert not (set(rows["train"]) | set(rows["valid"])) & set(rows["test"])


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_looks_like_the_rows(name: str, request: pytest.FixtureRequest) -> None:
    folder = {"data_dir": request.getfixturevalue("data_dir")} if name not in OFFLINE else {}
    task = problem(name, **folder)
    real, made = task.read().train.take(torch.arange(5)), task.sample(5)
    for ours, theirs in ((made.inputs, real.inputs), (made.targets, real.targets)):
        assert ours[torch.arange(5)].shape == theirs[torch.arange(5)].shape
        assert ours[torch.arange(5)].dtype == theirs[torch.arange(5)].dtype


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("two_d_beale", "tinylm_sorting")])
def test_gradients_are_finite_differences(name: str) -> None:
    task = problem(name)
    torch.manual_seed(0)
    net = task.make_net().double()
    batch = batch_of(task, 3)
    inputs = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs
    batch = Batch(inputs, batch.targets.double() if batch.targets.is_floating_point() else batch.targets)
    parameters = list(net.parameters())
    directions = [torch.randn_like(parameter) for parameter in parameters]

    def loss(step: float) -> torch.Tensor:
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.data += step * direction
        torch.manual_seed(3)  # the same dropout masks and latent numbers
        return task.losses(task.forward(net, batch), batch).mean()

    slopes = torch.autograd.grad(loss(0.0), parameters)
    slope = sum((part * direction).sum().item() for part, direction in zip(slopes, directions, strict=True))
    measured = (loss(1e-6) - loss(-2e-6)).item() / 2e-6
    assert slope == pytest.approx(measured, rel=2e-5, abs=1e-7)


# ---------------------------------------------------------------------------------------------------- the plane


MINIMA = [
    ("rosenbrock", (1.0, 1.0), 0.0),
    ("beale", (3.0, 0.5), 0.0),
    *(("branin", place, 0.397887) for place in ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))),
]


@pytest.mark.parametrize(("name", "place", "value"), MINIMA)
def test_published_minima(name: str, place: tuple[float, float], value: float) -> None:
    at = torch.tensor(place, dtype=torch.float64, requires_grad=True)
    found = surface(name)(*at)
    (slope,) = torch.autograd.grad(found, at)
    assert found.item() == pytest.approx(value, abs=1e-6)
    assert float(slope.norm()) < 1e-4
    nearby = at.detach() + 0.01 * torch.randn(50, 2, dtype=torch.float64)
    assert bool((surface(name)(*nearby.T) >= value - 1e-6).all())


@pytest.mark.parametrize(
    ("name", "before", "place"),
    [("rosenbrock", 158.5, (-0.5, 1.5)), ("beale", 169_680.8, (-4.5, 4.5)), ("branin", 95.845, (2.5, 12.5))],
)
def test_noise_is_on_the_gradient_and_the_test_loss_is_without_it(
    name: str, before: float, place: tuple[float, float]
) -> None:
    task = problem(f"two_d_{name}")
    splits, net = task.read(), task.make_net()
    everywhere = {split: getattr(splits, split).inputs for split in ("train", "valid", "test")}
    assert net(everywhere["test"]).mean().item() == pytest.approx(before, rel=1e-5)
    clean, noise = net(everywhere["test"]), everywhere["train"][:7]
    assert torch.allclose(net(noise), clean + noise @ torch.tensor(place), rtol=1e-6)
    for split in ("train", "valid"):
        assert everywhere[split].shape == (10_000, 2)
        assert everywhere[split].std(dim=0).tolist() == pytest.approx([1.0, 1.0], abs=0.03)
        assert everywhere[split].mean(dim=0).tolist() == pytest.approx([0.0, 0.0], abs=0.03)


# ----------------------------------------------------------------------------------------------------- tokens


def test_a_row_is_the_mean_over_its_trained_tokens() -> None:
    task = problem("addition_transformer")
    logits_BTV = torch.randn(2, 3, 5)
    targets_BT = torch.tensor([[UNTRAINED, 4, 2], [UNTRAINED, UNTRAINED, 0]])
    batch = Batch(targets_BT, targets_BT)
    said = logits_BTV.log_softmax(dim=2)
    expected = [-(said[0, 1, 4] + said[0, 2, 2]) / 2, -said[1, 2, 0]]
    assert torch.allclose(task.losses(logits_BTV, batch), torch.stack(expected))
    sure = torch.nn.functional.one_hot(targets_BT.clamp(min=0), 5).float()
    sure[0, 1] = torch.tensor([9.0, 0, 0, 0, 0])  # one wrong
    hits = task.hits(sure, batch)
    assert hits is not None
    assert hits.tolist() == [0.5, 1.0]


def test_additions_are_right_and_their_net_does_not_look_ahead() -> None:
    task = problem("addition_transformer")
    examples = task.read().valid
    for inputs, targets in zip(examples.inputs.tolist(), examples.targets.tolist(), strict=True):
        left, right = ("".join(map(str, digits)) for digits in (inputs[:3], inputs[4:7]))
        assert "".join(map(str, reversed(targets[7:]))) == f"{int(left) + int(right):04d}"
        assert targets[:7] == [UNTRAINED] * 7
        assert inputs[8:] == targets[7:10]
    net, ids = task.make_net(), task.sample(3).inputs[torch.arange(3)]
    later = ids.clone()
    later[:, 6:] = 0
    changed = (net(ids) - net(later)).abs().amax(dim=(0, 2))
    assert bool((changed[:6] == 0).all())
    assert bool((changed[6:] > 0).all())


def test_rows_of_the_language_model_are_those_of_fine_tuning() -> None:
    task = problem("tinylm_sorting")
    splits = task.read()
    assert (splits.train.num_rows, splits.valid.num_rows, splits.test.num_rows) == (600, 150, 150)
    for inputs, targets in zip(splits.valid.inputs, splits.valid.targets, strict=True):
        text = "".join(chr(number + 33) if number < 94 else " " for number in inputs.tolist() if number < 256)
        question, answer = text.removeprefix("Sort ").split(".")
        assert answer.split() == sorted(question.split())
        trained = targets != UNTRAINED
        assert targets[trained].tolist() == [*inputs[1:][trained[:-1]].tolist()]
        assert int(trained.sum()) == len(answer) + 1  # and the end


# ------------------------------------------------------------------------------------------------------- text


def test_the_grammar_writes_what_it_says() -> None:
    first, again, other = (write(60_000, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again != other
    assert len(first.text) == 60_000
    assert set(first.text) <= set(LETTERS)
    assert {word for word in first.text.split()[:-1] if word.startswith("child")} >= {"child", "children"}
    assert first.nats == pytest.approx(0.393, abs=0.01)
    packed = 8 * len(bz2.compress(first.text.encode())) / len(first.text) * math.log(2)
    assert first.nats < packed < 2 * first.nats  # nothing packs it below what it holds


def test_verbs_agree_with_their_noun_across_a_clause() -> None:
    text = write(60_000, np.random.default_rng(7)).text
    found = re.findall(r"\. (one|some) (\w+) that sleeps? (\w+)", text)
    assert len(found) > 5
    for article, noun, verb in found:
        plural = noun in ("children", "wolves") or noun.endswith("s")
        assert plural is (article == "some")
        assert verb.endswith("s") is not plural


def test_tolstoi_reads_the_book(data_dir: Path) -> None:
    task = problem("tolstoi_char_rnn", data_dir=data_dir)
    splits = task.read()
    sizes = [part.num_rows for part in (splits.train, splits.train_eval, splits.valid, splits.test)]
    assert sizes == [38_354, 12_784, 12_784, 12_784]
    inputs, targets = splits.train.inputs, splits.train.targets
    assert torch.equal(inputs[torch.arange(9)][:, 1:], targets[torch.arange(9)][:, :-1])
    assert torch.equal(inputs[torch.arange(1, 9)][:, 0], targets[torch.arange(8)][:, -1])
    torch.manual_seed(0)
    net = task.make_net().eval()
    rows = torch.arange(50)
    batch = Batch(inputs[rows], targets[rows])
    assert task.losses(net(batch.inputs), batch).mean().item() == pytest.approx(math.log(83), abs=0.05)


def test_tolstoi_begins_as_in_tensorflow() -> None:
    torch.manual_seed(0)
    for name, parameter in problem("tolstoi_char_rnn").make_net().named_parameters():
        if "bias_ih" in name:
            assert parameter.view(4, 128).mean(dim=1).tolist() == [0, 1, 0, 0]  # the forget gate's
        elif "bias_hh" in name:
            assert not parameter.any()
        else:
            fans = {"embedding.weight": 83 + 128, "head.weight": 83 + 128, "head.bias": 83 + 83}.get(name, 256 + 512)
            assert 0.9 * math.sqrt(6 / fans) < parameter.abs().max().item() <= math.sqrt(6 / fans)


def test_another_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "war_and_peace.txt").write_text("".join(map(chr, range(0x400, 0x460))) * 32_000)
    Path("run.yaml").write_text(
        f"task: {{name: tolstoi_char_rnn, data_dir: '{tmp_path}'}}\n"
        "strategy: {name: standard, optimizer: {name: sgd, lr: 0.1}}\nbudget: {steps: 1}\n"
    )
    assert main(["run", "run.yaml"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "96 different characters, and the net has 83" in said
    assert "regimen data fetch tolstoi" in said


def test_pictures_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"needs scikit-learn.*regimen-ml\[bench\]"):
        problem("digits_mlp").read()


def test_digits_are_pictures_of_ten_classes() -> None:
    splits = problem("digits_cnn").read()
    assert [part.num_rows for part in (splits.train, splits.valid, splits.test)] == [1200, 237, 360]
    for part in (splits.train, splits.valid, splits.test):
        assert part.inputs[torch.arange(2)].shape == (2, 1, 8, 8)
        pictures = part.inputs[torch.arange(part.num_rows)]
        assert (float(pictures.min()), float(pictures.max())) == (0.0, 1.0)
        assert part.targets[torch.arange(part.num_rows)].unique().tolist() == list(range(10))
