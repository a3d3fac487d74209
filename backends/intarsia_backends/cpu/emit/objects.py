"""From TIR functions to one object file with a plain C interface.

Every function becomes `int name(void* buffer, ...)` and takes raw pointers: no libtvm, no packed calls. The object
refers to the thread pool through a weak pointer variable that `runtime.c` defines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.tirx.buffer import buffer_data_pointer_type, is_buffer_var

from intarsia_backends.cpu.machine import Machine
from intarsia_backends.tir.turn import TURN

_TRIPLES = {
    "x86_64": "x86_64-unknown-linux-gnu",
    "aarch64": "aarch64-unknown-linux-gnu",
    "armv7l": "armv7a-unknown-linux-gnueabihf",
}
_PROCESSORS = {"x86_64": "x86-64", "aarch64": "generic", "armv7l": "cortex-a9"}
_SPELLINGS = {"sse4_1": "sse4.1", "avx512_vnni": "avx512vnni", "avx_vnni": "avxvnni"}


def llvm_target(machine: Machine) -> Any:
    """The TVM target for a machine. Only the features that the machine names: they are checked before code runs."""
    fields: dict[str, Any] = {
        "kind": "llvm",
        "mtriple": _TRIPLES[machine.name],
        "mcpu": _PROCESSORS[machine.name],
        "mattr": [f"+{_SPELLINGS.get(feature, feature)}" for feature in machine.features],
    }
    if machine.adds_products:
        # Without it LLVM takes the products of pairs and their addition apart again.
        fields["mattr"].append("+fast-dpwssd")
    if machine.name == "armv7l":
        fields["mfloat-abi"] = "hard"
    target = tvm.target.Target(fields)
    return target.with_host(target)


def write_object(functions: Mapping[str, Callable[[], Any]], machine: Machine, path: Path) -> None:
    """Compile PrimFuncs, by symbol, into one object file; each is made by a call."""
    with TURN.lock:
        made = {symbol: make() for symbol, make in functions.items()}
        _build(made, llvm_target(machine)).write_to_file(str(path), "o")


def _build(functions: Mapping[str, Any], target: Any) -> Any:
    transform = tirx.transform
    module = tvm.IRModule({name: function.with_attr("global_symbol", name) for name, function in functions.items()})
    module = tvm.ir.transform.Sequential(
        [
            transform.BindTarget(target),
            transform.VectorizeLoop(True),
            transform.UnrollLoop(),
            transform.StmtSimplify(),
            transform.RemoveNoOp(),
            transform.SplitHostDevice(),
        ]
    )(module)
    module = _mapped(module, lambda function: _with_pointers(_with_steps(function)))
    module = tvm.ir.transform.Sequential([transform.LowerTVMBuiltin(), transform.LowerIntrin()])(module)
    # The final `return 0` goes in last: earlier, what LowerTVMBuiltin appends would stand behind it.
    module = _mapped(module, _with_return)
    return tvm.get_global_func("target.build.llvm")(module, target)


def _mapped(module: Any, change: Any) -> Any:
    return tvm.IRModule({name: change(function) for name, function in module.functions.items()})


def _with_steps(function: Any) -> Any:
    """Every parallel loop of known length is announced to the thread pool, which the launch itself tells nothing."""
    return function.with_body(_announced(function.body))


def _announced(statement: Any) -> Any:
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_announced(part) for part in statement.seq])
    if isinstance(statement, tirx.AttrStmt):
        return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, _announced(statement.body))
    if isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL:
        announcement = tirx.call_extern("int32", "intarsia_parallel_steps", statement.extent)
        return tirx.SeqStmt([tirx.Evaluate(announcement), statement])
    if isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.SERIAL:
        return tirx.For(
            statement.loop_var,
            statement.min,
            statement.extent,
            statement.kind,
            _announced(statement.body),
            statement.thread_binding,
            statement.annotations,
            statement.step,
        )
    return statement


def _with_pointers(function: Any) -> Any:
    """Buffers among the parameters become raw pointers."""
    parameters, declarations = [], []
    for parameter in function.params:
        if is_buffer_var(parameter):
            pointer = tirx.Var(f"{parameter.name}_pointer", buffer_data_pointer_type(parameter))
            declarations.append(tirx.DeclBuffer(parameter, data=pointer))
            parameters.append(pointer)
        else:
            parameters.append(parameter)
    body = tirx.SeqStmt([*declarations, function.body])
    key = tvm.ir.StringImm("default")
    body = tirx.AttrStmt(key, "device_id", tirx.IntImm("int32", 0), body)
    body = tirx.AttrStmt(key, "device_type", tirx.IntImm("int32", 1), body)
    return tirx.PrimFunc(parameters, body, tvm.ir.PrimType("int32"), function.attrs)


def _with_return(function: Any) -> Any:
    end = tirx.stmt.Return(tirx.IntImm("int32", 0))
    return tirx.PrimFunc(function.params, tirx.SeqStmt([function.body, end]), function.ret_type, function.attrs)
