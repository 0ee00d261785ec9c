"""Clients that ask all the time while something is replaced."""

import threading

from programs import until


class Load:
    """Four clients that ask without a pause, two on connections that they keep and two on a new one each time. What they got is in
    `answers`: a status or an error."""

    def __init__(self, test, connect, path, **fields):
        self._connect, self._path = connect, path
        self._fields = {name.replace("_", "-"): value for name, value in fields.items()}
        self.answers, self._over = [], threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=[keeps]) for keeps in (True, True, False, False)]
        for client in self._clients:
            client.start()
        test.addCleanup(self.stop)

    def _ask(self, keeps):
        connection = None
        while not self._over.is_set():
            try:
                connection = connection or self._connect()
                connection.request("GET", self._path, headers=self._fields)
                answer = connection.getresponse()
                answer.read()
                self.answers.append(answer.status)
                is_last = not keeps or answer.getheader("Connection", "").lower() == "close"
            except Exception as error:
                self.answers.append(repr(error))
                is_last = True
            if is_last and connection:
                connection.close()
                connection = None
        if connection:
            connection.close()

    def until_answers(self, count):
        """Waits for so many more answers."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} more answers")

    def stop(self):
        """Ends the clients, and returns what they got."""
        self._over.set()
        for client in self._clients:
            client.join()
        return self.answers
