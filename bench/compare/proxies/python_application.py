"""FastAPI and httpx as a proxy: the natural one, with one client that keeps its connections."""
import contextlib
import os
import ssl

import fastapi
import httpx
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


@contextlib.asynccontextmanager
async def lifespan(app):
    context = ssl.create_default_context(cafile=os.environ["UPSTREAM_CA"])
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"], verify=context, limits=limits, timeout=60) as client:
        app.state.client = client
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.api_route("/fhir/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def forward(path: str, request: fastapi.Request):
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP | {"authorization"}]
    headers.append(("authorization", f"Bearer {os.environ['UPSTREAM_TOKEN']}"))
    client = request.app.state.client
    url = client.base_url.copy_with(raw_path=f"/apis/default/fhir/{path}".encode(), query=request.url.query.encode() or None)
    body = await request.body()
    answer = await client.send(client.build_request(request.method, url, headers=headers, content=body or None), stream=True)
    passed = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, passed, background=BackgroundTask(answer.aclose))
