"""Which operator sets a model speaks, and whether every op in it is known."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from intarsia.errors import CompileError
from intarsia.importer.attributes import schema_of
from intarsia.importer.limits import Limits
from intarsia.importer.names import listed, near, node_where
from intarsia.importer.structure import all_nodes

OLDEST = 7
"""Before opset 7, broadcasting and many attributes meant something else."""

_KNOWN_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")


def opset_versions(model: onnx.ModelProto, where: str) -> dict[str, int]:
    """The opset of each domain that the model imports, "" for the standard one."""
    if not model.opset_import:
        raise CompileError(
            where=where,
            what="it imports no operator set",
            help="export the model again; files from before 2018 (IR version 2) are too old",
        )
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.get(domain, entry.version) != entry.version:
            raise CompileError(
                where=where,
                what=f"it imports domain '{domain}' at opset {versions[domain]} and at {entry.version}",
                help="export the model again",
            )
        versions[domain] = entry.version
    newest = onnx.defs.onnx_opset_version()
    if "" in versions and not OLDEST <= versions[""] <= newest:
        old = versions[""] < OLDEST
        raise CompileError(
            where=where,
            what=f"it is written for opset {versions['']}; opsets {OLDEST} to {newest} are supported",
            help="convert it with onnx.version_converter.convert_version, or export it for opset 17"
            if old
            else "export it for an older opset (17 is read everywhere), or install a newer onnx package",
        )
    if model.ir_version > onnx.IR_VERSION:
        raise CompileError(
            where=where,
            what=f"its IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest that onnx "
            f"{onnx.__version__} reads",
            help="install a newer onnx package, or export with an older one",
        )
    return versions


def check_ops(graph: onnx.GraphProto, opsets: Mapping[str, int], where: str, limits: Limits) -> None:
    """Refuse all unknown ops and domains at once."""
    unknown: dict[tuple[str, str], list[str]] = {}
    count = 0
    for node in all_nodes(graph):
        count += 1
        domain = "" if node.domain == "ai.onnx" else node.domain
        schema = schema_of(node.op_type, opsets[domain], domain) if domain in opsets else None
        if schema is None or schema.deprecated:
            unknown.setdefault((domain, node.op_type), []).append(node_where(node))
    if count > limits.nodes:
        raise CompileError(
            where=where, what=f"it has {count} nodes; the limit is {limits.nodes}", help="raise Limits.nodes"
        )
    if unknown:
        rows = [
            f"{_title(domain, op, opsets)} ({listed([place.removeprefix(op + ' ') for place in places], 3)})"
            for (domain, op), places in unknown.items()
        ]
        raise CompileError(
            where=where, what=f"it uses ops that are not known: {listed(rows)}", help=_help(unknown, opsets)
        )


def _title(domain: str, op: str, opsets: Mapping[str, int]) -> str:
    if domain not in opsets:
        return f"{domain or 'ai.onnx'}.{op}, of a domain that the model does not import"
    return f"{domain}.{op}" if domain else f"{op} of opset {opsets[domain]}"


def _help(unknown: Mapping[tuple[str, str], list[str]], opsets: Mapping[str, int]) -> str:
    domains = {domain for domain, _ in unknown}
    if "com.microsoft" in domains:
        return "com.microsoft is onnxruntime's own: save the model without onnxruntime's graph optimization"
    if any(domain not in opsets for domain in domains):
        return "add the domain to the model's opset_import, or export the model again"
    if domains <= set(_KNOWN_DOMAINS):
        names = {schema.name for schema in onnx.defs.get_all_schemas()}
        hints = "".join(near(op, names) for _, op in unknown)
        return f"export for an opset that has them, or replace them{hints}"
    return "only ONNX's own domains are known; give the op as a model-local function, or replace it"
