"""Parquet files as arrow arrays like those of text: ids dictionary-coded, numbers int64 or float64."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..core.errors import UserError
from . import ids as identifiers
from .containers import LOCAL_LIMIT_BYTES
from .ids import Rule
from .layouts import Layout, column_numbers

MOST_ROWS = LOCAL_LIMIT_BYTES // 8  # a few bytes can declare any number of equal rows
EXACT = {16: 2**11, 32: 2**24, 64: 2**53}  # bits -> number from which on whole ones fall together
UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def read_parquet(
    content: bytes, layout: Layout, file: str, rule: Rule
) -> tuple[list[str], dict[str, int], dict[str, pa.Array]]:
    """Names and numbers of the columns, and arrays by field; UserError naming the first bad row, counted from 1."""
    try:
        source = pq.ParquetFile(pa.BufferReader(content))
        names = [name.strip() for name in source.schema_arrow.names]
        columns = column_numbers(names, layout, file, names)
        _check_size(source.metadata, file)
        kinds = source.schema_arrow.types
        wanted = [source.schema_arrow.names[number] for number in columns.values()]
        for field, number in columns.items():
            _check_kind(field, kinds[number], names[number], file)
        table = source.read(columns=wanted, use_threads=False)
        arrays = {}
        for field, name in zip(columns, wanted, strict=True):
            column = table.column(name)
            is_id = field in ("user", "item")
            arrays[field] = (_ids if is_id else _numbers)(field, column, file, rule)
        return names, columns, arrays
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"{file} is damaged or no Parquet that is read here ({said}); get it anew, or write CSV"
        ) from None


def _check_size(metadata: pq.FileMetaData, file: str) -> None:
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    if metadata.num_rows > MOST_ROWS or sum(g.total_byte_size for g in groups) > LOCAL_LIMIT_BYTES:
        raise UserError(
            f"{file} unpacks to more than the allowed {LOCAL_LIMIT_BYTES:,} bytes; refused"
        )
    if not metadata.num_rows:
        raise UserError(f"{file} holds no rows")


def _check_kind(field: str, kind: pa.DataType, name: str, file: str) -> None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if not (number or (text if field in ("user", "item") else time)):
        needed = "text or numbers" if field in ("user", "item") else "numbers or timestamps"
        raise UserError(f"{file}: column {name!r} for {field} holds {kind}; write {needed}")


def _ids(field: str, column: pa.ChunkedArray, file: str, rule: Rule) -> pa.DictionaryArray:
    if pa.types.is_floating(column.type):  # whole numbers beside missing ones
        finite = pc.if_else(pc.is_finite(column), column, None)
        exact = EXACT[column.type.bit_width]
        if pc.any(pc.greater_equal(pc.abs(finite), exact)).as_py():
            raise UserError(
                f"{file}: {field} ids are floating-point numbers of {exact:,} and more, which have lost their last digits; write them as"
                " whole numbers or text"
            )
        if pc.all(pc.equal(pc.floor(finite), finite)).as_py() is not False:
            column = finite.cast(pa.int64())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    text = [value or "" for value in coded.dictionary.cast(pa.string()).to_pylist()] + [""]
    # By first appearance, and one code a text, whatever the file's own dictionary holds.
    used = pc.fill_null(coded.indices.cast(pa.int32()), len(text) - 1).dictionary_encode()
    values = [text[k] for k in used.dictionary.to_pylist()]
    known = {value: k for k, value in enumerate(dict.fromkeys(values))}
    codes = np.array([known[value] for value in values], np.int32)[np.from_dlpack(used.indices)]
    coded = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(known), pa.string()))
    problems = [identifiers.problem(value, rule) for value in coded.dictionary.to_pylist()]
    if any(problems):
        bad = np.array([bool(problem) for problem in problems])[codes]
        row = int(np.flatnonzero(bad)[0])
        raise UserError(f"{file}, row {row + 1}: {field} {problems[codes[row]]}")
    return coded


def _numbers(field: str, column: pa.ChunkedArray, file: str, rule: Rule) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    column = column.cast(kind)
    per_s = 1
    if pa.types.is_date(kind):
        column, per_s = column.cast(pa.timestamp("s")).cast(pa.int64()), 1
    elif pa.types.is_timestamp(kind):
        column, per_s = column.cast(pa.int64()), UNITS_PER_S[kind.unit]
    elif pa.types.is_integer(kind):
        column = column.cast(pa.int64())
    else:
        column = column.cast(pa.float64())
    whole = column.combine_chunks()
    array = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    bad = np.asarray(pc.fill_null(pc.invert(pc.is_finite(array)), True))
    if bad.any():
        raise UserError(
            f"{file}, row {int(np.flatnonzero(bad)[0]) + 1}: {field} is missing or no finite number"
        )
    return array if per_s == 1 else pa.array(np.from_dlpack(array) / per_s)
