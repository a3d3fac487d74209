"""Which operator sets a model speaks, and whether every op in it is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from intarsia.arguments import near
from intarsia.errors import CompileError
from intarsia.importer.attributes import schema_of
from intarsia.importer.domains import dialect_help
from intarsia.importer.limits import Limits
from intarsia.importer.names import listed, node_where
from intarsia.importer.structure import nodes_below
from intarsia.ir.budget import raising

OLDEST = 7
"""Before opset 7, broadcasting and many attributes meant something else."""

_BY_DYNAMIC_QUANTIZER = ("QAttention", "QEmbedLayerNormalization", "MatMulIntegerToFloat")
_BY_QUANTIZER = ("QGemm", "QMoE", "NhwcMaxPool")
_UNOPTIMIZED = "save the model without onnxruntime's graph optimization (graph_optimization_level = ORT_DISABLE_ALL)"
_KNOWN_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training")


def opset_versions(model: onnx.ModelProto, where: str) -> dict[str, int]:
    """The opset of each domain that the model imports, "" for the standard one.

    A model older than OLDEST counts as OLDEST where all its ops mean then what they mean now.
    """
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
        if not isinstance(domain, str) or not 0 < entry.version < 1 << 31:
            raise CompileError(
                where=where,
                what=f"it imports domain {domain!r} at opset {entry.version}",
                help="the file is damaged; copy or export it again",
            )
        versions[domain] = entry.version
    newest = onnx.defs.onnx_opset_version()
    if versions.get("", OLDEST) < OLDEST:
        changed = _changed_ops(model.graph, versions[""])
        if changed:
            raise CompileError(
                where=where,
                what=f"it is written for opset {versions['']}; opsets {OLDEST} to {newest} are supported "
                f"(older ones where no op has changed; here {listed(changed)} did)",
                help="convert it with onnx.version_converter.convert_version, or export it for opset 17",
            )
        versions[""] = OLDEST
    if versions.get("", OLDEST) > newest:
        raise CompileError(
            where=where,
            what=f"it is written for opset {versions['']}; opsets {OLDEST} to {newest} are supported",
            help="export it for an older opset (17 is read everywhere), or install a newer onnx package",
        )
    if model.ir_version > onnx.IR_VERSION:
        raise CompileError(
            where=where,
            what=f"its IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest that onnx "
            f"{onnx.__version__} reads",
            help="install a newer onnx package, or export with an older one",
        )
    return versions


def _changed_ops(graph: onnx.GraphProto, version: int) -> list[str]:
    """Standard ops of the graph whose definition in force at that opset is not the one at OLDEST."""
    changed: dict[str, None] = {}
    for node in nodes_below(graph.node):
        if node.domain in ("", "ai.onnx"):
            then, now = schema_of(node.op_type, version, ""), schema_of(node.op_type, OLDEST, "")
            if then is None or now is None or then.since_version != now.since_version:
                changed[node.op_type] = None
    return list(changed)


def check_ops(graph: onnx.GraphProto, opsets: Mapping[str, int], where: str, limits: Limits) -> None:
    """Refuse all unknown ops and domains at once."""
    unknown: dict[tuple[str, str], list[str]] = {}
    count = 0
    for node in nodes_below(graph.node):
        count += 1
        domain = "" if node.domain == "ai.onnx" else node.domain
        schema = schema_of(node.op_type, opsets[domain], domain) if domain in opsets else None
        if schema is None or (schema.deprecated and not _came_back(schema)):
            unknown.setdefault((domain, node.op_type), []).append(node_where(node))
    if count > limits.nodes:
        raise CompileError(
            where=where,
            what=f"it has {count} nodes; the limit is {limits.nodes}",
            help=f"if the model is meant to be so large, raise it: {raising('nodes')}",
        )
    if unknown:
        rows = [
            f"{_title(domain, op, opsets)} ({listed([place.removeprefix(op + ' ') for place in places], 3)})"
            for (domain, op), places in unknown.items()
        ]
        raise CompileError(
            where=where, what=f"it uses ops that are not known: {listed(rows)}", help=_help(unknown, opsets)
        )


def _came_back(schema: onnx.defs.OpSchema) -> bool:
    """Whether an op was deprecated for a new form of its own name, as GroupNormalization of opset 18: it has a meaning.

    Others, such as Upsample, gave way to another op.
    """
    newest = onnx.defs.get_schema(schema.name, schema.domain)
    return bool(newest.since_version > schema.since_version and not newest.deprecated)


def _title(domain: str, op: str, opsets: Mapping[str, int]) -> str:
    if domain not in opsets:
        return f"{domain or 'ai.onnx'}.{op}, of a domain that the model does not import"
    return f"{domain}.{op}" if domain else f"{op} of opset {opsets[domain]}"


def _help(unknown: Mapping[tuple[str, str], list[str]], opsets: Mapping[str, int]) -> str:
    domains = {domain for domain, _ in unknown}
    microsoft = [op for domain, op in unknown if domain == "com.microsoft"]
    others = [(domain, op) for domain, op in unknown if domain not in (*_KNOWN_DOMAINS[1:], "com.microsoft")]
    told = [*([_help_of_microsoft(microsoft)] if microsoft else []), *dialect_help(others)]
    if told:
        return "; ".join(told)
    if any(domain not in opsets for domain in domains):
        return "add the domain to the model's opset_import, or export the model again"
    if domains <= set(_KNOWN_DOMAINS):
        hints = "".join(_hint(domain, op) for domain, op in unknown)
        also = "".join(f"; {text}" for text in dialect_help((domain, op) for domain, op in unknown if domain))
        return f"export for an opset that has them, or replace them{hints}{also}"
    foreign = ", ".join(sorted(f"'{domain}'" for domain in domains - set(_KNOWN_DOMAINS)))
    return (
        f"only ONNX's own domains are known, and {foreign} is a custom one of whoever exported the model: give the op "
        "as a model-local function, replace it by ONNX's ops, or cut the model off before it"
    )


def _help_of_microsoft(ops: Sequence[str]) -> str:
    """Quantizers write some of these ops, graph optimization writes others."""
    ways = []
    if any("NBits" in op or "BlockQuantized" in op for op in ops):
        ways.append("write few-bit weights as DequantizeLinear, quant_format=QDQ of its MatMulNBitsQuantizer")
    if any("Dynamic" in op or op in _BY_DYNAMIC_QUANTIZER for op in ops):
        ways.append("quantize with quantize_static and quant_format=QDQ")
    elif any(op.startswith("QLinear") or op in _BY_QUANTIZER for op in ops):
        ways.append("quantize with quant_format=QDQ")
    if not all("NBits" in op or "BlockQuantized" in op for op in ops):
        optimized = "" if ways else ", or give the model from before its transformers optimizer"
        ways.insert(0, _UNOPTIMIZED + optimized)
    return f"com.microsoft is onnxruntime's own: {'; '.join(ways)}"


def _hint(domain: str, op: str) -> str:
    """When an op came or went, or what it may have meant."""
    schemas = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == domain]
    own = [schema for schema in schemas if schema.name == op]
    if not own:
        return near(op, {schema.name for schema in schemas})
    gone = [schema.since_version for schema in own if schema.deprecated]
    if gone:
        return f"; {op} went with opset {min(gone)}"
    return f"; {op} came with opset {min(schema.since_version for schema in own)}"
