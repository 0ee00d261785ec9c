"""Asks for one address in a loop from several threads, half of them on connections that are kept, until standard input has ended and each
has asked often enough. Prints what came of it as JSON.

    python3 callers.py PORT PATH
"""

import collections
import http.client
import json
import sys
import threading

CALLERS = 4
ENOUGH = 15


def ask(port, path, keeps, stop, outcomes):
    """Counts the statuses of the answers, and the errors of requests without one."""
    connection = None
    while not stop.is_set() or sum(outcomes.values()) < ENOUGH:
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", path, headers={} if keeps else {"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            outcomes[str(answer.status)] += 1
            closes = answer.will_close
        except (OSError, http.client.HTTPException) as error:
            outcomes[repr(error)] += 1
            closes = True
        if closes:
            connection.close()
            connection = None


def main():
    """The program."""
    port, path = int(sys.argv[1]), sys.argv[2]
    stop, outcomes = threading.Event(), [collections.Counter() for _ in range(CALLERS)]
    threads = [threading.Thread(target=ask, args=(port, path, index % 2 == 0, stop, outcome)) for index, outcome in enumerate(outcomes)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(sum(outcomes, collections.Counter())))


main()
