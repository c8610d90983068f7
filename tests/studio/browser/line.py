"""A line between browser and studio that can be cut: whatever goes over it breaks off at once."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Line:
    """A port of its own whose connections go on to the studio."""

    def __init__(self, url: str) -> None:
        self._goal = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._door = socket.create_server(("127.0.0.1", 0))
        self._port = self._door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._listen()

    def drop(self) -> None:
        """Break every connection that there is; new ones come through."""
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        """Break every connection and take no new ones."""
        self._door.close()
        self._thread.join(10)
        self.drop()

    def mend(self) -> None:
        """Take connections again."""
        self._door = socket.create_server(("127.0.0.1", self._port))
        self._listen()

    def _listen(self) -> None:
        self._door.settimeout(0.02)  # so that it notices that it is closed
        self._thread = threading.Thread(target=self._accept, args=(self._door,), daemon=True)
        self._thread.start()

    def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                near, _ = door.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            near.settimeout(None)
            far = socket.create_connection(self._goal)
            with self._lock:
                self._ends |= {near, far}
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, given: socket.socket, taken: socket.socket) -> None:
        with suppress(OSError):
            while part := given.recv(65536):
                taken.sendall(part)
        for end in (given, taken):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._ends -= {given, taken}
