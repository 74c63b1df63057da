"""Objects against the schemas of Kubernetes, and custom resources against those of their CRDs, both without unknown fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions

OLDEST: Final[str] = all_versions()[0]
NEWEST: Final[str] = all_versions()[-1]
#: Groups whose objects Kubernetes itself does not know.
_CUSTOM: Final = ("monitoring.coreos.com/", "keda.sh/")


def is_custom(document: dict[str, Any]) -> bool:
    """Tell whether a CRD defines the object."""
    return str(document["apiVersion"]).startswith(_CUSTOM)


def mistakes(documents: Iterable[dict[str, Any]], version: str) -> Iterator[str]:
    """Yield the mistake of each object that a version of Kubernetes refuses, or that has a field which it does not know."""
    for document in documents:
        if is_custom(document):
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{name(document)}: {error.message} ({version})"


def custom_mistakes(documents: Iterable[dict[str, Any]], crds: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield each mistake of the custom resources."""
    schemas = {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): version["schema"][
            "openAPIV3Schema"
        ]
        for crd in crds
        for version in crd["spec"]["versions"]
    }
    for document in filter(is_custom, documents):
        schema = schemas[document["apiVersion"], document["kind"]]
        for error in jsonschema.Draft202012Validator(_strict(schema, root=True)).iter_errors(document):
            yield f"{name(document)}: {error.json_path}: {error.message}"


def _strict(schema: Any, *, root: bool = False) -> Any:
    """Return a schema of a CRD in which an object has no field that it does not name; Kubernetes drops such fields silently."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: value for key, value in schema.items() if key not in {"properties", "description"}}
    for key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
        if key in strict:
            strict[key] = _strict(strict[key])
    if "properties" in schema:
        strict["properties"] = {key: _strict(value) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and schema.get("type") == "object":
            strict["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    if root:
        # The object's own metadata is Kubernetes's, and no part of the CRD.
        strict["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    return strict


def name(document: dict[str, Any]) -> str:
    """Return how an object is called in messages."""
    return f"{document['kind']} {document['metadata']['name']}"
