"""The test problems on pictures: every published name builds and trains, with the published sizes, and augmentation
does what it says.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.augmentation import Jitter, colours_jittered, random_windows
from regimen.benchmark.examples import Examples
from regimen.benchmark.images import ImageProblem
from regimen.benchmark.nets.autoencoder import Drawn, evidence_losses
from regimen.benchmark.problem import Batch, Problem
from regimen.errors import DataError
from regimen.registry import find, plugins

# Rows a batch, epochs, penalty, parameters: from DeepOBS, or from the papers where it has no number.
PUBLISHED = {
    "mnist_logreg": (128, 50, 0.0, 7_850),
    "fmnist_logreg": (128, 50, 0.0, 7_850),
    "mnist_mlp": (128, 100, 0.0, 1_336_610),
    "fmnist_mlp": (128, 100, 0.0, 1_336_610),
    "mnist_2c2d": (128, 100, 0.0, 3_274_634),
    "fmnist_2c2d": (128, 100, 0.0, 3_274_634),
    "mnist_vae": (64, 50, 0.0, 10_151_489),
    "fmnist_vae": (64, 100, 0.0, 10_151_489),
    "cifar10_3c3d": (128, 100, 2e-3, 895_210),
    "cifar100_3c3d": (128, 100, 2e-3, 918_340),
    "svhn_3c3d": (128, 100, 2e-3, 895_210),
    "cifar100_allcnnc": (256, 350, 5e-4, 1_387_108),
    "svhn_wrn164": (128, 160, 5e-4, 2_748_890),
    "cifar100_wrn164": (128, 160, 5e-4, 2_772_020),
    "cifar100_wrn404": (128, 200, 5e-4, 8_972_340),
    "cifar10_vgg16": (128, 100, 5e-4, 134_301_514),
    "cifar10_vgg19": (128, 100, 5e-4, 139_611_210),
    "cifar100_vgg16": (128, 100, 5e-4, 134_670_244),
    "cifar100_vgg19": (128, 100, 5e-4, 139_979_940),
    "imagenet_vgg16": (256, 74, 5e-4, 138_361_641),
    "imagenet_vgg19": (256, 74, 5e-4, 143_671_337),
    "imagenet_inception_v3": (32, 100, 5e-4, 27_164_082),
}


def made(name: str) -> Problem:
    plugin = find(name, ["task"])
    problem: Problem = plugin.make(plugin.settings()())
    return problem


def training_batch(problem: Problem, rows: int = 2) -> Batch:
    found = problem.sample(rows)
    numbers = torch.arange(rows)
    inputs = problem.augment(problem.transform(found.inputs[numbers]), np.random.default_rng(0))
    return Batch(inputs, found.targets[numbers])


def loss_of(problem: Problem, net: nn.Module, batch: Batch) -> Tensor:
    """The training loss without the penalty; the same dropout masks and codes every time."""
    torch.manual_seed(1)
    return problem.losses(problem.forward(net, batch), batch).mean()


# ---------------------------------------------------------------------- every problem


def test_all_published_names_are_there() -> None:
    on_images = {p.name for p in plugins("task", Path("nowhere")) if p.path.stem in ("images", "imagenet")}
    assert on_images == set(PUBLISHED)
    assert all(isinstance(made(name), ImageProblem) for name in on_images)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    problem = made(name)
    with torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in problem.make_net().parameters())
    assert (problem.batch_size, problem.num_epochs, problem.weight_decay, num_parameters) == PUBLISHED[name]
    assert problem.num_parameters == num_parameters


ALIKE = {"cifar10_vgg19", "cifar100_vgg16", "cifar100_vgg19", "imagenet_vgg16", "imagenet_vgg19"}
"""Nets of half a gigabyte that differ from cifar10_vgg16 in their last layer and their depth."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n in ALIKE)) for n in PUBLISHED])
def test_a_training_step_lowers_the_loss_of_its_batch(name: str) -> None:
    problem = made(name)
    torch.manual_seed(0)
    net = problem.make_net()
    batch = training_batch(problem, rows=1 if "vgg" in name else 2)
    before = loss_of(problem, net, batch)
    before.backward()
    squares = [p.grad.square().sum() for p in net.parameters() if p.grad is not None]
    assert len(squares) == len(list(net.parameters())), "a parameter has no part in the loss"
    with torch.no_grad():
        rate = 0.01 * float(before.detach()) / float(sum(squares))  # the first order says: one percent less
        for parameter in net.parameters():
            parameter.sub_(parameter.grad, alpha=rate)
        after = loss_of(problem, net, batch)
    assert 0.5 < float((before - after).detach()) / (0.01 * float(before.detach())) < 1.5


@pytest.mark.parametrize("name", ["mnist_logreg", "cifar100_3c3d", "svhn_wrn164", "cifar100_allcnnc", "mnist_2c2d"])
def test_outputs_are_one_number_a_class_and_hits_one_a_row(name: str) -> None:
    problem = made(name)
    batch = training_batch(problem, rows=3)
    outputs = problem.forward(problem.make_net().eval(), batch)
    assert outputs.shape == (3, problem.num_classes)
    hits = problem.hits(outputs, batch)
    assert hits is not None
    assert hits.tolist() == [float(row.argmax() == target) for row, target in zip(outputs, batch.targets, strict=True)]


def test_classes_fit_the_outputs() -> None:
    for name, first, num_classes in (("mnist_mlp", 0, 10), ("cifar100_3c3d", 0, 100), ("imagenet_vgg16", 1, 1000)):
        targets = made(name).sample(40 if name == "imagenet_vgg16" else 1000).targets
        assert isinstance(targets, Tensor)
        assert first <= targets.min() < targets.max() < first + num_classes
    classes = torch.arange(1000)
    rows = made("imagenet_vgg16").kept(Examples(classes, classes))
    assert torch.equal(rows.targets[classes], classes + 1)


def test_inception_uses_its_auxiliary_head_in_training_only() -> None:
    problem = made("imagenet_inception_v3")
    with torch.device("meta"):  # shapes alone
        net = problem.make_net()
        images = torch.empty(2, 3, 224, 224)
        trained, evaluated = net.train()(images), net.eval()(images)
    assert [tuple(logits.shape) for logits in trained] == [(2, 1001)] * 2
    assert evaluated.auxiliary is None
    logits, targets = torch.randn(4, 1001), torch.tensor([1, 5, 5, 1000])
    batch = Batch(torch.empty(4), targets)
    main = problem.losses(trained._replace(main=logits, auxiliary=None), batch)
    both = problem.losses(trained._replace(main=logits, auxiliary=logits), batch)
    assert torch.allclose(both, 1.4 * main)
    log_p = logits.log_softmax(1)
    smoothed = -0.9 * log_p[torch.arange(4), targets] - 0.1 * log_p.mean(dim=1)
    assert torch.allclose(main, smoothed, atol=1e-5)


def test_the_penalty_takes_no_bias_and_no_normalisation() -> None:
    for name in ("cifar10_3c3d", "svhn_wrn164", "imagenet_inception_v3", "cifar100_allcnnc"):
        problem = made(name)
        with torch.device("meta"):
            net = problem.make_net()
        free = {id(p) for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
        free |= {id(m.bias) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        if name == "imagenet_inception_v3":
            free |= {id(m.weight) for m in net.modules() if isinstance(m, nn.Linear)}
        for parameter_name, parameter in net.named_parameters():
            assert problem.is_regularized(parameter_name, parameter) == (id(parameter) not in free), parameter_name


# ---------------------------------------------------------------------- initial weights


def test_initial_weights_are_those_of_deepobs() -> None:
    torch.manual_seed(0)
    assert all(not p.any() for p in made("mnist_logreg").make_net().parameters())
    for name, deviation, bias in (("mnist_mlp", 0.03, 0.0), ("mnist_2c2d", 0.05, 0.05)):
        for parameter_name, p in made(name).make_net().named_parameters():
            if parameter_name.endswith("bias"):
                assert p.eq(bias).all(), parameter_name
            else:  # a normal cut at two deviations has 0.8796 of its deviation left
                assert p.abs().max() <= 2 * deviation, parameter_name
                assert p.std().item() == pytest.approx(0.8796 * deviation, rel=0.1), parameter_name


def test_glorot_is_normal_for_convolutions_and_uniform_for_dense_layers() -> None:
    torch.manual_seed(0)
    weights = dict(made("cifar10_3c3d").make_net().named_parameters())
    conv, dense = weights["conv2.weight"], weights["dense1.weight"]
    expected = math.sqrt(2 / (9 * (64 + 96)))
    assert conv.std().item() == pytest.approx(expected, rel=0.02)
    assert conv.abs().max() > 3 * expected
    bound = math.sqrt(6 / (1152 + 512))
    assert 0.999 * bound < dense.abs().max() <= bound
    assert not any(p.any() for name, p in weights.items() if name.endswith("bias"))
    biases = [p for name, p in made("cifar100_allcnnc").make_net().named_parameters() if name.endswith("bias")]
    assert all(p.eq(0.1).all() for p in biases)


def test_the_run_seeds_the_initial_weights() -> None:
    def weights(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(made("fmnist_2c2d").make_net().parameters())

    assert all(map(torch.equal, weights(1), weights(1)))
    assert not torch.equal(weights(1)[0], weights(2)[0])


def test_the_convex_problem_begins_at_the_loss_of_a_guess() -> None:
    problem = made("fmnist_logreg")
    batch = training_batch(problem, rows=20)
    losses = problem.losses(problem.forward(problem.make_net(), batch), batch)
    assert torch.allclose(losses, torch.full((20,), math.log(10)))


# ---------------------------------------------------------------------- padding


def padded_as_same(images: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's padding "same": an odd pixel goes to the far side."""
    size = images.shape[-1]
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return F.pad(images, (total // 2, total - total // 2) * 2)


def test_layers_are_aligned_as_in_deepobs() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        pooling = made("cifar10_3c3d").make_net()
        for pool, size in ((pooling.pool1, 28), (pooling.pool2, 12), (pooling.pool3, 6)):
            images = torch.rand(1, 2, size, size)
            assert torch.equal(pool(images), F.max_pool2d(padded_as_same(images, 3, 2), 3, 2))
        for halving in (made("cifar100_allcnnc").make_net().conv13, made("svhn_wrn164").make_net().groups[1][0].conv1):
            pad, conv = halving
            images = torch.rand(1, conv.in_channels, 32, 32)
            expected = F.conv2d(padded_as_same(images, 3, 2), conv.weight, conv.bias, 2)
            assert torch.allclose(conv(pad(images)), expected, atol=1e-6)
        drawing = made("mnist_vae").make_net()
        *_, pad, conv, _, _, _ = drawing.encoder
        images = torch.rand(1, 64, 7, 7)
        assert torch.equal(conv(pad(images)), conv(padded_as_same(images, 4, 1)))
        transposed, cut = next(layer for layer in drawing.decoder if isinstance(layer, nn.Sequential))
        images = torch.rand(1, 64, 14, 14)
        whole = F.conv_transpose2d(images, transposed.weight, transposed.bias)
        assert torch.allclose(cut(transposed(images)), whole[..., 2:-1, 2:-1], atol=1e-6)


# ---------------------------------------------------------------------- the autoencoder


def test_the_loss_of_the_autoencoder_is_error_plus_divergence() -> None:
    torch.manual_seed(0)
    images = torch.rand(5, 1, 28, 28)
    mean, log_deviation = torch.randn(5, 8), 0.3 * torch.randn(5, 8)
    code = torch.distributions.Normal(mean, log_deviation.exp())
    divergence = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(evidence_losses(Drawn(images, mean, log_deviation), images), divergence, atol=1e-4)
    shifted = evidence_losses(Drawn(images + 0.5, mean, log_deviation), images)
    assert torch.allclose(shifted, divergence + 784 * 0.25, rtol=1e-4)


def test_the_autoencoder_has_no_accuracy_and_its_targets_are_its_inputs() -> None:
    problem = made("mnist_vae")
    batch = training_batch(problem, rows=3)
    assert torch.equal(batch.inputs, batch.targets)
    drawn = problem.forward(problem.make_net(), batch)
    assert problem.hits(drawn, batch) is None
    assert drawn.images.shape == batch.inputs.shape
    assert drawn.images.min() >= 0
    assert drawn.images.max() <= 1


# ---------------------------------------------------------------------- data and augmentation


class Small(find("cifar10_3c3d", ["task"]).load()):  # type: ignore[misc]
    """CIFAR's problem with few rows."""

    valid_rows = 4


class SmallImageNet(find("imagenet_vgg16", ["task"]).load()):  # type: ignore[misc]
    """ImageNet's problem with few rows."""

    valid_rows = 2


def test_bytes_become_numbers_of_mean_0_only_when_a_batch_is_made() -> None:
    problem = Small()
    pictures = problem.sample(12)
    splits = problem.splits(pictures, pictures.take(torch.arange(3)))
    assert [split.num_rows for split in (splits.train, splits.train_eval, splits.valid, splits.test)] == [8, 4, 4, 3]
    assert isinstance(splits.train.inputs, Tensor)
    assert splits.train.inputs.dtype == torch.uint8
    seen = problem.transform(splits.test.inputs[torch.arange(3)])
    expected = (splits.test.inputs[torch.arange(3)].numpy() / 255 - np.reshape(problem.mean, (3, 1, 1))) / np.reshape(
        problem.deviation, (3, 1, 1)
    )
    assert np.allclose(seen.numpy(), expected, atol=1e-5)


def test_imagenet_is_cut_anywhere_in_training_and_from_the_middle_elsewhere() -> None:
    problem = SmallImageNet()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (5, 3, 256, 256), generator=generator, dtype=torch.uint8)
    rows = Examples(images, torch.arange(5))
    splits = problem.splits(rows, rows)
    every = torch.arange(5)
    assert torch.equal(splits.test.targets[every], torch.arange(1, 6))
    assert torch.equal(splits.test.inputs[every], images[:, :, 16:240, 16:240])
    assert splits.valid.inputs[torch.arange(2)].shape == (2, 3, 224, 224)
    train = splits.train.inputs[torch.arange(3)]
    assert train.shape == (3, 3, 256, 256)
    for seed in range(3):
        cut = problem.augment(problem.transform(train), np.random.default_rng(seed))
        assert cut.shape == (3, 3, 224, 224)
        assert torch.allclose(cut.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-4)
        assert torch.allclose(cut.std(dim=(1, 2, 3)), torch.ones(3), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), mirrored=st.booleans(), extra=st.integers(0, 4))
def test_a_window_is_a_part_of_its_picture(seed: int, mirrored: bool, extra: int) -> None:
    size = 6
    images = torch.arange(4 * 2 * (size + extra) ** 2).float().view(4, 2, size + extra, size + extra)
    windows = random_windows(images, size, np.random.default_rng(seed), mirrored=mirrored)
    assert windows.shape == (4, 2, size, size)
    for image, window in zip(images, windows, strict=True):
        parts = image.unfold(1, size, 1).unfold(2, size, 1).flatten(1, 2).transpose(0, 1)
        found = [part for part in parts for turned in (window, window.flip(-1)) if torch.equal(part, turned)]
        assert len(found) == 1
        assert mirrored or any(torch.equal(part, window) for part in parts)


def test_windows_are_everywhere_and_half_of_them_are_mirrored() -> None:
    columns = torch.arange(9.0).expand(4000, 1, 9, 9)
    windows = random_windows(columns, 5, np.random.default_rng(0), mirrored=True)[:, 0, 0]
    is_mirrored = windows[:, 0] > windows[:, 1]
    assert is_mirrored.float().mean().item() == pytest.approx(0.5, abs=0.03)
    shares = torch.bincount(windows.min(dim=1).values.long()) / 4000
    assert torch.allclose(shares, torch.full((5,), 0.2), atol=0.03)


def only(**one: float) -> Jitter:
    return Jitter(**{key: (one.get(key, 1.0),) * 2 for key in Jitter._fields})


def test_a_colour_jitter_of_ones_changes_nothing_and_ranges_hold() -> None:
    images = torch.rand(6, 3, 8, 8)
    assert torch.allclose(colours_jittered(images, only(), np.random.default_rng(0)), images, atol=1e-6)
    wild = colours_jittered(images, Jitter((0.0, 3.0), (0.0, 3.0), (0.0, 3.0)), np.random.default_rng(0))
    assert wild.min() >= 0
    assert wild.max() <= 1
    darker = colours_jittered(images, only(brightness=0.25), np.random.default_rng(0))
    assert torch.allclose(darker, images / 4, atol=1e-6)
    in_grey = colours_jittered(images, only(saturation=0.0), np.random.default_rng(0))
    assert torch.allclose(in_grey, in_grey[:, :1].expand_as(images), atol=1e-6)


@pytest.mark.parametrize("change", Jitter._fields)
@pytest.mark.parametrize("factor", [0.3, 1.7])
def test_a_colour_jitter_equals_pillows(change: str, factor: float) -> None:
    image = pytest.importorskip("PIL.Image")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    kinds = {"brightness": enhance.Brightness, "contrast": enhance.Contrast, "saturation": enhance.Color}
    expected = np.asarray(kinds[change](image.fromarray(pixels)).enhance(factor)) / 255
    ours = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None]
    found = colours_jittered(ours, only(**{change: factor}), np.random.default_rng(0))[0].permute(1, 2, 0)
    assert np.abs(found.numpy() - expected).max() < 1.5 / 255


def test_augmentation_follows_its_generator_and_differs_between_pictures() -> None:
    problem = made("cifar10_3c3d")
    same = problem.transform(problem.sample(1).inputs[torch.zeros(8, dtype=torch.long)])
    first, again, other = (problem.augment(same, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({float(picture.sum()) for picture in first}) == 8
    assert torch.equal(same, problem.transform(problem.sample(1).inputs[torch.zeros(8, dtype=torch.long)]))


# Classes, rows that validate, and in colour: mean of the red channel, whether mirrored.
SOURCES = {
    "mnist": (10, 10_000),
    "fmnist": (10, 10_000),
    "cifar10": (10, 10_000, 0.49139968, True),
    "cifar100": (100, 10_000, 0.50707516, True),
    "svhn": (10, 26_032, 0.4376821, False),
    "imagenet": (1000, 50_000),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_known_of_a_source_holds_for_every_problem_on_it(name: str) -> None:
    problem = made(name)
    known = (problem.num_classes, problem.valid_rows)
    if hasattr(problem, "mean"):
        known += (problem.mean[0], problem.is_mirrored)
    assert problem.source == name.partition("_")[0]
    assert known == SOURCES[problem.source]


@pytest.mark.parametrize("name", ["fmnist_2c2d", "svhn_3c3d", "imagenet_vgg16"])
def test_absent_data_are_said_before_anything_is_read(name: str, tmp_path: Path) -> None:
    problem = made(name)
    problem.data_dir = tmp_path
    with pytest.raises(DataError, match=str(tmp_path)):
        problem.read()
    with pytest.raises(DataError, match=str(tmp_path)):
        problem.fingerprint()


@pytest.mark.parametrize("name", ["mnist_logreg", "fmnist_2c2d", "mnist_vae"])
def test_real_data_are_learned_from(name: str, data_dir: Path) -> None:
    problem = made(name)
    problem.data_dir = data_dir
    splits = problem.read()
    sizes = [split.num_rows for split in (splits.train, splits.train_eval, splits.valid, splits.test)]
    assert sizes == [50_000, 10_000, 10_000, 10_000]
    torch.manual_seed(0)
    net = problem.make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=4e-3 if name == "mnist_vae" else 0.03)
    losses = []
    for step in range(20):
        rows = torch.arange(step * 32, (step + 1) * 32)
        batch = Batch(problem.transform(splits.train.inputs[rows]), splits.train.targets[rows])
        loss = problem.losses(problem.forward(net, batch), batch).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
