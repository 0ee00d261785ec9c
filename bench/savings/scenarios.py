"""What is compared: the same requests through the gateway and to OpenEMR itself, and what each of the two made OpenEMR do."""

import concurrent.futures
import random
import statistics
import threading
import time

from callers import assertion, at_once, exchange, straight, through_gateway
from stage import EXPORT_TYPES, Failed

# So many requests are sent at once, where nothing else is said.
AT_ONCE = 8
RUN = 10
WINDOWS = 10
PAGE = 100
PANELS = ["/Encounter?patient={}", "/Observation?patient={}", "/Condition?patient={}", "/MedicationRequest?patient={}", "/Patient/{}"]


def good(answer, *others):
    """The answer, unless it is none that was hoped for."""
    if answer.status != 200 and answer.status not in others:
        raise Failed(f"an answer has the status {answer.status}: {answer.body[:300]!r}")
    return answer


def patients(stage):
    """The ids of all patients."""
    caller = through_gateway(stage)
    entries = good(caller.get("/Patient")).json()["entry"]
    return [entry["resource"]["id"] for entry in entries]


def measured(stage, run):
    """What `run` made OpenEMR do, and how long it took."""
    stage.begin()
    begun = time.monotonic()
    told = run() or {}
    seconds = time.monotonic() - begun
    state = stage.state()
    paths = state["paths"]
    at = lambda ending: sum(count for path, count in paths.items() if path.endswith(ending))
    return {
        "seconds": round(seconds, 3), "openemr_requests": sum(paths.values()), "exchanges": state["token_requests"],
        "metadata": at("/metadata"), "smart_configuration": at("/smart-configuration"),
        "rows_made": state["search_rows"]["made"], "rows_sent": state["search_rows"]["sent"], **told}


def jobs(stage, requests):
    """Programs that are started, ask ten things and end."""
    chance = random.Random(1)
    ids = patients(stage)
    kinds = ["/Patient/{}"] * 6 + ["/Observation?patient={}"] * 2 + ["/Condition?patient={}"] * 2
    runs = [[kind.format(chance.choice(ids)) for kind in kinds] for _ in range(max(1, requests // RUN))]

    def through(targets):
        caller = through_gateway(stage)
        good(caller.get("/metadata"))
        for target in targets:
            good(caller.get(target))
        caller.close()

    def itself(targets, signed):
        caller = straight(stage)
        good(caller.get("/.well-known/smart-configuration"))
        exchange(caller, signed)
        good(caller.get("/metadata"))
        for target in targets:
            good(caller.get(target))
        caller.close()

    def one(target, signed):
        caller = straight(stage)
        exchange(caller, signed)
        good(caller.get(target))
        caller.close()

    signed = at_once([lambda: assertion(stage)] * len(runs), 2)
    tasks = {
        "gateway": [lambda targets=targets: through(targets) for targets in runs],
        "token_a_run": [lambda pair=pair: itself(*pair) for pair in zip(runs, signed)]}
    found = {name: measured(stage, lambda all_of=all_of: at_once(all_of, AT_ONCE) and None) for name, all_of in tasks.items()}
    singles = [target for targets in runs for target in targets]
    signed = at_once([lambda: assertion(stage)] * len(singles), 2)
    tasks = [lambda pair=pair: one(*pair) for pair in zip(singles, signed)]
    found["token_a_request"] = measured(stage, lambda: at_once(tasks, AT_ONCE) and None)
    return {"runs": len(runs), "requests": len(singles), **found}


def dashboards(stage, requests):
    """The same dashboard in ten windows, which all load it when a minute begins, as far as their clocks agree."""
    rounds = max(1, requests // (WINDOWS * len(PANELS)))
    ids = patients(stage)

    def load(callers):
        chance = random.Random(2)
        # The chart is in each tenth patient: others' panels would be empty.
        shown = [ids[10 * (number % (len(ids) // 10))] for number in range(rounds)]
        starts = [[chance.uniform(0, 0.1) for _ in callers] for _ in shown]
        all_ready = threading.Barrier(len(callers))

        def window(number, caller):
            own = []
            for patient, late in zip(shown, starts):
                all_ready.wait(180)
                time.sleep(late[number])
                begun = time.monotonic()
                for panel in PANELS:
                    good(caller.get(panel.format(patient)))
                own.append(time.monotonic() - begun)
            return own

        tasks = [lambda pair=pair: window(*pair) for pair in enumerate(callers)]
        waits = sorted(wait for own in at_once(tasks, len(callers)) for wait in own)
        return {"median_seconds": round(statistics.median(waits), 3), "longest_seconds": round(waits[-1], 3)}

    with_token = [straight(stage) for _ in range(WINDOWS)]
    for caller in with_token:
        exchange(caller, assertion(stage))
    found = {"gateway": measured(stage, lambda: load([through_gateway(stage) for _ in range(WINDOWS)])),
             "straight": measured(stage, lambda: load(with_token))}
    return {"windows": WINDOWS, "rounds": rounds, "requests": rounds * WINDOWS * len(PANELS), **found}


def repeated(callers, targets, fields_of, note=lambda target, answer: None):
    """Sends the requests over the callers' connections; the bytes of the bodies, and how often there was none."""
    def work(caller, own):
        length, unchanged = 0, 0
        for target in own:
            answer = good(caller.get(target, **fields_of(target)), 304)
            note(target, answer)
            length += len(answer.body)
            unchanged += answer.status == 304
        return length, unchanged

    shares = [targets[number::len(callers)] for number in range(len(callers))]
    counted = at_once([lambda pair=pair: work(*pair) for pair in zip(callers, shares)], len(callers))
    return {"body_bytes": sum(length for length, _ in counted), "not_modified": sum(times for _, times in counted)}


def callers_of(stage, make):
    """So many callers as send requests at once, with one token for all where they need one."""
    callers = [make(stage) for _ in range(AT_ONCE)]
    if make is straight:
        exchange(callers[0], assertion(stage))
        for caller in callers:
            caller.token = callers[0].token
    return callers


def unchanged(stage, requests):
    """Reads of what the caller has already, by the tag that it got with it."""
    targets = [f"/Patient/{one}" for one in patients(stage)[:100]]
    again = [targets[number % len(targets)] for number in range(requests)]

    def both(make):
        tags, callers = {}, callers_of(stage, make)
        repeated(callers, targets, lambda _: {}, lambda target, answer: tags.update({target: answer.fields["ETag"]}))
        fields_of = lambda target: {"If_None_Match": tags[target]} if tags[target] else {}
        found = measured(stage, lambda: repeated(callers, again, fields_of))
        return {"with_tag": sum(tag is not None for tag in tags.values()), **found}

    return {"requests": requests, "resources": len(targets), "gateway": both(through_gateway), "straight": both(straight)}


def compressed(stage, requests):
    """Searches for fifty patients by a caller that takes gzip."""
    many = len(patients(stage))
    targets = [f"/Patient?_count=50&_offset={50 * (number % (many // 50))}" for number in range(requests)]
    both = lambda make: measured(stage, lambda callers=callers_of(stage, make): repeated(
        callers, targets, lambda _: {"Accept_Encoding": "gzip"}))
    return {"requests": requests, "gateway": both(through_gateway), "straight": both(straight)}


def exports(stages, scale):
    """An export of eight types, each of which takes OpenEMR 8 s, at an OpenEMR whose Apache gives up after a minute. `stages`: one for
    each of the two."""
    takes, waits = round(8000 * scale), round(60000 * scale)
    fields = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    for stage in stages:
        stage.begin()
        stage.order({"export": {"type_takes_ms": takes, "apache_waits_ms": waits}})

    def kick_offs(stage):
        return [{"types": len(one["types"]), "status": one["status"]} for one in stage.state()["exports"]["kick_offs"]]

    def itself():
        stage = stages[0]
        caller = straight(stage)
        exchange(caller, assertion(stage))
        begun = time.monotonic()
        answer = caller.get("/$export", **fields)
        return {"status": answer.status, "seconds": round(time.monotonic() - begun, 3), "kick_offs": kick_offs(stage)}

    def through():
        stage = stages[1]
        caller = through_gateway(stage)
        begun = time.monotonic()
        since = lambda: round(time.monotonic() - begun, 3)
        answer = caller.get("/$export", **fields)
        if answer.status != 202:
            raise Failed(f"the gateway answered an export with {answer.status}: {answer.body[:300]!r}")
        accepted, status = since(), below(stage, answer.fields["Content-Location"])
        while (answer := good(caller.send("GET", status), 202)).status == 202:
            time.sleep(0.2)
        complete, manifest = since(), answer.json()
        files = [good(caller.send("GET", below(stage, one["url"]))) for one in manifest["output"]]
        lines = sum(len(one.body.splitlines()) for one in files)
        return {"accepted_seconds": accepted, "manifest_seconds": complete, "seconds": since(), "files": len(files),
                "resources": lines, "errors": len(manifest["error"]), "kick_offs": kick_offs(stage)}

    with concurrent.futures.ThreadPoolExecutor() as both:
        straight_one, gateway_one = both.submit(itself), both.submit(through)
        found = {"straight": straight_one.result(), "gateway": gateway_one.result()}
    return {"types": len(EXPORT_TYPES), "type_takes_ms": takes, "apache_waits_ms": waits, **found}


def below(stage, url):
    """The target of a URL of the gateway's."""
    return url.removeprefix(f"http://127.0.0.1:{stage.gateway}")


def walk(stage, resource_type):
    """Follows the `next` links of a search from its first page to its last."""
    caller, pages, ids, longest = through_gateway(stage), 0, [], 0.0
    target = f"/fhir/{resource_type}?_count={PAGE}"
    while target:
        begun = time.monotonic()
        bundle = good(caller.send("GET", target)).json()
        longest = max(longest, time.monotonic() - begun)
        pages += 1
        ids += [entry["resource"]["id"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == "match"]
        target = next((below(stage, link["url"]) for link in bundle["link"] if link["relation"] == "next"), None)
    return {"pages": pages, "matches": len(set(ids)), "doubles": len(ids) - len(set(ids)), "longest_page_seconds": round(longest, 3)}


def unpaged(stage, resource_type):
    """What OpenEMR itself has: the second page, and the set as a whole."""
    caller = straight(stage)
    exchange(caller, assertion(stage))
    numbers = lambda query: [entry["resource"]["id"] for entry in good(caller.get(f"/{resource_type}{query}")).json()["entry"]]
    pages = [numbers(f"?_count={PAGE}&_offset={offset}") for offset in (0, PAGE)]
    whole = {}

    def all_at_once():
        answer = good(caller.get(f"/{resource_type}"))
        whole["ids"] = {entry["resource"]["id"] for entry in answer.json()["entry"]}
        return {"body_bytes": len(answer.body)}

    told = measured(stage, all_at_once)
    return {"second_page_is_the_first": pages[0] == pages[1], "matches": len(whole["ids"]), **told}
