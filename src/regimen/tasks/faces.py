"""Face recognition: people of a folder, and generated ones; judged by people whom training has not seen.

Training people's pictures are split into those to train on and those to compare architectures on; both have the same
classes, so that every criterion is defined on them. The people of the test split are others, so only distances between
embeddings say something about them (`judged`): this is the protocol of OSNASLib's face agents, CASIA-WebFace to search
on and LFW to judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from regimen.nas.faces import Indices, Numbers, identification, make_pairs, split_people, verification
from regimen.nas.images import Pictures, PictureSplits
from regimen.nas.peoplefolder import read_people
from regimen.nas.supernettask import SupernetTask
from regimen.randomness import derived_generator


class _Recognition(SupernetTask):
    """What both have in common. Inputs are (B, C, size, size), about -1 to 1."""

    test_people: Annotated[float, Field(gt=0, lt=1, description="part of the people whom training does not see")] = 0.25
    valid_part: Annotated[
        float, Field(gt=0, lt=1, description="part of each training person's pictures that compare architectures")
    ] = 0.25
    pairs: Annotated[int, Field(ge=20, description="pairs of test pictures, half of one person")] = 6000
    folds: Annotated[int, Field(ge=2, description="folds of these pairs; a threshold is chosen on the others")] = 10
    split_seed: Annotated[int, Field(ge=0, description="of the splits and pairs; the run's seed has no part in it")] = 0

    def people(self) -> Pictures:
        """All pictures, with the people's numbers as classes."""
        raise TypeError(f"{type(self).__name__} has no people()")

    def read(self) -> PictureSplits:
        inputs, people = self.people()
        generator = derived_generator(self.split_seed, "people")
        trained, tested = split_people(people, (1 - self.test_people, self.test_people), generator)
        held = np.concatenate([self._held(rows, generator) for rows in _by_person(trained, people)])
        kept = np.setdiff1d(trained, held)
        return PictureSplits(
            *(
                _renumbered(inputs, people, rows, whole)
                for rows, whole in ((kept, trained), (np.sort(held), trained), (tested, tested))
            )
        )

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        """Mirrored at random."""
        mirrored = torch.from_numpy(generator.random(len(inputs)) < 0.5).to(inputs.device)
        return torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)

    judges_embeddings = True

    def judged(self, embeddings: Tensor) -> dict[str, float]:
        """What embeddings (N, D) of the test pictures, in order, are worth.

        `accuracy` is that of verification, `spread` its deviation between folds, `identification` the part of the
        pictures whose nearest other is of the same person. Raises `DataError` where there are too few people for pairs.
        """
        classes_N = self.splits.test.classes.numpy()
        generator = derived_generator(self.split_seed, "pairs")
        pairs = make_pairs(classes_N, generator, num_pairs=self.pairs, folds=self.folds)
        points_ND = embeddings.detach().cpu().double().numpy()
        verified = verification(points_ND, pairs)
        found = identification(points_ND, classes_N)
        return {"accuracy": verified.accuracy, "spread": verified.spread, "identification": found.accuracy}

    def _held(self, rows: Indices, generator: np.random.Generator) -> Indices:
        number = min(max(1, round(self.valid_part * len(rows))), len(rows) - 1)
        return generator.permutation(rows)[:number]


class Faces(_Recognition):
    """Pictures of faces, cut out and aligned, in a folder with one folder a person."""

    name = "faces"
    num_epochs = 40

    data_dir: Annotated[Path, Field(description="the folder; in it one folder a person")]
    size: Annotated[int, Field(ge=8, le=512, description="points of a side")] = 112
    grey: Annotated[bool, Field(description="one channel instead of three")] = False
    max_people: Annotated[int | None, Field(ge=4, description="only the first so many, by name")] = None
    max_pictures: Annotated[int | None, Field(ge=2, description="only so many of each person")] = None

    def people(self) -> Pictures:
        folder = self.data_dir.expanduser()
        found = read_people(folder, self.size, grey=self.grey, most=self.max_pictures, people=self.max_people)
        return Pictures(found.pictures.float() / 127.5 - 1, found.people)


class FaceLike(_Recognition):
    """Generated faces: spots for eyes, brows, nose, mouth and head, whose places and sizes make a person.

    Pictures of a person differ by expression, light, place and noise. For tests and demonstrations.
    """

    name = "face_like"
    num_epochs = 20

    num_people: Annotated[int, Field(ge=4, description="different people")] = 120
    num_pictures: Annotated[int, Field(ge=2, description="of each")] = 12
    size: Annotated[int, Field(ge=8, le=128, description="points of a side")] = 16
    noise: Annotated[float, Field(ge=0, description="deviation of what is added to each point, of a range of 2")] = 0.1
    pairs: Annotated[int, Field(ge=20, description="pairs of test pictures, half of one person")] = 1000
    folds: Annotated[int, Field(ge=2, description="folds of these pairs; a threshold is chosen on the others")] = 5
    data_seed: Annotated[int, Field(ge=0, description="of the pictures; the run's seed has no part in it")] = 0

    def people(self) -> Pictures:
        generator = derived_generator(self.data_seed, "face like", self.num_people, self.num_pictures, self.size)
        number = np.repeat(np.arange(self.num_people), self.num_pictures)
        # Axes: people or pictures, spots, and the five features of a spot.
        person_PSF = _FACE + generator.normal(size=(self.num_people, *_FACE.shape)) * _BETWEEN
        picture_NSF = person_PSF[number] + generator.normal(size=(len(number), *_FACE.shape)) * _WITHIN
        picture_NSF[:, :, :2] += generator.normal(size=(len(number), 1, 2)) * 0.12
        drawn_NHW = _drawn(picture_NSF, self.size) * generator.uniform(0.7, 1.3, (len(number), 1, 1))
        slope_NF = generator.normal(size=(len(number), 2)) * 0.3
        axis = np.linspace(-1, 1, self.size)
        drawn_NHW += slope_NF[:, :1, None] * axis[:, None] + slope_NF[:, 1:, None] * axis
        drawn_NHW += generator.normal(size=drawn_NHW.shape) * self.noise
        return Pictures(torch.from_numpy(drawn_NHW[:, None].astype(np.float32)), torch.from_numpy(number))


# The features of a spot: x, y, width, height, brightness, on a square from -1 to 1.
_FACE = np.array(
    [
        (0.0, 0.0, 0.55, 0.7, 0.8),  # head
        (-0.3, -0.25, 0.12, 0.08, -1.0),  # eyes
        (0.3, -0.25, 0.12, 0.08, -1.0),
        (-0.3, -0.45, 0.18, 0.05, -0.7),  # brows
        (0.3, -0.45, 0.18, 0.05, -0.7),
        (0.0, 0.05, 0.08, 0.2, 0.5),  # nose
        (0.0, 0.45, 0.25, 0.07, -0.9),  # mouth
    ]
)
_BETWEEN = np.array([0.08, 0.08, 0.06, 0.06, 0.6])
"""How much people differ, as deviations of what a spot is."""
_WITHIN = np.array([0.02, 0.02, 0.01, 0.01, 0.05])
"""How much pictures of one person differ."""


def _drawn(spots_NSF: Numbers, size: int) -> Numbers:
    """(N, H, W): the sum of the spots, on a square from -1 to 1."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y, width, height, brightness = (spots_NSF[:, :, part, None] for part in range(5))
    across_NSW = np.exp(-(((axis - x) / np.maximum(width, 0.03)) ** 2) / 2)
    down_NSH = np.exp(-(((axis - y) / np.maximum(height, 0.03)) ** 2) / 2)
    drawn_NHW: Numbers = np.einsum("nsh,nsw->nhw", brightness * down_NSH, across_NSW)
    return drawn_NHW


def _by_person(rows: Indices, people: Tensor) -> list[Indices]:
    whose = people.numpy()[rows]
    return [rows[whose == person] for person in np.unique(whose)]


def _renumbered(
    inputs: Tensor,
    people: Tensor,
    rows: Indices,
    whole: Indices,
) -> Pictures:
    """Some rows, their people numbered from 0 among those of `whole`."""
    names = np.unique(people.numpy()[whole])
    classes = np.searchsorted(names, people.numpy()[rows])
    return Pictures(inputs[torch.from_numpy(rows)], torch.from_numpy(classes))
