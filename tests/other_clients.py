"""Ask a running service with the clients of OpenAI, Cohere and Hugging Face; print what they return as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import cohere
from huggingface_hub import InferenceClient
from openai import OpenAI


def main(port: str, key: str, texts: list[str]) -> dict[str, Any]:
    """Return embeddings of the texts, and their ranking for the first one, by each client."""
    base = f"http://127.0.0.1:{port}"
    openai = OpenAI(base_url=f"{base}/v1", api_key=key)
    found: dict[str, Any] = {"models": [model.id for model in openai.models.list()]}
    packed = openai.embeddings.create(model="any", input=texts)
    plain = openai.embeddings.create(model="any", input=texts, encoding_format="float")
    found["base64"], found["float"] = ([each.embedding for each in answer.data] for answer in (packed, plain))
    for kind in (cohere.ClientV2, cohere.Client):
        client = kind(api_key=key, base_url=base)
        answer = client.rerank(model="any", query=texts[0], documents=texts)
        found[kind.__name__] = [[result.index, result.relevance_score] for result in answer.results]
    found["hugging_face"] = InferenceClient(model=f"{base}/embed", token=key).feature_extraction(texts[0]).tolist()
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
