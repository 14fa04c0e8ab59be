"""Croissant metadata of a published format: files, tables and columns in the vocabulary of MLCommons Croissant 1.0.

The description is of the published files, not of anything that is part of this package, and is made from the
declaration of the reader, so that it cannot differ from what is read.
Vocabulary: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import json
import re
from typing import Any

from cloudsched_env.traces.published import FilePattern, PublishedColumn, PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["croissant", "croissant_json"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {
    "integer": "sc:Integer",
    "float": "sc:Float",
    "string": "sc:Text",
    "timestamp": "sc:DateTime",
    "boolean": "sc:Boolean",
}
_MEDIA = {
    "csv": "text/csv",
    "json": "application/jsonlines",
    "parquet": "application/x-parquet",
    "sqlite": "application/vnd.sqlite3",
}


def croissant(trace_format: TraceFormat) -> dict[str, Any]:
    """The description as JSON-LD.

    Each table is a record set over a set of files named by its first pattern; a field is taken from the file by the
    name of its column where the file names columns, and else described by its place.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": trace_format.name,
        "description": f"{trace_format.title}. {trace_format.summary}",
        "url": trace_format.url,
        "license": trace_format.licence,
        "citeAs": trace_format.citation,
        "version": f"{trace_format.mapping_version}.0.0",
        "distribution": [_files(table) for table in trace_format.tables],
        "recordSet": [_records(table) for table in trace_format.tables],
    }


def croissant_json(trace_format: TraceFormat) -> str:
    """`croissant` as text, with the same bytes for the same declaration."""
    return json.dumps(croissant(trace_format), indent=2, ensure_ascii=False) + "\n"


def _files(table: PublishedTable) -> dict[str, Any]:
    pattern = table.patterns[0]
    return {
        "@type": "cr:FileSet",
        "@id": f"{table.name}-files",
        "name": f"{table.name}-files",
        "description": f"Files of {table.name}: {table.layout}.",
        "encodingFormat": _MEDIA[pattern.encoding],
        "includes": _glob(pattern),
    }


def _records(table: PublishedTable) -> dict[str, Any]:
    record: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.meaning + ("" if table.required else " (optional)"),
        "field": [_field(table, column, place) for place, column in enumerate(table.columns, start=1)],
    }
    # A key may not be null: where part of it is (Redset tells serverless clusters by that), there is none to declare.
    keys = [table.column(name) for name in table.key_columns or table.unique]
    if keys and not any(column.nullable for column in keys):
        record["key"] = [{"@id": _id(table, column)} for column in keys]
    return record


def _field(table: PublishedTable, column: PublishedColumn, place: int) -> dict[str, Any]:
    named = table.header == "required" or table.patterns[0].encoding != "csv"
    where = "" if named else f" Column {place} of the file."
    null = " May be empty." if column.nullable else ""
    extract: dict[str, str] = {"column": column.name if named else str(place - 1)}
    if table.patterns[0].encoding == "json":
        extract = {"jsonPath": "$." + column.name}
    return {
        "@type": "cr:Field",
        "@id": _id(table, column),
        "name": column.name,
        "description": f"{column.meaning or column.expected}.{where}{null}",
        "dataType": _TYPES[column.kind],
        "source": {"fileSet": {"@id": f"{table.name}-files"}, "extract": extract},
    }


def _id(table: PublishedTable, column: PublishedColumn) -> str:
    return f"{table.name}/{re.sub(r'[^A-Za-z0-9_.-]+', '_', column.name)}"


def _glob(pattern: FilePattern) -> str:
    """The pattern's layout as a glob: its first alternative, in any folder."""
    first = pattern.layout.split(" or ")[0].split(", ")[0] if "{" not in pattern.layout else "**/*.parquet"
    return first.removeprefix("any one ")
