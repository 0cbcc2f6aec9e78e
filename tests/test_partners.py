"""Partners: who is drawn, when they are loaded, whom to refuse, and that mixes replay."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medsataug as msa
from medsataug.cases import find
from medsataug.draws import Draws
from medsataug.feed import Items
from medsataug.partners import Partners, listed
from medsataug.types import Sample
from tests import phantoms
from tests.commands import call, contents, write_nifti
from tests.harness import assert_same

MIX = msa.CutMix(alpha=5)


def named(*ids: str, **changes: Any) -> list[Sample]:
    """Phantoms of different content."""
    return [
        phantoms.sample(3, image=phantoms.image(3) + 1 + n, **changes).replace(id=name)
        for n, name in enumerate(ids)
    ]


def test_each_is_drawn_alike_and_never_the_sample_itself():
    made = named("a", "b", "c", "d")
    partners = Partners.of(made)
    found = Counter(partners.draw(Draws(1, n), made[1])[0] for n in range(600))
    assert set(found) == {"a", "c", "d"}
    assert min(found.values()) > 150
    # Nor is it under another name.
    twice = Partners([made[0], made[1].replace(id="again")])
    assert {twice.draw(Draws(1, n), made[1])[0] for n in range(20)} == {"a"}
    with pytest.raises(msa.ConfigError, match="none but the sample itself"):
        MIX(made[1], seed=1, partners=[made[1].replace(id="again")])


def test_they_are_loaded_when_drawn_and_a_few_are_kept():
    made, loaded = named(*"abcdef"), []

    def case(number: int) -> Any:
        return lambda: loaded.append(number) or made[number].replace(id="")

    partners = Partners([case(n) for n in range(6)], keep=2)
    assert partners.ids == tuple(f"partner {n}" for n in range(6))
    assert loaded == []
    sample = phantoms.sample(3)
    plan = msa.Pipeline([MIX]).plan(sample, 1, partners=partners)
    assert len(loaded) == 1
    plan(sample)
    assert len(loaded) == 1
    for name in ("partner 0", "partner 1", "partner 0", "partner 2", "partner 0"):
        partners[name]
    assert [*partners._kept] == ["partner 2", "partner 0"]
    assert loaded[-2:] == [1, 2]  # the one used all the time stayed
    assert not pickle.loads(pickle.dumps(Partners(made)))._kept


def test_paths_pairs_and_names(tmp_path: Path):
    rng = np.random.default_rng(0)
    image = write_nifti(tmp_path / "i.nii.gz", rng.random((9, 8, 7)).astype(np.float32))
    label = write_nifti(tmp_path / "l.nii.gz", np.ones((9, 8, 7), np.uint8))
    partners = Partners.of([image, str(image), (image, label), named("x")[0]])
    assert partners.ids == ("partner 0", "partner 1", "partner 2", "x")
    assert partners["partner 2"].id == "partner 2"
    assert partners["partner 2"].label.all()
    assert partners["partner 0"].label is None
    by_name = Partners.of({"one": image, "two": named("x")[0]})
    assert list(by_name) == ["one", "two"]
    for wrong, message in (
        ([], "a list"), ("a.nii", "a list"), (named("a")[0], "a list"),
        (named("a", "a"), "two are called 'a'"),
    ):  # fmt: skip
        with pytest.raises(msa.ConfigError, match=message):
            Partners.of(wrong)
    with pytest.raises(msa.ConfigError, match="not a Sample"):
        MIX(phantoms.sample(3), seed=1, partners=[lambda: 5])


def refused(partner: Sample, *before: Any, sample: Sample | None = None) -> str:
    sample = phantoms.sample(3) if sample is None else sample
    with pytest.raises((msa.ConfigError, msa.GeometryError)) as error:
        msa.Pipeline([*before, MIX]).plan(sample, 1, partners=[partner])
    return str(error.value)


def test_unlike_partners_are_refused():
    partner = phantoms.partners(phantoms.sample(3))[0]
    small = msa.Crop(size=9)(partner, seed=0)
    assert "transforms[0] CutMix: partner 'partner 0' is [9, 9, 9] there" in refused(small)
    assert "Patch or Resize" in refused(small)
    sizes = msa.Grid(partner.grid.shape, partner.grid.affine * 1.2, partner.grid.world,
                     partner.grid.metres)  # fmt: skip
    other = partner.replace(grid=sizes)
    assert "voxels of 3.6 x 1.2 x 1.8 mm, the sample of 3 x 1 x 1.5 mm" in refused(other)
    assert "Resample" in refused(other, msa.Patch(size=8))
    for before in ([msa.Resample(spacing=2), msa.Patch(size=8)], [msa.Resize(size=8)]):
        plan = msa.Pipeline([*before, MIX]).plan(phantoms.sample(3), 1, partners=[other])
        assert plan(phantoms.sample(3)).image.shape == (3, 8, 8, 8)
    # A change of scale is not another voxel size.
    msa.Pipeline([msa.Scale(factor=(0.7, 1.3)), MIX], geometry="exact").plan(
        phantoms.sample(3), 1, partners=[partner]
    )
    assert "channels t2, t1, flair" in refused(partner.replace(channels=partner.channels[::-1]))
    one = partner.replace(image=partner.image[:1], channels=partner.channels[:1])
    assert "channels flair, the sample" in refused(one)
    assert "no label" in refused(partner.replace(label=None))
    bare = phantoms.sample(3, label=None)
    msa.Pipeline([MIX]).plan(bare, 1, partners=[partner.replace(label=None)])(bare)
    with pytest.raises(msa.ConfigError, match="no label, which says"):
        msa.ClassMix()(bare, seed=1, partners=[partner.replace(label=None)])


def test_without_partners_the_message_says_what_to_give():
    with pytest.raises(msa.ConfigError) as error:
        MIX(phantoms.sample(3), seed=1)
    message = str(error.value)
    assert message.startswith("transforms[0] CutMix: other samples are needed")
    assert "partners=" in message
    assert "--partners" in message


def test_a_plan_read_again_needs_the_same_partners():
    sample, made = phantoms.sample(3), named("a", "b")
    pipeline = msa.Pipeline(
        [msa.Rotate(degrees=(-20, 20)), msa.Mosaic(), msa.GaussianNoise(std=3), msa.CopyPaste()]
    )
    plan = pipeline.plan(sample, 4, partners=made)
    expected = plan(sample)
    text = plan.to_json()
    again = msa.Plan.from_json(text)
    assert again.to_json() == text
    assert_same(again(sample, {"a": made[0], "b": made[1]}), expected)
    assert_same(again(sample, made[::-1]), expected)
    assert_same(pickle.loads(pickle.dumps(plan))(sample), expected)
    with pytest.raises(msa.ConfigError, match="give it as partners="):
        again(sample)
    with pytest.raises(msa.ConfigError, match="content digest"):
        again(sample, {"a": made[1], "b": made[0]})


def test_a_patch_of_the_command_line_stands_before_the_mix():
    large = phantoms.sample(
        3, image=phantoms.image(3, shape=(20, 20, 20)), label=phantoms.label(3, shape=(20, 20, 20)),
        grid=phantoms.grid(3, (20, 20, 20)),
    )  # fmt: skip
    pipeline = msa.Pipeline([MIX, msa.Gamma()]).with_patch([8])
    plan = pipeline.plan(phantoms.sample(3), 1, partners=[large.replace(id="large")])
    assert plan(phantoms.sample(3)).image.shape == (3, 8, 8, 8)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three cases in a folder of images and one of labels, and a recipe that mixes."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for n in range(3):
        label = np.zeros((12, 11, 10), np.uint8)
        label[n + 1 : n + 6, 2:7, 3:8] = n + 1
        image = rng.integers(0, 900, label.shape).astype(np.int16)
        write_nifti(tmp_path / "images" / f"case{n}_0000.nii.gz", image)
        write_nifti(tmp_path / "labels" / f"case{n}.nii.gz", label)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "mix.yaml").write_text("- flip: {axes: x}\n- mosaic: {}\n- carve_mix: {}\n")
    return tmp_path


def test_mixes_on_the_command_line(folders: Path):
    image, label = folders / "images" / "case1_0000.nii.gz", folders / "labels" / "case1.nii.gz"
    case = (image, "--label", label)
    others = ("--partners", folders / "images", "--partner-labels", folders / "labels")
    out = folders / "out"
    asked = ("augment", *case, "-r", folders / "mix.yaml", "-n", 2, "--out", out, "--preview")
    done = call(*asked, *others)
    assert (done.code, done.err) == (0, "")
    assert call(*asked, *others, "--json").json["copies"][1]["skipped"]
    record = json.loads((out / "copy_0000" / "record.json").read_text())
    used = [s["partner"] for part in record["plan"]["segments"] for s in part["steps"]]
    assert len(used) == 4
    assert set(used) == {"partner 0", "partner 2"}  # never itself
    assert "partners" not in record["plan"]
    replayed = folders / "replayed"
    again = call("replay", out / "copy_0000" / "record.json", *case, *others, "--out", replayed)
    assert (again.code, again.err) == (0, "")
    assert contents(replayed) == contents(out / "copy_0000")
    without = call(*asked)
    assert without.code == 2
    assert "--partners" in without.err
    shuffled = [
        part
        for n in (2, 1, 0)
        for part in (
            *("--partners", folders / "images" / f"case{n}_0000.nii.gz"),
            *("--partner-labels", folders / "labels" / f"case{n}.nii.gz"),
        )
    ]
    wrong = call("replay", out / "copy_0000" / "record.json", *case, *shuffled,
                 "--out", folders / "no")  # fmt: skip
    assert wrong.code == 2
    assert "is not the one it was made for" in wrong.err
    told = call("explain", *case, "-r", folders / "mix.yaml", *others)
    assert "Mosaic: centre" in told.out
    assert call("explain", *case, "-r", folders / "mix.yaml", *others, "--time").code == 0


def test_files_of_a_case_belong_together(folders: Path):
    images = [folders / "images"]
    assert len(listed(images, [], 1)) == len(listed(images, [], 3)) * 3 == 3
    assert listed(images, [folders / "labels" / "case2.nii.gz"], 3)["partner 0"].label.max() == 3
    for labels, files in (([], 2), ([folders / "labels"], 3)):
        with pytest.raises(msa.ConfigError, match="3 image file"):
            listed(images, labels, files)


def test_a_recipe_with_mix_up_says_that_probabilities_stay_behind(folders: Path):
    (folders / "up.yaml").write_text("- mix_up: {classes: 4}\n")
    sample = msa.load(folders / "images" / "case0_0000.nii.gz", folders / "labels/case0.nii.gz")
    from medsataug import copies

    others = listed([folders / "images"], [folders / "labels"], 1)
    with pytest.warns(msa.MedSatAugWarning, match="soft"):
        copies.write(
            sample, msa.Pipeline.load(folders / "up.yaml"), folders / "o", count=2, seed=1,
            partners=others,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dataset_mixes_its_own_cases(folders: Path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (medsataug[torch])")
    from medsataug.torch import Dataset

    images, labels = ([*sorted(p.iterdir())][:3] for p in (folders / "images", folders / "labels"))
    cases = [*zip(map(str, images), map(str, labels), strict=True)]
    pipeline = msa.Pipeline([msa.Flip(axes="x"), msa.Mosaic(), msa.MixUp(classes=4, p=0.5)])
    data = Dataset(cases, pipeline, seed=3, repeat=2)
    assert len(data.items._kept) == 0
    items = [data[n] for n in range(6)]
    assert all(item["soft"].shape == (4, 10, 11, 12) for item in items)
    assert any(((item["soft"] > 0) & (item["soft"] < 1)).any() for item in items)
    fresh = pickle.loads(pickle.dumps(Dataset(cases, pipeline, seed=3, repeat=2, cache=False)))
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(fresh, batch_size=None, num_workers=workers)
        for got, expected in zip(loader, items, strict=True):
            assert got.keys() == expected.keys()
            assert all(torch.equal(got[k], expected[k]) for k in got)
    used = {s.partner for n in range(6) for s in _mixes(data, n)}
    assert used == {"case 0", "case 1", "case 2"}
    others = Dataset(cases, pipeline, seed=3, partners=named("z"))
    assert list(others.partners) == ["z"]
    assert Dataset(cases, msa.Pipeline([msa.Gamma()])).partners is None


def _mixes(data: Any, number: int) -> list[Any]:
    case = data.items._loaded(data.items._case_of(number, number))
    plan = data.items.pipeline.plan(case, data.seed, number, partners=data.partners)
    found = [s for part in plan.segments for s in part.steps]
    assert all(step.partner != case.id for step in found)
    return found


@pytest.mark.parametrize(
    "given",
    [5, [5], [np.zeros((4, 4))], [("a", "b", "c")], [None], [("a", 5)], {"x": 5}, [[]], object()],
)
def test_what_is_no_list_of_cases_is_refused(given: Any) -> None:
    with pytest.raises(msa.ConfigError, match="partners: a list of samples, paths"):
        MIX(phantoms.sample(3), seed=1, partners=given)


def test_names_are_as_many_as_cases() -> None:
    with pytest.raises(msa.ConfigError, match="1 ids for 2 cases"):
        Partners(named("a", "b"), ids=["x"])
    assert (
        Partners.of([("i", None), (["i", "j"], "l"), ["i", "j"], Path("i")]).ids[3] == "partner 3"
    )


@pytest.mark.parametrize("name", ["", "a"])
def test_images_that_are_empty_where_a_few_rows_are_read_are_not_the_same(name: str) -> None:
    made = np.zeros((2, 1, 512, 512), np.float32)
    made[0, :, 3:8, 5:9], made[1, :, 100:104, 7:30] = 1, 2
    a, b = (msa.Sample(image, axes="CYX", id=i) for image, i in zip(made, (name, ""), strict=True))
    assert a.content == b.content
    for index in range(5):
        plan = msa.Pipeline([MIX]).plan(a, 1, index, partners=[b, a.replace(id="again")])
        (step,) = plan.segments[0].steps
        assert step.partner == b.key
    gaps = [s.replace(image=np.where(made[0] > 0, np.nan, made[0])) for s in (a, b)]
    with pytest.raises(msa.ConfigError, match="none but the sample itself"):
        MIX(gaps[0], seed=1, partners=[gaps[1].replace(id="again")])


class Blank:
    """Lazy image that says nothing of its content."""

    shape, dtype = (1, 8, 8), np.dtype(np.float32)

    def read(self, window: Any) -> Any:
        return np.zeros(self.shape, np.float32)[(slice(None), *window)]

    def read_valid(self, window: Any) -> Any:
        return None


def test_lazy_images_without_a_digest_are_told_apart() -> None:
    grid = msa.Grid.regular((8, 8))
    a, b = (msa.Sample(Blank(), grid=grid, id=i) for i in "ab")
    assert Partners([b]).draw(Draws(1), a)[0] == "b"
    with pytest.raises(msa.ConfigError, match="none but the sample itself"):
        Partners([a.replace(id="c")]).draw(Draws(1), a)


class Loading:
    """A case that loads itself, and counts how often."""

    def __init__(self, sample: Any, **known: Any) -> None:
        self.sample, self.times = sample, 0
        self.__dict__.update(known)

    def load(self) -> Any:
        self.times += 1
        return self.sample


def test_cases_that_load_themselves() -> None:
    made = named("a", "b", "c")
    cases = [Loading(made[0], id="a"), Loading(made[1]), Loading(made[2], id=7)]
    partners = Partners.of(cases)
    assert partners is not None
    assert partners.ids == ("a", "partner 1", "partner 2")
    assert {partners.draw(Draws(1, n), made[0])[0] for n in range(40)} == {"partner 1", "partner 2"}
    assert cases[0].times == 0  # told by its name
    assert partners["a"] is made[0]
    # The same bytes as with samples, and in a feed, which takes the same kinds.
    alike = [Loading(s, id=s.id) for s in made]
    assert_same(
        MIX(made[0], seed=1, partners=alike),
        MIX(made[0], seed=1, partners=made),
    )
    wanted = Items(made, [MIX], partners=made).sample(2)
    for given in (made, alike, [partial(s.replace) for s in made]):
        assert_same(Items(given, [MIX], partners=alike).sample(2), wanted)


def test_what_loads_something_else_is_told() -> None:
    odd: list[Any] = [Loading(5, id="x")]
    with pytest.raises(msa.ConfigError, match="'x' gives int, not a Sample"):
        MIX(phantoms.sample(3), seed=1, partners=odd)
    with pytest.raises(msa.ConfigError, match="gives int, not a Sample"):
        Items(odd).sample(0)


def test_a_data_set_may_be_mixed_in(folders: Path) -> None:
    for image in (folders / "images").glob("*.gz"):
        image.rename(folders / "images" / image.name.replace("_0000", ""))
    found = find(folders)
    one = found[0].load()
    for index in range(4):
        plan = msa.Pipeline([MIX]).plan(one, 1, index, partners=found)
        (step,) = plan.segments[0].steps
        assert step.partner in {case.id for case in found[1:]}
