"""The columns of many files as those of one table: types that hold every value, and the names the tasks know."""

from collections.abc import Iterable, Mapping
from typing import Any

import datasets

from tfft.errors import DataError

COLUMN_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}
INT64_MAX = 2**63 - 1
# Types whose values another one holds without loss.
WIDEST = {
    "large_string": "string",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16", "uint32"), "int64"),
    **dict.fromkeys(("float16", "float32"), "float64"),
}


def find_types(records: Iterable[Mapping[str, Any]]) -> tuple[datasets.Features, int]:
    """Finds the type of every column that any of the records has, and counts the records.

    What a column of one type cannot hold, mixed and nested values, stays the JSON it is.
    """
    types: dict[str, set[type]] = {}
    count = 0
    for record in records:
        count += 1
        for name, value in record.items():
            types.setdefault(name, set()).add(_type_of(value))
    return datasets.Features({name: _feature_of(found - {type(None)}) for name, found in types.items()}), count


def unite_types(features: Iterable[datasets.Features]) -> datasets.Features:
    """Finds types that hold the columns of all files; a column of several types becomes JSON."""
    found: dict[str, list[Any]] = {}
    for columns in features:
        for name, feature in columns.items():
            found.setdefault(name, []).append(feature)
    return datasets.Features({name: _unite(types) for name, types in found.items()})


def rename_columns(rows: datasets.Dataset, columns: Mapping[str, str]) -> datasets.Dataset:
    """Gives columns the names a task knows; a column that had such a name before gives way."""
    # All at once, not one after another: two columns may swap their names.
    replaced = [name for name in rows.column_names if name in columns and name not in columns.values()]
    return rows.remove_columns(replaced).rename_columns({source: name for name, source in columns.items()})


def rename(names: Iterable[str], columns: Mapping[str, str], where: str) -> tuple[str, ...]:
    """Tells the names that the columns of a file have after renaming.

    Args:
        names: The file's own.
        columns: The name a task knows -> the file's own name of that column.
        where: The file, for the message.

    Raises:
        DataError: The file has no such column, or one column is to have two names.
    """
    names, sources = list(names), list(columns.values())
    for name, source in columns.items():
        if source not in names:
            raise DataError(
                f"{where} has no column '{source}'. Expected one of its columns. "
                f"Received: --column {name}={source}, columns={names}. Name a column it has."
            )
        if sources.count(source) > 1:
            raise DataError(
                f"Column '{source}' of {where} cannot have two names. Expected another column for each name. "
                f"Received: columns={dict(columns)}. Pass --column {name}=COLUMN with another one."
            )
    renamed = {source: name for name, source in columns.items()}
    return tuple(renamed.get(name, name) for name in names if name in sources or name not in columns)


def _type_of(value: Any) -> type:
    is_huge = isinstance(value, int) and abs(value) > INT64_MAX
    return object if is_huge or isinstance(value, list | dict) else type(value)


def _feature_of(types: set[type]) -> Any:
    if not types:
        return datasets.Value("null")
    kind = types.pop() if len(types) == 1 else object
    return datasets.Value(COLUMN_TYPES[kind]) if kind in COLUMN_TYPES else datasets.Json()


def _unite(features: list[Any]) -> Any:
    features = [feature for feature in features if feature != datasets.Value("null")] or [datasets.Value("string")]
    if all(feature == features[0] for feature in features):
        return features[0]
    families = {WIDEST.get(feature.dtype, feature.dtype) for feature in features if isinstance(feature, datasets.Value)}
    of_one_family = len(families) == 1 and all(isinstance(feature, datasets.Value) for feature in features)
    return datasets.Value(families.pop()) if of_one_family else datasets.Json()
