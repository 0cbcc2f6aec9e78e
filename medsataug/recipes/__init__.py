"""Recipes: pipelines as YAML, packaged ones and the user's, and their JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsataug import transforms
from medsataug.errors import ConfigError, FormatError, MedSatAugError

if TYPE_CHECKING:
    from medsataug.pipeline import Pipeline
    from medsataug.transforms.base import Transform

FOLDER = Path(__file__).parent


@cache
def packaged() -> tuple[str, ...]:
    """Names of the packaged recipes."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


def read_transforms(given: Any, place: str) -> tuple[Transform, ...]:
    """Make transforms from instances and ``{name: {field: value}}``; errors name ``place[i]``."""
    from medsataug.transforms.base import Transform

    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise ConfigError(f"{place}: a list of transforms expected, got {type(given).__name__}")
    made: list[Transform] = []
    for i, item in enumerate(given):
        if isinstance(item, Transform):
            made.append(item)
            continue
        if isinstance(item, str):
            item = {item: {}}
        if not isinstance(item, Mapping) or len(item) != 1:
            raise ConfigError(
                f"{place}[{i}]: one transform expected, such as 'gamma: {{exponent: 1.2}}', got "
                f"{item!r}"
            )
        name, fields = next(iter(item.items()))
        fields = {} if fields is None else fields
        if not isinstance(fields, Mapping):
            raise ConfigError(f"{place}[{i}] {name}: fields expected, got {fields!r}")
        try:
            made.append(transforms.find(str(name))(**{str(k): v for k, v in fields.items()}))
        except MedSatAugError as error:
            raise type(error)(f"{place}[{i}] {error}") from None
    return tuple(made)


def plain_transform(transform: Transform) -> dict[str, Any]:
    """``{name: {fields that differ from the defaults}}``."""
    fields = transform.model_dump(mode="json", exclude_unset=True)
    return {transforms.recipe_name(type(transform).__name__): fields}


def load(name: str | Path) -> Pipeline:
    """Read a packaged recipe by name, or a YAML file.

    Raises
    ------
    ConfigError
        For an unknown name, or a file that is not a recipe; it names the key.
    """
    import yaml

    from medsataug.pipeline import Pipeline

    path = Path(name)
    if str(name) in packaged():
        path = FOLDER / f"{name}.yaml"
    elif not path.is_file():
        raise ConfigError(
            f"recipe {str(name)!r}: neither a packaged recipe ({', '.join(packaged())}) nor a file"
        )
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), _loader())
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file, so not a recipe") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"{path}: not valid YAML{where}: {problem}") from None
    except OSError as error:
        raise FormatError.of(f"{path}: cannot be read ({error.strerror})", error) from None
    if isinstance(given, list):
        given = {"transforms": given}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: a recipe is a list of transforms, or keys with 'transforms'")
    given.setdefault("name", path.stem)
    try:
        return Pipeline(**given)
    except MedSatAugError as error:
        raise type(error)(f"{path.name if path.parent == FOLDER else path}: {error}") from None


@cache
def _loader() -> Any:
    """PyYAML's safe loader, which also refuses a key that is given twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                    )
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


def text(pipeline: Pipeline) -> str:
    """Return the YAML of a pipeline."""
    import yaml

    fields = pipeline.model_dump(mode="json", exclude_unset=True)
    fields["transforms"] = [plain_transform(t) for t in pipeline.transforms]
    dumped: str = yaml.safe_dump(
        fields, sort_keys=False, allow_unicode=True, width=90, default_flow_style=None
    )
    return dumped


def schema() -> dict[str, Any]:
    """JSON schema of recipes, for editors."""
    from medsataug.pipeline import Pipeline

    items, defs = [], {}
    for name in transforms.names():
        own = transforms.find(name).model_json_schema(ref_template="#/$defs/{model}")
        own.pop("$defs", None)
        own["title"] = name
        _loosen(own)
        defs[name] = own
        entry = {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}
        items.append(
            {
                "type": "object",
                "properties": {name: entry},
                "required": [name],
                "additionalProperties": False,
            }
        )
    top = Pipeline.model_json_schema(ref_template="#/$defs/{model}")
    top.pop("$defs", None)
    defs["transform"] = {"anyOf": [*items, {"enum": list(transforms.names())}]}
    listed = {"type": "array", "items": {"$ref": "#/$defs/transform"}}
    top["properties"]["transforms"] = listed
    top["title"] = "medsataug recipe"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [listed, top],
        "$defs": defs,
    }


def _loosen(own: dict[str, Any]) -> None:
    """Point lists of transforms at their definition."""
    for name, field in own.get("properties", {}).items():
        if name == "transforms":
            field.clear()
            field.update({"type": "array", "items": {"$ref": "#/$defs/transform"}})
