"""Artifacts behind the Open Inference Protocol v2, over HTTP and gRPC; needs the extra `serve`.

From below: `refusal`, `tensors`, `compression`, `classification` and `rest_messages` know the protocol and no
transport; `batcher` runs requests on threads. An `endpoint` is what answers: `model` is an artifact with its batcher,
`pace` what it takes, `ensemble` a graph of others. `sources` are the files that they come from, `repository` has all
of them, `watcher` looks for new ones, and `control` says what clients may change. `app` with its `routes` and
`grpc_service` with its `grpc_call` are the two transports, `connection` guards HTTP against slow clients, and `server`
puts them together.
"""
