"""The command line: commands only; what they do is in the package."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from medsataug.errors import MedSatAugError, MedSatAugWarning
from medsataug.options import (
    Bands,
    Count,
    Images,
    Json,
    Label,
    Match,
    Out,
    PartnerLabels,
    Partners,
    Patch,
    RecipeName,
    Seed,
    Series,
    Threads,
    numbers,
    partners_of,
    picked,
)
from medsataug.search.command import search
from medsataug.train.command import train
from medsataug.validate.command import validate

app = typer.Typer(
    name="medsataug",
    help="Augment medical volumes and satellite rasters together with their masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _case(*given: Any) -> Any:
    from medsataug import start

    sample = _read(*given)
    start.quickly()  # not before, so that a file that cannot be read is told at once
    return sample


def _read(
    images: Sequence[Path], label: Path | None, series: str | None, bands: str | None,
    match: str | None,
) -> Any:  # fmt: skip
    from medsataug import io

    return io.load(list(images), label, series=series, bands=picked(bands), match=match)


def _pipeline(recipe: str, patch: str | None) -> Any:
    from medsataug import recipes

    pipeline = recipes.load(recipe)
    if patch is None:
        return pipeline
    return pipeline.with_patch(numbers(patch, "--patch", "256 or 32,128,128"))


def _use(threads: int | None) -> None:
    if threads:
        from medsataug.threads import set_threads

        set_threads(threads)


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, indent=1, default=str))


def _version(asked: bool) -> None:
    if asked:
        from medsataug import __version__

        print(f"medsataug {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Augment medical volumes and satellite rasters together with their masks."""


@app.command()
def augment(
    images: Images,
    recipe: RecipeName,
    label: Label = None,
    count: Count = 4,
    seed: Seed = 0,
    out: Out = Path("augmented"),
    preview: Annotated[bool, typer.Option("--preview", help="Also draw OUT/preview.png.")] = False,
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    partners: Partners = None,
    partner_labels: PartnerLabels = None,
    georef: Annotated[
        str | None,
        typer.Option(help="What turned rasters are written with: auto, exact, drop or gcps."),
    ] = None,
    threads: Threads = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace copies of other settings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write augmented copies of a case: image(s), label and a record that replays them."""
    from medsataug import copies

    pipeline = _pipeline(recipe, patch)
    if georef is not None:
        pipeline = pipeline.changed(georef=georef)
    _use(threads)
    sample = _case(images, label, series, bands, match)
    others = partners_of(partners, partner_labels, images, bands, match)
    if dry_run:
        from medsataug.warm import compiling

        with compiling():
            plans = [pipeline.plan(sample, seed, i, partners=others) for i in range(count)]
        if as_json:
            import json

            _print_json([json.loads(p.to_json()) for p in plans])
        else:
            print("\n\n".join(p.explain() for p in plans))
        return
    result = copies.write(
        sample, pipeline, out, count=count, seed=seed, preview=preview, overwrite=overwrite,
        quiet=as_json, partners=others,
    )  # fmt: skip
    if as_json:
        _print_json(result)
    else:
        print(copies.summary(result))


@app.command()
def preview(
    images: Images,
    recipe: RecipeName,
    label: Label = None,
    count: Count = 4,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("preview.png"),
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    partners: Partners = None,
    partner_labels: PartnerLabels = None,
    as_json: Json = False,
) -> None:
    """Draw original and copies side by side; write nothing else."""
    from medsataug import copies

    pipeline = _pipeline(recipe, patch)
    sample = _case(images, label, series, bands, match)
    others = partners_of(partners, partner_labels, images, bands, match)
    path = copies.picture(sample, pipeline, out, count=count, seed=seed, partners=others)
    if as_json:
        _print_json({"preview": str(path)})
    else:
        print(path)


@app.command()
def explain(
    images: Images,
    recipe: RecipeName,
    label: Label = None,
    seed: Seed = 0,
    index: Annotated[int, typer.Option(min=0, help="Number of the copy.")] = 0,
    patch: Patch = None,
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    partners: Partners = None,
    partner_labels: PartnerLabels = None,
    time: Annotated[
        bool, typer.Option("--time", help="Run it, and say what each pass and step took.")
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Say what a recipe will do to a case, with every number drawn."""
    from medsataug.warm import compiling

    pipeline = _pipeline(recipe, patch)
    _use(threads)
    given = (images, label, series, bands, match)
    sample = _case(*given)
    others = partners_of(partners, partner_labels, images, bands, match)
    with compiling():
        plan = pipeline.plan(sample, seed, index, partners=others)
    if not time:
        print(plan.to_json() if as_json else plan.explain())
        return
    from medsataug import costs
    from medsataug import explain as words

    with compiling():
        cost = costs.of_copy(pipeline, plan, sample, lambda: _read(*given))
    if as_json:
        _print_json(words.as_json(plan, cost))
    else:
        print(words.explain(plan, cost))


@app.command()
def replay(
    record: Annotated[Path, typer.Argument(help="A copy's record.json.")],
    images: Images,
    label: Label = None,
    out: Out = Path("replayed"),
    series: Series = None,
    bands: Bands = None,
    match: Match = None,
    partners: Partners = None,
    partner_labels: PartnerLabels = None,
    as_json: Json = False,
) -> None:
    """Make a copy again from its record, byte for byte."""
    from medsataug import copies

    sample = _case(images, label, series, bands, match)
    others = partners_of(partners, partner_labels, images, bands, match)
    paths = [str(path) for path in copies.replay(record, sample, out, others)]
    if as_json:
        _print_json({"files": paths})
    else:
        print("\n".join(paths))


@app.command()
def info(
    paths: Annotated[list[Path], typer.Argument(help="Files or DICOM folders.", metavar="PATH")],
    as_json: Json = False,
) -> None:
    """Say what files are, from their headers."""
    from medsataug import io

    described = {str(path): io.describe(path) for path in paths}
    if as_json:
        _print_json(described)
        return
    from medsataug import tables

    print("\n\n".join(tables.facts(path, known) for path, known in described.items()))


@app.command()
def transforms(
    name: Annotated[str | None, typer.Argument(help="One transform.")] = None,
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
        print(tables.transform(catalog.entry(name)))
    else:
        print(tables.transforms([catalog.entry(n) for n in names()]))


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe to print.")] = None,
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
                print(f"{n:17} {text}")


@app.command()
def warmup(as_json: Json = False) -> None:
    """Compile all kernels for this machine, so that no first run waits."""
    from medsataug import warm

    folder, seconds = warm.up()
    if as_json:
        _print_json({"folder": str(folder), "seconds": round(seconds, 1)})
    else:
        print(f"kernels are compiled in {folder} ({seconds:.0f} s)")


app.command()(train)
app.command()(validate)
app.command()(search)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None,
    line: str | None = None,
) -> None:  # fmt: skip
    if issubclass(category, MedSatAugWarning):
        print(f"warning: {message}", file=sys.stderr)


#: Faults of the machine rather than of what was asked.
_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip


def main() -> NoReturn:
    """Run the command line; exit 0 done, 2 the user's mistake, 1 anything else."""
    warnings.showwarning = _show_warning
    code = 0
    try:
        # Else typer prints usage errors itself, as boxes of several lines.
        code = app(prog_name="medsataug", standalone_mode=False) or 0
        sys.stdout.flush()
    except MedSatAugError as error:
        code = 1 if getattr(error, "errno", None) in _MACHINE else 2
        _tell(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except MemoryError:
        code = 1
        _tell("not enough memory; cut patches (--patch 128), or give fewer --bands or --threads")
    except Exception as error:
        if hasattr(error, "format_message"):
            code = 2
            _tell_usage(error)
        elif os.environ.get("MEDSATAUG_DEBUG"):
            raise
        else:
            code = 1
            _tell(
                f"{type(error).__name__}: {error} (a fault of medsataug or of the machine; set "
                "MEDSATAUG_DEBUG=1 for the traceback)"
            )
    if code == 130:
        print("interrupted; what was finished is kept", file=sys.stderr)
    sys.exit(code)


def _tell(message: str) -> None:
    line = " ".join(message.split())
    print(f"error: {line if len(line) < 1000 else line[:1000] + ' …'}", file=sys.stderr)


def _tell_usage(error: Any) -> None:
    """Say what is wrong with the command line; typer's own exception, whatever class it is."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        error.show()
        return
    command = error.ctx.command_path if getattr(error, "ctx", None) else "medsataug"
    message = error.format_message().rstrip(".")
    _tell(f"{message}{'' if message.endswith('?') else '.'} See '{command} --help'")
