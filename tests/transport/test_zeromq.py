"""The ZeroMQ ports, over ipc in a private folder; no kernel."""

import asyncio
import errno
import select
import stat
import sys

import pytest
import zmq

from ipyviews.errors import ClusterError
from ipyviews.transport.base import PeerGone
from ipyviews.transport.zeromq import ZmqTransport, raise_file_limit
from tests.waiting import eventually


class Box:
    """Collects messages; `wait` returns when there are enough."""

    def __init__(self):
        self.got = []
        self._changed = asyncio.Event()

    def __call__(self, frames):
        self.got.append(frames)
        self._changed.set()

    async def wait(self, count):
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.got


@pytest.fixture
async def transport():
    made = ZmqTransport(asyncio.get_running_loop())
    yield made
    made.close()


@pytest.fixture
async def other():
    """The transport of another process, so to speak."""
    made = ZmqTransport(asyncio.get_running_loop())
    yield made
    made.close()


@pytest.fixture
def url(tmp_path):
    return f"ipc://{tmp_path}/s"


def is_gone(port, peer):
    try:
        port.send([peer, b"x"])
    except PeerGone:
        return True
    return False


async def met(router, dealer):
    """Exchange one message in each direction."""
    at_router, at_dealer = Box(), Box()
    router.listen(at_router)
    dealer.listen(at_dealer)
    dealer.send([b"hello"])
    ((name, _),) = await at_router.wait(1)
    router.send([name, b"welcome"])
    await at_dealer.wait(1)
    at_router.got.clear()
    at_dealer.got.clear()
    return at_router, at_dealer


async def test_what_arrives_before_a_send_that_fails_is_delivered(transport, other, url):
    router, dealer = transport.bind_router(url, b"c"), other.connect_dealer(url, b"me")
    at_router, _ = await met(router, dealer)
    for number in range(50):
        dealer.send([b"%d" % number])
        # All in one turn of the loop, so that nobody has looked since.
        assert select.select([router._socket.FD], [], [], 20)[0]
        assert is_gone(router, b"nobody")
        await at_router.wait(number + 1)


async def test_messages_go_both_ways_with_the_dealers_name(transport, other, url):
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    inbox, back = Box(), Box()
    router.listen(inbox)
    dealer.listen(back)
    dealer.send([b"a", b"", b"c" * 300])
    assert await inbox.wait(1) == [[b"me", b"a", b"", b"c" * 300]]
    router.send([b"me", b"x", b"y"])
    assert await back.wait(1) == [[b"x", b"y"]]


async def test_large_buffers_arrive_writable_and_are_passed_on_unchanged(transport, other, url):
    router = transport.bind_router(url, b"c")
    sender = other.connect_dealer(url, b"sender")
    receiver = other.connect_dealer(url, b"receiver")
    _, got = await met(router, receiver)
    router.listen(lambda frames: router.send([b"receiver", *frames]))
    big = bytes(range(256)) * 4000
    sender.send([b"h"] * 6 + [big, memoryview(big)[1000:900_000], bytearray(b"small")])
    (message,) = await got.wait(1)
    whole, cut, small = message[-3:]
    # Compared outside the asserts: a failure's report of a megabyte takes minutes.
    same = (whole == big, cut == big[1000:900_000])
    assert same == (True, True)
    assert small == b"small"
    assert isinstance(small, bytes)
    assert isinstance(cut, memoryview)
    cut[0] = 7
    assert (cut[0], big[1000]) == (7, 232)


async def test_a_slow_reader_loses_nothing(transport, other, url):
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    _, at_dealer = await met(router, dealer)
    count = 20_000
    for number in range(count):
        router.send([b"me", number.to_bytes(4)])
    messages = await at_dealer.wait(count)
    assert [int.from_bytes(frames[0]) for frames in messages] == list(range(count))


async def test_a_reader_that_starts_late_loses_nothing(transport, other, url):
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    for number in range(5000):
        dealer.send([number.to_bytes(4)])
    inbox = Box()
    router.listen(inbox)
    assert len(await inbox.wait(5000)) == 5000


async def test_sending_to_an_unknown_peer_says_so(transport, url):
    router = transport.bind_router(url, b"c")
    with pytest.raises(PeerGone):
        router.send([b"nobody", b"x"])


async def test_sending_to_a_peer_that_left_says_so(transport, other, url):
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    await met(router, dealer)
    dealer.close()
    await eventually(lambda: is_gone(router, b"me"))


async def test_sending_on_a_closed_port_says_so(transport, url):
    router = transport.bind_router(url, b"c")
    router.close()
    router.close()
    with pytest.raises(PeerGone):
        router.send([b"me", b"x"])


async def test_a_handler_that_raises_does_not_stop_the_port(transport, other, url):
    loop = asyncio.get_running_loop()
    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    good = Box()

    def handler(frames):
        if frames[1] == b"bad":
            raise ValueError("bad")
        good(frames)

    router.listen(handler)
    for word in (b"1", b"bad", b"2"):
        dealer.send([word])
    assert [frames[1] for frames in await good.wait(2)] == [b"1", b"2"]
    assert [str(error) for error in reported] == ["bad"]


async def test_a_busy_port_lets_the_loop_have_its_turns(transport, other, url):
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    at_router, _ = await met(router, dealer)
    for _ in range(30_000):
        dealer.send([b"x"])
    turns = 0
    while len(at_router.got) < 30_000:
        turns += 1
        await asyncio.sleep(0)
        if turns == 1:
            await at_router.wait(1)
    # 30,000 messages take some 100 ms; one turn reads for at most 5 ms.
    assert turns > 5


async def test_a_send_does_not_swallow_the_wake_up(transport, other, url):
    """Both ends send while they receive; with the edge lost one of them would wait forever."""
    router = transport.bind_router(url, b"c")
    dealer = other.connect_dealer(url, b"me")
    rounds, done = 3000, asyncio.Event()
    seen = 0

    def answer(frames):
        nonlocal seen
        seen += 1
        if seen == rounds:
            done.set()
        dealer.send([b"again"])

    router.listen(lambda frames: router.send([frames[0], b"back"]))
    dealer.listen(answer)
    for _ in range(5):
        dealer.send([b"go"])
    await asyncio.wait_for(done.wait(), 20)


async def test_the_socket_file_is_the_owners_alone(transport, tmp_path):
    transport.bind_router(f"ipc://{tmp_path}/s", b"c")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_an_address_that_cannot_be_used_is_one_sentence(transport, tmp_path):
    for attempt in (
        lambda: transport.bind_router(f"ipc://{tmp_path}/{'x' * 200}", b"c"),
        lambda: transport.bind_router(f"ipc://{tmp_path}/no/such/folder", b"c"),
        lambda: transport.connect_dealer("nonsense", b"c"),
        lambda: transport.connect_sub("nonsense"),
    ):
        with pytest.raises(ClusterError, match="cannot be used"):
            attempt()


async def test_disconnection_is_told_after_the_last_message(transport, other, url):
    router = other.bind_router(url, b"c")
    events = []
    dealer = transport.connect_dealer(url, b"me", lambda: events.append("disconnected"))
    dealer.listen(lambda frames: events.append(frames[0]))
    greeted = Box()
    router.listen(greeted)
    dealer.send([b"hello"])
    await greeted.wait(1)
    for number in range(100):
        router.send([b"me", b"%d" % number])
    router.close()
    await eventually(lambda: "disconnected" in events)
    assert events == [b"%d" % number for number in range(100)] + ["disconnected"]


async def test_disconnection_is_told_to_a_port_that_does_not_listen(transport, other, url):
    router = other.bind_router(url, b"c")
    told = asyncio.Event()
    dealer = transport.connect_dealer(url, b"me", told.set)
    greeted = Box()
    router.listen(greeted)
    dealer.send([b"hello"])
    await greeted.wait(1)
    router.close()
    await asyncio.wait_for(told.wait(), 5)


PEER = """
import sys, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.bind(sys.argv[1])
name, _ = router.recv_multipart()
router.send_multipart([name, b"last words"])
router.recv_multipart()
"""


async def test_the_death_of_the_peers_process_is_told(transport, url):
    events, done = [], asyncio.Event()
    dealer = transport.connect_dealer(url, b"me", done.set)
    dealer.listen(events.append)
    peer = await asyncio.create_subprocess_exec(sys.executable, "-c", PEER, url)
    try:
        dealer.send([b"hello"])
        await eventually(lambda: events)
        assert not done.is_set()
    finally:
        peer.kill()
        await peer.wait()
    await asyncio.wait_for(done.wait(), 5)
    assert events == [[b"last words"]]


async def test_sockets_beyond_the_limit_are_one_sentence(transport, monkeypatch):
    def full(_kind):
        raise zmq.ZMQError(errno.EMFILE)

    monkeypatch.setattr(transport._context, "socket", full)
    with pytest.raises(ClusterError, match="Too many open files"):
        transport.engine_router(b"c")


async def test_closing_the_port_itself_is_no_disconnection(transport, other, url):
    router = other.bind_router(url, b"c")
    told = []
    dealer = transport.connect_dealer(url, b"me", lambda: told.append(1))
    await met(router, dealer)
    dealer.close()
    await eventually(lambda: is_gone(router, b"me"))
    assert told == []


async def test_a_client_that_comes_back_keeps_its_name(transport, other, url):
    router = transport.bind_router(url, b"c")
    first = other.connect_dealer(url, b"me")
    await met(router, first)
    second = other.connect_dealer(url, b"me")
    box = Box()
    second.listen(box)
    second.send([b"hello"])
    inbox = Box()
    router.listen(inbox)
    await inbox.wait(1)
    router.send([b"me", b"you"])
    assert await box.wait(1) == [[b"you"]]


class Kernel:
    """A bound ROUTER that answers with its name, as a kernel's shell does."""

    def __init__(self, transport, url, name):
        self.port = transport.bind_router(url, b"")
        self.heard = []
        self.name = name
        self.port.listen(self._answer)

    def _answer(self, frames):
        self.heard.append(frames[1])
        self.port.send([frames[0], self.name, *frames[1:]])


async def test_an_engine_is_reached_by_its_routing_id(transport, other, tmp_path):
    engines = transport.engine_router(b"controller")
    box = Box()
    engines.listen(box)
    kernels = [Kernel(other, f"ipc://{tmp_path}/{n}", b"kernel%d" % n) for n in range(4)]
    for n in range(4):
        engines.connect(b"e%d.1" % n, f"ipc://{tmp_path}/{n}")
        engines.send([b"e%d.1" % n, b"task%d" % n])
    replies = await box.wait(4)
    assert sorted(replies) == [[b"e%d.1" % n, b"kernel%d" % n, b"task%d" % n] for n in range(4)]
    assert [kernel.heard for kernel in kernels] == [[b"task%d" % n] for n in range(4)]


async def test_messages_before_the_kernel_is_up_arrive(transport, other, url):
    engines = transport.engine_router(b"controller")
    box = Box()
    engines.listen(box)
    engines.connect(b"e0.1", url)
    engines.send([b"e0.1", b"early"])
    await asyncio.sleep(0)
    kernel = Kernel(other, url, b"kernel")
    await box.wait(1)
    assert kernel.heard == [b"early"]


async def test_a_routing_id_is_refused_a_second_time(transport, other, tmp_path):
    engines = transport.engine_router(b"controller")
    engines.connect(b"e0.1", f"ipc://{tmp_path}/a")
    with pytest.raises(AssertionError, match="used before"):
        engines.connect(b"e0.1", f"ipc://{tmp_path}/b")
    engines.disconnect(b"e0.1")
    with pytest.raises(AssertionError, match="used before"):
        engines.connect(b"e0.1", f"ipc://{tmp_path}/a")
    engines.connect(b"e0.2", f"ipc://{tmp_path}/a")
    with pytest.raises(AssertionError, match="disconnect its old life"):
        engines.connect(b"e0.3", f"ipc://{tmp_path}/a")


async def test_what_was_queued_for_a_dead_engine_never_reaches_its_successor(transport, other, url):
    engines = transport.engine_router(b"controller")
    box = Box()
    engines.listen(box)
    first = Kernel(other, url, b"first")
    engines.connect(b"e0.1", url)
    engines.send([b"e0.1", b"one"])
    await box.wait(1)
    first.port.close()
    engines.send([b"e0.1", b"for the dead"])
    engines.disconnect(b"e0.1")
    await eventually(lambda: is_gone(engines, b"e0.1"))
    second = Kernel(other, url, b"second")
    engines.connect(b"e0.2", url)
    engines.send([b"e0.2", b"two"])
    replies = await box.wait(2)
    assert replies[-1] == [b"e0.2", b"second", b"two"]
    assert second.heard == [b"two"]


async def test_300_rounds_of_disconnect_and_connect(transport, other, url):
    engines = transport.engine_router(b"controller")
    box = Box()
    engines.listen(box)
    Kernel(other, url, b"kernel")
    for life in range(1, 301):
        engines.connect(b"e0.%d" % life, url)
        engines.disconnect(b"e0.%d" % life)
    engines.disconnect(b"e0.300")
    engines.connect(b"e0.301", url)
    engines.send([b"e0.301", b"still alive"])
    assert await box.wait(1) == [[b"e0.301", b"kernel", b"still alive"]]


async def test_a_subscriber_gets_its_topics(transport, url):
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.linger = 0
    try:
        publisher.bind(url)
        port = transport.connect_sub(url)
        box = Box()
        port.listen(box)
        port.subscribe(b"a")
        assert await asyncio.to_thread(publisher.recv) == b"\x01a"
        publisher.send_multipart([b"abc", b"1"])
        publisher.send_multipart([b"b", b"2"])
        publisher.send_multipart([b"a", b"3"])
        assert await box.wait(2) == [[b"abc", b"1"], [b"a", b"3"]]
        port.unsubscribe(b"a")
        assert await asyncio.to_thread(publisher.recv) == b"\x00a"
    finally:
        publisher.close()
        context.term()


async def test_closing_sends_what_is_queued_and_ends_soon(other, url):
    loop = asyncio.get_running_loop()
    router = other.bind_router(url, b"c")
    inbox = Box()
    router.listen(inbox)
    leaving = ZmqTransport(loop)
    leaving.connect_dealer(url, b"me").send([b"farewell"])
    unheard = leaving.connect_dealer(url + "-nobody", b"me", lambda: None)
    unheard.send([b"never"])
    start = loop.time()
    leaving.close()
    assert loop.time() - start < 3
    assert await inbox.wait(1) == [[b"me", b"farewell"]]


def test_the_limit_of_open_files_can_only_grow():
    before = raise_file_limit(0)
    assert raise_file_limit(before + 1) in (before, before + 1)
