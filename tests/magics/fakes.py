"""A view without a cluster: real results, tasks that the test ends itself."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from types import SimpleNamespace

from traitlets import Any, Bool, HasTraits

from ipyviews.client.ledger import Ledger
from ipyviews.client.results import AsyncResult
from ipyviews.client.tasks import Task


class FakeConnection:
    failure = None
    #: Output is shown at once.
    later = None

    def __init__(self):
        self.ledger = Ledger()
        self.asked = []

    def request(self, name, **content):
        self.asked.append((name, content))

    def check_may_wait(self):
        return

    def check_thread(self):
        return


class FakeClient:
    closed = False

    def __init__(self, ids):
        self.ids = list(ids)
        self.connection = FakeConnection()
        self.signals = []
        self.restarted = []

    def send_signal(self, signum, targets):
        self.signals.append((signum, targets))

    def restart(self, targets, now):
        self.restarted.append((targets, now))


class FakeView(HasTraits):
    """Notes what is executed; `answer` is called with the view and the new tasks."""

    block = Bool(False)
    targets = Any()

    def __init__(self, ids=(0, 1), *, answer=None):
        super().__init__()
        self.client = FakeClient(ids)
        self.targets = list(ids)
        self.calls = []
        self.tasks = []
        self._answer = answer or (lambda view, tasks: [view.end(task) for task in tasks])
        self._numbers = itertools.count()
        #: Engines that begin a cell at once.
        self.idle = [engine for engine in ids if engine is not None]

    @contextmanager
    def temp_flags(self, targets):
        before, self.targets = self.targets, targets
        yield
        self.targets = before

    def execute(self, code, silent=True, block=None, *, setup=False):
        targets = self.targets
        self.calls.append(SimpleNamespace(code=code, silent=silent, targets=targets, setup=setup))
        ids = self.client.ids if targets == "all" else targets
        engines = [ids] if isinstance(ids, int) else ids
        self.tasks = [
            Task(f"r.{next(self._numbers)}", "execute", engine, time.time()) for engine in engines
        ]
        self.client.connection.ledger.enter(self.tasks)
        children = self.tasks[0] if isinstance(ids, int) else self.tasks
        result = AsyncResult(self.client, children, "%px", targets=targets)
        for task in self.tasks:
            if task.engine in self.idle:
                self.begin(task)
        self._answer(self, self.tasks)
        return result

    def begin(self, task):
        self.write(task, "execute_input", code=self.calls[-1].code, execution_count=1)

    def write(self, task, msg_type, **content):
        message = SimpleNamespace(
            msg_type=msg_type, ours={"engine": task.engine}, metadata={}, buffers=[]
        )
        self.client.connection.ledger.written(message, content, task)

    def prints(self, task, text, name="stdout"):
        self.write(task, "stream", name=name, text=text)

    def end(self, task, **content):
        message = SimpleNamespace(ours={"engine": task.engine}, buffers=[])
        self.client.connection.ledger.leave([task])
        task.finish(message, {"status": "ok", "execution_count": 1, **content})

    def drop(self, task):
        """End it as the controller does when it was cancelled."""
        message = SimpleNamespace(ours={"verdict": "cancelled"}, buffers=[])
        self.client.connection.ledger.leave([task])
        task.finish(message, {"status": "error", "ename": "TaskAborted", "evalue": "cancelled"})

    def fail(self, task, ename="ZeroDivisionError", evalue="division by zero", **more):
        error = {"ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}"], **more}
        self.write(task, "error", **error)
        self.end(task, status="error", **error)
