"""A configuration against its JSON schema: every problem in a sentence that says what would be right."""

import math
import re
from collections.abc import Iterator
from typing import Any

from pixelpatch.checks import instead, join
from pixelpatch.variants import cut, shown

Json = dict[str, Any]
TYPES = {
    "object": "a block of keys",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
DEEPEST = 20  # blocks within blocks; those of a study are eight
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def unfit_values(value: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """What YAML can say and JSON, UTF-8 or a 64-bit number cannot: keys that are no text, NaN, dates, halves of
    characters, very large numbers; and blocks without end.
    """
    if depth > DEEPEST:
        yield f"{cut(path)} is nested too deep, or contains itself."
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{join(path, key)} is not a text key; put it in quotes."
            elif not _is_unicode(key):
                yield f"{join(path, ascii(key))} has half a character (a surrogate) in its name; write the whole one."
            yield from unfit_values(item, join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unfit_values(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; it must be a finite number."
    elif isinstance(value, int) and abs(value) >= 2**63:
        yield f"{path} is a number of {value.bit_length()} bits; it must have at most 63."
    elif isinstance(value, str) and not _is_unicode(value):
        yield f"{path} is {shown(value)}, with half a character (a surrogate) in it; write the whole one."
    elif value is not None and not isinstance(value, str | int | float):
        yield f"{path} is {value} (a {type(value).__name__}); put it in quotes if it is meant as text."


def of_specs(schema: Json) -> Json:
    """The part of the schema that is of specs: those of a family are made after the rest has been checked."""
    of_one = {"properties": {"spec": {"$ref": "#/$defs/spec"}}}
    return {"$defs": schema["$defs"], "properties": {"experiments": {"additionalProperties": of_one}}}


def schema_problems(config: Json, schema: Json) -> Iterator[str]:
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, form: str, value: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not re.fullmatch(form, value):  # to re.search, $ is also before a last newline
            yield ValidationError("")

    # To JSON Schema 3.0 is an integer; to range() and to PyTorch it is none.
    integers = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator = validators.extend(Draft202012Validator, {"pattern": pattern}, type_checker=integers)(schema)
    for error in sorted(validator.iter_errors(config), key=lambda error: list(map(str, error.absolute_path))):
        path = ""
        for part in error.absolute_path:
            path = f"{path}[{part}]" if isinstance(part, int) else join(path, part)
        yield from _sentences(error, path)


def _sentences(error: Any, path: str) -> Iterator[str]:
    """A JSON schema error in words."""
    value, rule = error.instance, error.validator_value
    place, it = path or "the configuration", shown(error.instance)
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            for key in value:
                if key not in known:
                    yield f"{join(path, key)} is not a known key{instead(key, known)}"
        case "required":
            for key in rule:
                if key not in value:
                    yield f"{join(path, key)} is missing; {place} needs {', '.join(rule)}."
        case "type":
            hint = ""
            if rule in ("integer", "number") and _looks_numeric(value):
                hint = "; YAML reads this as text: take the quotes away, and write 1e-3 as 0.001 or 1.0e-3"
            elif rule == "string" and isinstance(value, int | float):
                hint = "; put it in quotes"
            yield f"{place} is {it}; it must be {TYPES[rule]}{hint}."
        case "enum":
            yield f"{place} is {it}{instead(value, rule)}"
        case "const":
            yield f"{place} is {it}; it can only be {shown(rule)}."
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" as bound:
            yield f"{place} is {it}; it must be {BOUNDS[bound]} {rule}."
        case "anyOf" if "text" in error.schema.get("properties", {}):
            yield (
                f"{place} has nothing to test; give it a metric and one of documented, curve, falls_every_epoch, "
                "dips_at, better_than, worse_than or first_labels; or a reading, or a reason as not_tested."
            )
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            yield f"{join(path, value)} is not {error.schema['description']}."
        case "anyOf" | "pattern":
            yield f"{place} is {it}; it must be {error.schema['description']}."
        case "minItems" | "minLength" | "minProperties":
            yield f"{place} is {it}; it must {'not be empty' if rule == 1 else f'have at least {rule} entries'}."
        case _:
            yield f"{place}: {error.message}."


def _looks_numeric(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written: YAML's and JSON's escapes can name surrogates, which are no characters."""
    return not re.search("[\ud800-\udfff]", text)
