"""How check-contract.sh tries out /v1/batch: with lines of NDJSON, most of them a command of the contract."""

import json

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    batch = raw_schema["paths"].get("/v1/batch")
    if batch is None:
        return
    posts = [methods["post"] for methods in raw_schema["paths"].values() if "post" in methods]
    commands = [post for post in posts if any(p["name"] == "Idempotency-Key" for p in post.get("parameters", []))]
    any_line = raw_schema["components"]["schemas"]["BatchLine"]
    lines = [any_line]
    key = {"type": "string", "pattern": "^[!-~]{1,200}$"}
    for command in commands:
        # `hire_employee` is the command `HireEmployee`, and that is its schema's name.
        name = command["operationId"].title().replace("_", "")
        fields = {"command": {"const": name}, "key": key, "data": {"$ref": f"#/components/schemas/{name}"}}
        lines.append({**any_line, "properties": fields})
    body = batch["post"]["requestBody"]["content"]["application/x-ndjson"]
    body["schema"] = {"type": "array", "items": {"anyOf": lines}, "minItems": 1, "maxItems": 20}


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@schemathesis.check
def no_line_is_a_server_error(context, response, case):
    if case.path == "/v1/batch" and response.status_code == 200:
        for line in response.content.splitlines():
            assert json.loads(line)["status"] < 500, line.decode()
