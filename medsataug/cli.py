"""The command line: commands only; what they do is in the package."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from medsataug.errors import MedSatAugError, MedSatAugWarning

app = typer.Typer(
    name="medsataug",
    help="Augment medical volumes and satellite rasters together with their masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Images = Annotated[
    list[Path], typer.Argument(help="Image file(s) of one case, or a DICOM folder.", metavar="IMAGE...")
]
Label = Annotated[Optional[Path], typer.Option("--label", "-l", help="The mask.")]  # noqa: UP045
RecipeName = Annotated[
    str, typer.Option("--recipe", "-r", help="A packaged recipe's name, or a YAML file.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same copies.")]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Number of copies.")]
Series = Annotated[Optional[str], typer.Option(help="Which DICOM series of a folder.")]  # noqa: UP045
Bands = Annotated[
    Optional[str], typer.Option(help="Bands of a raster, by number or name: 4,3,2.")  # noqa: UP045
]
Match = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Where grids differ: 'first' resamples to the first, 'ignore' accepts."),
]
Patch = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Cut a random patch of this size, such as 256 or 32,128,128 (z,y,x)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]


def _case(
    images: Sequence[Path], label: Path | None, series: str | None, bands: str | None,
    match: str | None,
) -> Any:  # fmt: skip
    from medsataug import io

    picked = None
    if bands:
        names = [b.strip() for b in bands.split(",")]
        picked = [int(b) if b.isdecimal() else b for b in names]
    return io.load(list(images), label, series=series, bands=picked, match=match)


def _pipeline(recipe: str, patch: str | None) -> Any:
    from medsataug import recipes
    from medsataug.errors import ConfigError

    pipeline = recipes.load(recipe)
    if patch is None:
        return pipeline
    parts = patch.replace("x", ",").split(",")
    if not all(p.strip().isdecimal() for p in parts):
        raise ConfigError(f"--patch {patch}: whole numbers expected, such as 256 or 32,128,128")
    return pipeline.with_patch([int(p) for p in parts])


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, default=str))


@app.command()
def augment(
    images: Images,
    recipe: RecipeName,
    label: Label = None,
    count: Count = 4,
    seed: Seed = 0,
    out: Out = Path("augmented"),
    preview: Annotated[bool, typer.Option(help="Also draw out/preview.png.")] = False,
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    georef: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What turned rasters are written with: auto, exact, drop or gcps."),
    ] = None,
    threads: Annotated[Optional[int], typer.Option(min=1, help="Default: all cores.")] = None,  # noqa: UP045
    overwrite: Annotated[bool, typer.Option(help="Replace copies of other settings.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would happen; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Write augmented copies of a case: image(s), label and a record that replays them."""
    from medsataug import copies

    pipeline = _pipeline(recipe, patch)
    if georef is not None:
        pipeline = pipeline.changed(georef=georef)
    if threads:
        from medsataug.threads import set_threads

        set_threads(threads)
    sample = _case(images, label, series, bands, match)
    if dry_run:
        plans = [pipeline.plan(sample, seed, i) for i in range(count)]
        if as_json:
            import json

            _print_json([json.loads(p.to_json()) for p in plans])
        else:
            print("\n\n".join(p.explain() for p in plans))
        return
    result = copies.write(
        sample, pipeline, out, count=count, seed=seed, preview=preview, overwrite=overwrite,
        quiet=as_json,
    )  # fmt: skip
    if as_json:
        _print_json(result)
    else:
        print(copies.summary(result))


@app.command()
def preview(
    images: Images,
    recipe: RecipeName = "mri",
    label: Label = None,
    count: Count = 4,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("preview.png"),
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
) -> None:
    """Draw original and copies side by side; write nothing else."""
    from medsataug import copies

    sample = _case(images, label, series, bands, match)
    pipeline = _pipeline(recipe, patch)
    print(copies.picture(sample, pipeline, out, count=count, seed=seed))


@app.command()
def explain(
    images: Images,
    recipe: RecipeName = "mri",
    label: Label = None,
    seed: Seed = 0,
    index: Annotated[int, typer.Option(help="Number of the copy.")] = 0,
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    as_json: Json = False,
) -> None:
    """Say what a recipe will do to a case, with every number drawn."""
    plan = _pipeline(recipe, patch).plan(_case(images, label, series, bands, match), seed, index)
    print(plan.to_json() if as_json else plan.explain())


@app.command()
def replay(
    record: Annotated[Path, typer.Argument(help="A copy's record.json.")],
    images: Images,
    label: Label = None,
    out: Out = Path("replayed"),
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
) -> None:
    """Make a copy again from its record, byte for byte."""
    from medsataug import copies

    sample = _case(images, label, series, bands, match)
    for path in copies.replay(record, sample, out):
        print(path)


@app.command()
def info(
    paths: Annotated[list[Path], typer.Argument(help="Files or DICOM folders.", metavar="PATH...")],
    as_json: Json = False,
) -> None:
    """Say what files are, from their headers."""
    from medsataug import io

    described = {str(path): io.describe(path) for path in paths}
    if as_json:
        _print_json(described)
        return
    from medsataug.tables import facts

    for path, known in described.items():
        facts(path, known)


@app.command()
def transforms(
    name: Annotated[Optional[str], typer.Argument(help="One transform.")] = None,  # noqa: UP045
    as_json: Json = False,
) -> None:
    """List the transforms, or say what one takes: fields, units, limits, source, an example."""
    from dataclasses import asdict

    from medsataug import catalog, tables
    from medsataug.transforms import names

    if as_json:
        chosen = [name] if name else names()
        _print_json([asdict(catalog.entry(n)) for n in chosen])
    elif name:
        tables.transform(catalog.entry(name))
    else:
        tables.transforms([catalog.entry(n) for n in names()])


@app.command()
def recipes(
    name: Annotated[Optional[str], typer.Argument(help="A recipe to print.")] = None,  # noqa: UP045
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema for editors.")] = False,
    as_json: Json = False,
) -> None:
    """List the packaged recipes, print one, or print the schema of recipes."""
    from medsataug import recipes as packaged

    if schema:
        _print_json(packaged.schema())
    elif name:
        packaged.load(name)  # an unknown name gets its message
        file = packaged.FOLDER / f"{name}.yaml"
        print((file if file.is_file() else Path(name)).read_text(encoding="utf-8"), end="")
    else:
        listed = {n: packaged.load(n).description for n in packaged.packaged()}
        if as_json:
            _print_json(listed)
        else:
            for n, text in listed.items():
                print(f"{n:15} {text}")


@app.command()
def warmup() -> None:
    """Compile all kernels for this machine, so that no first run waits."""
    from medsataug import warm

    print(warm.up())


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None,
    line: str | None = None,
) -> None:  # fmt: skip
    if issubclass(category, MedSatAugWarning):
        print(f"warning: {message}", file=sys.stderr)


#: Faults of the machine rather than of what was asked.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


def main() -> None:
    """Run the command line; exit 0 done, 2 the user's mistake, 1 anything else."""
    warnings.showwarning = _show_warning
    try:
        app()
    except MedSatAugError as error:
        print(f"error: {error}", file=sys.stderr)
        code = getattr(error, "errno", None)
        sys.exit(1 if code in _MACHINE else 2)
    except KeyboardInterrupt:
        print("interrupted; finished copies are kept", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("MEDSATAUG_DEBUG"):
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(
            f"error: {type(error).__name__}: {text} (a fault of medsataug or of the machine; set "
            "MEDSATAUG_DEBUG=1 for the traceback)",
            file=sys.stderr,
        )
        sys.exit(1)
