"""Kernels of `lowering` as TIR, TVM's loop language, for any target: `emitters` is the table, `schedule` what a target
says about vectors and threads. It imports no backend."""
