"""The document of the REST API is true: what schemathesis makes of it, right and wrong, is answered as it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from oip_server import Answers, Target, as_json

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
checks = pytest.importorskip("schemathesis.checks")


@pytest.fixture(scope="session")
def document(target: Target) -> Any:
    """What the server says of itself, with the name and the versions of its model in it."""
    reply = target.ask("/v2/openapi.json")
    if reply.status != 200:
        pytest.skip("the server offers no /v2/openapi.json")
    told = json.loads(reply.body)
    places = told["components"]["parameters"]
    places["Name"]["schema"] = {"enum": [target.model]}
    places["Version"]["schema"] = {"enum": target.metadata["versions"]}
    return told


@pytest.fixture(scope="session")
def api(target: Target, document: Any) -> Any:
    """The document as schemathesis reads it."""
    made = schemathesis.openapi.from_dict(document)
    made.config.update(base_url=target.url)
    return made


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_the_server_is_as_its_document_says(target: Target, api: Any, mode: str) -> None:
    """By strategies of schemathesis, not by its plugin: that asks for a pytest of its own."""
    known = [operation.ok() for operation in api.get_all_operations()]
    assert len(known) >= 10
    for operation in known:
        if mode == "positive" or operation.method == "post":
            examine(target, operation, schemathesis.GenerationMode(mode))


def examine(target: Target, operation: Any, mode: Any) -> None:
    examples = 40 if operation.method == "post" else 5

    # A document of all models cannot say what a request to this one holds: that it is served is tested below.
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: Any) -> None:
        case.call_and_validate(headers=target.headers, excluded_checks=[checks.positive_data_acceptance])

    check()


def test_a_right_request_is_right_by_the_document(target: Target, answers: Answers, document: Any) -> None:
    schemas = pytest.importorskip("jsonschema_rs")
    request = {"id": "1", "inputs": [as_json(*item) for item in answers.inputs().items()], "outputs": []}
    for name, data in (
        ("InferenceRequest", request),
        ("InferenceAnswer", target.infer(request).data),
        ("Model", target.metadata),
        ("Error", target.infer(b"{").data),
        ("Server", target.ask("/v2").data),
    ):
        wanted = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        schemas.Draft202012Validator(wanted).validate(data)


def test_every_path_of_the_document_is_there(target: Target, document: Any) -> None:
    for path, methods in document["paths"].items():
        where = path.replace("{name}", target.model).replace("{version}", target.metadata["versions"][0])
        status = target.ask(where, b"{}" if "post" in methods else None).status
        assert str(status) in methods["post" if "post" in methods else "get"]["responses"] and status != 404, where
