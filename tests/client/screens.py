"""A front end, a clock and a cell for the tests of output as it comes."""

from __future__ import annotations

from ipyviews.client.live import LiveDisplay
from ipyviews.client.tasks import Task


class Page:
    """A front end: what is on it, and the messages that came."""

    def __init__(self, *, is_page=True):
        self.is_page = is_page
        #: Streams, and displays by their id, in the order of their places.
        self.places = []
        self.messages = []

    def write(self, stream, text):
        self.messages.append(("stream", text))
        self.places.append([None, text])

    def publish(self, msg_type, content, buffers=()):
        self.messages.append((msg_type, content))
        shown = content.get("transient", {}).get("display_id")
        text = content.get("data", {}).get("text/plain")
        if msg_type == "clear_output":
            self.places.clear()
        elif msg_type == "display_data":
            self.places.append([shown, f"<{text}>"])
        else:
            for place in self.places:
                if place[0] == shown:
                    place[1] = f"<{text}>"

    def paint(self, name, text):
        there = any(place[0] == name for place in self.places)
        kind = "update_display_data" if there else "display_data"
        content = {"data": {"text/plain": text}, "transient": {"display_id": name}}
        self.publish(kind, content)

    @property
    def text(self):
        return "".join(text for _, text in self.places)


class Time:
    """A clock, and what is to be done later."""

    def __init__(self):
        self.now = 100.0
        self.due = []

    def later(self, delay_s, action):
        self.due.append((self.now + delay_s, action))

    def pass_(self, seconds):
        end = self.now + seconds
        while self.due and min(when for when, _ in self.due) <= end:
            self.due.sort(key=lambda entry: entry[0])
            self.now, action = self.due.pop(0)
            action()
        self.now = end


class Cell:
    """A cell that runs on engines, and is shown."""

    def __init__(self, engines=2, *, paced=True, is_page=True, **options):
        self.page = Page(is_page=is_page)
        self.time = Time()
        self.tasks = [Task(f"c-1.{i}", "execute", i, 0.0) for i in range(engines)]
        later = self.time.later if paced else None
        self.live = LiveDisplay(
            self.tasks, self.page, later=later, clock=lambda: self.time.now, **options
        )

    def message(self, engine, msg_type, **content):
        self.live(self.tasks[engine], msg_type, content, {}, (), None)

    def prints(self, engine, text, name="stdout"):
        self.message(engine, "stream", name=name, text=text)

    def displays(self, engine, text, display_id=None, msg_type="display_data"):
        transient = {} if display_id is None else {"display_id": display_id}
        self.message(engine, msg_type, data={"text/plain": text}, transient=transient)

    def ends(self, *engines):
        for engine in engines or range(len(self.tasks)):
            self.live.ended(self.tasks[engine])
