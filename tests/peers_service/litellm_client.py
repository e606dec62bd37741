"""LiteLLM as a client of the service: `python litellm_client.py URL KEY`. It prints what it got as one line of JSON."""

import json
import sys

import litellm  # type: ignore[import-not-found]  # it lives in an environment of its own

url, key = sys.argv[1:]
AT = {"api_base": f"{url}/v1", "api_key": key, "num_retries": 0}
SAY = [{"role": "user", "content": "Hello!"}]

whole = litellm.completion(model="openai/echo", messages=SAY, **AT)
stream = litellm.completion(model="openai/echo", messages=SAY, stream=True, **AT)
said = {
    "whole": whole.choices[0].message.content,
    "tokens": whole.usage.total_tokens,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in stream),
    "errors": [],
}
for model, with_key in (("openai/echo", "ogw_" + "x" * 43), ("openai/nothing", key), ("openai/refuse", key)):
    try:
        litellm.completion(model=model, messages=SAY, **{**AT, "api_key": with_key})
    except Exception as error:  # noqa: BLE001 - which it is, is what is looked at
        said["errors"].append(type(error).__name__)
print(json.dumps(said))  # noqa: T201 - what the test reads
