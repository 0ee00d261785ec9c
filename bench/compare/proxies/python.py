"""A proxy of FastAPI and httpx, as a user would write one: uvicorn with uvloop and httptools, one process."""

import pathlib

from programs import Program, run

APPLICATION = pathlib.Path(__file__).parent / "python_application.py"
LIBRARIES = "import fastapi, httpx, uvicorn; print('FastAPI', fastapi.__version__, 'httpx', httpx.__version__, 'uvicorn', uvicorn.__version__)"


def version(place):
    return run(place.packages / "python", "-c", LIBRARIES).strip()


def start(place, ports, cores=None, under=(), is_tls=False):
    environment = {
        "UPSTREAM": f"https://127.0.0.1:{place.upstream_port}",
        "UPSTREAM_CA": str(place.certificates.ca),
        "UPSTREAM_TOKEN": place.documents.token,
    }
    port = ports[1] if is_tls else ports[0]
    command = [*under, place.packages / "python", "-m", "uvicorn", "python_application:app", "--app-dir", APPLICATION.parent]
    command += ["--host", "127.0.0.1", "--port", port, "--loop", "uvloop", "--http", "httptools", "--timeout-keep-alive", "1800", "--backlog", "4096"]
    if is_tls:
        command += ["--ssl-certfile", place.certificates.server, "--ssl-keyfile", place.certificates.server_key]
    program = Program(f"python-{port}", command, place.folder, cores, environment)
    program.await_port(port)
    return program
