"""Artifacts behind the Open Inference Protocol v2, over HTTP and gRPC; needs the extra `serve`.

From below: `refusal`, `tensors` and `rest_messages` know the protocol and no transport; `batcher` runs requests on
threads; `model` is an artifact with its batcher, `pace` what it takes; `app` and `grpc_service` are the two transports,
`connection` guards HTTP against slow clients, and `server` puts them together.
"""
