"""Targets: regions and resolutions."""

from __future__ import annotations

import numpy as np
import pytest

import medsataug as msa
from medsataug import targets
from medsataug.errors import ConfigError


def label(shape=(7, 12, 10)):
    return np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)


def test_regions_may_overlap():
    given = label()
    got = targets.regions(given, [[1, 2, 3], [2, 3], 3])
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[0], given > 0)
    np.testing.assert_array_equal(got[1], given > 1)
    np.testing.assert_array_equal(got[2], given == 3)


def test_resolutions_are_nearest_by_centres():
    given = np.arange(8)[None].repeat(8, axis=0)
    one, half, quarter = targets.deep_supervision(given, [1, 0.5, 0.25])
    np.testing.assert_array_equal(one, given)
    assert half[0].tolist() == [1, 3, 5, 7]
    assert quarter[0].tolist() == [2, 6]
    assert quarter.shape == (2, 2)


def test_each_axis_has_its_own_scale_and_layers_stay():
    given = label((2, 6, 12, 10))
    (got,) = targets.deep_supervision(given, [[1, 0.5, 0.25]])
    assert got.shape == (2, 6, 6, 2)
    np.testing.assert_array_equal(got, given[:, :, 1::2][:, :, :, [2, 7]])


def test_pytorchs_rule():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    for size in (5, 7, 31, 48, 100, 255):
        given = np.arange(size)
        for scale in (0.5, 0.25, 0.3, 0.125, 0.77):
            new = round(size * scale)
            if new < 1:
                continue
            tensor = torch.from_numpy(given)[None, None].float()
            want = torch.nn.functional.interpolate(tensor, new, mode="nearest-exact")[0, 0].numpy()
            (got,) = targets.deep_supervision(given, [scale])
            np.testing.assert_array_equal(got, want)


def test_peers():
    pytest.importorskip("batchgeneratorsv2", reason="batchgeneratorsv2 is not installed")
    import torch
    from batchgeneratorsv2.transforms.utils import deep_supervision_downsampling as down
    from batchgeneratorsv2.transforms.utils import seg_to_regions

    given = torch.from_numpy(label((1, 9, 12, 10)).astype(np.int16))
    scales = [[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 0.25]]
    want = down.DownsampleSegForDSTransform(scales)._apply_to_segmentation(given)
    for a, b in zip(targets.deep_supervision(given.numpy(), scales), want, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    listed = ((1, 2, 3), (2, 3), 3)
    want = seg_to_regions.ConvertSegmentationToRegionsTransform(listed)
    got = targets.regions(given.numpy()[0], listed)
    np.testing.assert_array_equal(got, want._apply_to_segmentation(given).numpy())


def test_of_a_sample():
    layers = label((2, 6, 12, 10))
    sample = msa.Sample(image=np.zeros((1, 6, 12, 10), np.float32), label=layers, axes="CZYX")
    whole, half = targets.deep_supervision(sample, [1, 0.5])
    np.testing.assert_array_equal(whole, layers)
    np.testing.assert_array_equal(half, layers[:, 1::2, 1::2, 1::2])
    with pytest.raises(ConfigError, match="no label"):
        targets.deep_supervision(sample.replace(label=None), [1])


@pytest.mark.parametrize("scales", [[2], [0.01], [[0.5, 0.5], 1, [1, 1, 1]], [[1, 1, 1, 1]]])
def test_mistakes_are_named(scales):
    with pytest.raises(ConfigError, match="deep_supervision"):
        targets.deep_supervision(label(), scales)
    with pytest.raises(ConfigError, match="regions"):
        targets.regions(label(), [])


def test_data_set():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    from torch.utils.data import DataLoader

    from medsataug.torch import Dataset

    image = np.random.default_rng(0).normal(size=(8, 12, 10)).astype(np.float32)
    case = msa.Sample(image=image, label=label((8, 12, 10)), axes="ZYX", spacing=(1, 1, 1))
    plain = Dataset([case])[0]["label"]
    data = Dataset([case], deep_supervision=[1, [0.5, 0.5, 0.5]], regions=[[1, 2], 3])
    item = data[0]["label"]
    assert [tuple(part.shape) for part in item] == [(2, 8, 12, 10), (2, 4, 6, 5)]
    assert torch.equal(item[0][1], (plain == 3).long())
    soft = np.stack([case.label == k for k in range(4)]).astype(np.float32)
    parts = Dataset([case.replace(soft=soft)], deep_supervision=[1, 0.5])[0]
    assert [tuple(part.shape) for part in parts["soft"]] == [(4, 8, 12, 10), (4, 4, 6, 5)]
    assert all(
        torch.equal(a.argmax(0), b) for a, b in zip(parts["soft"], parts["label"], strict=True)
    )
    (batch,) = DataLoader(data, batch_size=1)
    assert [tuple(part.shape) for part in batch["label"]] == [(1, 2, 8, 12, 10), (1, 2, 4, 6, 5)]


@pytest.mark.parametrize(
    "values", [{1, 2}, frozenset((1, 2)), (1, 2), range(1, 3), np.array([1, 2])]
)
def test_values_of_a_region_are_listed_in_any_way(values):
    made = targets.regions(np.array([[0, 1], [2, 3]]), [values, np.int64(3)])
    assert made.tolist() == [[[0, 1], [1, 0]], [[0, 0], [0, 1]]]


def test_scales_are_numbers_of_any_type():
    for scale in (np.float32(0.5), np.float64(0.5), np.array([1, 0.5, 0.5])):
        (made,) = targets.deep_supervision(label(), [scale])
        np.testing.assert_array_equal(
            made, targets.deep_supervision(label(), [np.asarray(scale).tolist()])[0]
        )
    with pytest.raises(ConfigError, match="deep_supervision"):
        targets.deep_supervision(label(), [float("nan")])


class Lazy:
    """Label that is read piece by piece."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self, window):
        return self.array[(slice(None), *window)]

    def read_valid(self, window):
        return None


@pytest.mark.parametrize("layers", [1, 2])
def test_lazy_labels_are_read(layers):
    stored = label((layers, 12, 10))
    sample = msa.Sample(np.zeros((12, 10), np.float32), axes="YX")
    sample = sample.replace(label=Lazy(stored))
    whole = stored[0] if layers == 1 else stored
    (made,) = targets.deep_supervision(sample, [0.5])
    np.testing.assert_array_equal(made, whole[..., 1::2, 1::2])
