"""Cases: found, split, and refused by name where they cannot be trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import medsataug as msa

pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
from medsataug.train.config import Settings, patch_of
from medsataug.train.data import as_cases, survey
from medsataug.train.prepare import for_prediction, for_training, normalised
from tests.train.small import case, cases


def surveyed(training: list[Any], test: list[Any] = ()) -> Any:  # type: ignore[assignment]
    return survey(as_cases(training), as_cases(test), msa.Pipeline())


def refused(message: str, training: list[Any], test: Any = (), **settings: Any) -> None:
    with pytest.raises(msa.MedSatAugError, match=message):
        Settings(**settings).completed(surveyed(training, test))


def test_a_case_without_its_label() -> None:
    refused(r"^case 'x': without its label", [case(0), case(1).replace(id="x", label=None)])


def test_cases_that_do_not_match() -> None:
    flat, deep = case(0), case(1, shape=(9, 30, 34))
    refused(r"^case 'ball 1': 1 channel\(s\) in 3D, but 1 in 2D in case 'ball 0'", [flat, deep])
    refused(r"^'ball 0': to train and to test with", [flat], [flat])
    refused(r"^cases: 'ball 0' given more than once", [flat, flat])
    refused(r"^no case to train with", [])
    infinite = flat.replace(image=np.where(flat.image > 60, np.inf, flat.image))
    refused(r"^case 'ball 0': infinite values", [infinite])
    refused(r"^case 'ball 0': infinite values", [flat.replace(image=flat.image * np.nan)])
    refused(r"^cases\[0\]: 'a.nii.gz'; a Sample or an \(image, label\) pair", ["a.nii.gz"])
    refused(r"^case 'missing': .*missing.nii.gz", [("missing.nii.gz", "missing-label.nii.gz")])


def test_classes_that_nothing_can_be_learnt_of() -> None:
    one = [case(k, classes=1) for k in range(3)]
    refused(
        r"^class\(es\) \[2\]: no voxel in any of the 3 training cases, only in the test case\(s\) "
        r"'ball 5'",
        one,
        [case(5)],
    )
    refused(r"^class\(es\) \[2\]: no voxel .* in no case", one, labels=(0, 1, 2))
    refused(r"^class\(es\) \[3\]: no voxel", cases(2), regions=((1, 2, 3), 3))
    refused(r"^case 'ball 0': label value\(s\) \[2\]", cases(2), labels=(0, 1))
    refused(
        r"^Settings.labels: \[0\]; two or more",
        [case(0).replace(label=np.zeros((30, 34), np.uint8))],
    )


@pytest.mark.parametrize("patch", [(16,), (16, 16, 16), (2, 16)])
def test_patches_that_do_not_fit(patch: tuple[int, ...]) -> None:
    refused(r"^Settings.patch: .*; 2 numbers of 4 or more \(y, x\) expected", cases(2), patch=patch)


def test_default_patches() -> None:
    assert patch_of((35, 51, 36), (1, 1, 1), 4) == (40, 56, 40)
    assert patch_of((512, 512), (1, 1), 4) == (256, 256)
    thin = patch_of((18, 320, 320), (4, 1, 1), 4)
    assert thin[0] == 20
    assert np.prod(thin) < 1.3 * 64**3
    cube = patch_of((200, 400, 400), (2, 1, 1), 4)
    np.testing.assert_allclose(np.array(cube) * (2, 1, 1), np.mean(cube[1:]), rtol=0.15)


def test_prediction_sees_what_leaves_nothing_to_chance() -> None:
    recipe = msa.Pipeline(
        [
            {"resample": {"spacing": "2mm"}},
            {"rotate": {"degrees": [-5, 5]}},
            {"clip": {"low": 0, "high": 100}},
            {"gamma": {"exponent": [0.8, 1.2]}},
            {"normalize": {"method": "minmax"}},
            {"gaussian_noise": {"std": "5%", "p": 0.5}},
        ]
    )
    made = for_prediction(*normalised(recipe)[:1], case(0), (40, 16))
    names = [type(t).__name__ for t in made.transforms]
    assert names == ["Resample", "Clip", "Pad", "Normalize"]
    assert normalised(recipe)[1]
    bare, whether = normalised(msa.Pipeline([{"flip": {}}]))
    assert (type(bare.transforms[-1]).__name__, whether) == ("Normalize", False)


def test_patches_of_training_and_prediction_are_filled_alike() -> None:
    sample = case(0, shape=(20, 20))
    pipeline, _ = normalised(msa.Pipeline(fill=-50))
    train = for_training(pipeline, (32, 32), 0.0)(sample, seed=1)
    still = for_prediction(pipeline, sample, (32, 32))(sample, seed=1)
    np.testing.assert_array_equal(train.image, still.image)
    assert train.image.shape == (1, 32, 32)


def test_a_recipes_own_patch_gets_the_size_and_keeps_the_rest() -> None:
    made = for_training(msa.Pipeline.load("nnunet"), (32, 40, 24), 0.9)
    patch = made.transforms[0]
    assert (patch.size, patch.foreground) == ((32, 40, 24), 0.33)
    added = for_training(msa.Pipeline.load("mri"), (32, 40, 24), 0.9)
    names = [type(t).__name__ for t in added.transforms]
    assert names.index("Patch") == names.index("Flip") + 1
    assert added.transforms[names.index("Patch")].foreground == 0.9


def test_every_packaged_recipe_has_a_part_without_chance() -> None:
    volume = cases(1)[0]
    for name in ("mri", "nnunet", "nnunet-da5", "nnunet-elastic"):
        made = for_prediction(msa.Pipeline.load(name), volume, None)
        assert made.plan(volume, seed=0) is not None
