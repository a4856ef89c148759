"""A service over ``deltaoe.lite``: POST an image, get its verdict as JSON. PyTorch is not needed.

Start it with ``python -m uvicorn app:app``, and send ``curl --data-binary @photo.jpg localhost:8000/score``.
"""

import asyncio
import json
import os
import sys
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.requests import ClientDisconnect

from deltaoe import lite

LARGEST = int(os.environ.get("LARGEST_UPLOAD", "20000000"))  # bytes
# What `deltaoe export-onnx detector` wrote: model, preprocessing, calibration and α.
detector = lite.load(os.environ.get("DETECTOR", "detector"))
at_once = asyncio.Semaphore(2)  # images that are in memory as pixels
app = FastAPI(title="Which images does this classifier know?")
FILE = {"schema": {"type": "string", "format": "binary"}}


@app.get("/health")
def health() -> dict[str, str]:
    """Say so as soon as the model is loaded."""
    return {"status": "ok"}


@app.post("/score", openapi_extra={"requestBody": {"content": {"image/*": FILE}}})
async def score(request: Request) -> dict[str, Any]:
    """The verdict on the image that is the body of the request: the fields of ``scores.json``."""
    image = bytearray()
    try:
        async for part in request.stream():
            image += part
            if len(image) > LARGEST:
                raise HTTPException(413, f"the image has more than {LARGEST} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the image has not arrived whole") from None
    async with at_once:
        verdict = await asyncio.to_thread(detector.score, bytes(image))
    if verdict.error:
        raise HTTPException(422, verdict.error)
    answer = verdict.to_dict()
    sys.stdout.write(json.dumps(answer) + "\n")  # a line per verdict, to watch for drift
    sys.stdout.flush()
    return answer
