"""A service over ``deltaoe.lite``: POST an image, get its verdict as JSON. PyTorch is not needed.

Start it with ``python -m uvicorn app:app``, and send ``curl --data-binary @photo.jpg localhost:8000/score``.
"""

import asyncio
import json
import os
import sys

from fastapi import FastAPI, HTTPException, Request

from deltaoe import lite
from deltaoe.errors import DeltaoeError

LARGEST = int(os.environ.get("LARGEST_UPLOAD", str(20_000_000)))  # bytes
detector = lite.load(os.environ.get("DETECTOR", "detector"))  # what `deltaoe export-onnx` wrote, thresholds included
at_once = asyncio.Semaphore(int(os.environ.get("AT_ONCE", "2")))  # a decoded image takes memory: only so many
app = FastAPI(title="Which images does this classifier know?")
BODY = {"requestBody": {"content": {"application/octet-stream": {"schema": {"format": "binary", "type": "string"}}}}}


@app.get("/health")
def health() -> dict[str, str]:
    """Answer as soon as the model is loaded."""
    return {"status": "ok"}


@app.post("/score", openapi_extra=BODY)
async def score(request: Request) -> dict[str, object]:
    """The verdict of the image that is the request's body, with the fields of ``scores.json``."""
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > LARGEST:
            raise HTTPException(413, f"the image has more than {LARGEST} bytes")
    async with at_once:
        try:
            verdict = await asyncio.to_thread(detector.score, bytes(image))
        except DeltaoeError as cause:
            raise HTTPException(422, str(cause)) from None
    answer = verdict.to_dict()
    sys.stdout.write(json.dumps(answer) + "\n")  # one line per verdict, to watch for drift
    sys.stdout.flush()
    return answer
