"""The ports in memory: the same behaviour as ZeroMQ's, and faults on demand."""

import asyncio

import pytest

from ipyviews.errors import ClusterError
from ipyviews.transport.base import LARGE_FRAME, PeerGone
from ipyviews.transport.memory import MemoryNetwork, MemoryTransport
from tests.virtualtime import VirtualTime

HERE = "mem://here"


@pytest.fixture
def time():
    return VirtualTime()


@pytest.fixture
def network(time):
    return MemoryNetwork(time, seed=1)


@pytest.fixture
def met(time, network):
    """A router and a dealer that know each other, with what each has got."""
    router, dealer = network.router(HERE), network.dealer(HERE, b"me")
    at_router, at_dealer = [], []
    router.listen(at_router.append)
    dealer.listen(at_dealer.append)
    time.run()
    return router, dealer, at_router, at_dealer


def numbered(count):
    return [[b"%d" % number] for number in range(count)]


def send_all(port, messages, peer=()):
    for message in messages:
        port.send([*peer, *message])


def test_messages_go_both_ways_with_the_dealers_name(time, met):
    router, dealer, at_router, at_dealer = met
    dealer.send([b"a", bytearray(b"b")])
    router.send([b"me", b"c"])
    time.run()
    assert at_router == [[b"me", b"a", b"b"]]
    assert at_dealer == [[b"c"]]


def test_nothing_is_delivered_before_the_next_turn(time, met):
    _, dealer, at_router, _ = met
    dealer.send([b"a"])
    assert at_router == []
    time.run()
    assert at_router == [[b"me", b"a"]]


def test_frames_are_copied_and_large_ones_are_writable(time, met):
    _, dealer, at_router, _ = met
    large = bytearray(LARGE_FRAME)
    dealer.send([large, b"small"])
    large[0] = 1
    time.run()
    _, got, small = at_router[0]
    assert got[0] == 0
    got[0] = 2
    assert large[0] == 1
    assert type(small) is bytes


def test_an_unknown_peer_is_gone(met):
    router, *_ = met
    with pytest.raises(PeerGone):
        router.send([b"nobody", b"x"])


def test_a_peer_that_closed_is_gone(met):
    router, dealer, *_ = met
    dealer.close()
    for port, frames in ((router, [b"me", b"x"]), (dealer, [b"x"])):
        with pytest.raises(PeerGone):
            port.send(frames)


def test_a_dropped_peer_is_gone_and_hears_of_it(time, network):
    told = []
    router = network.router(HERE)
    network.dealer(HERE, b"me", lambda: told.append(1))
    time.run()
    router.send([b"me", b"x"])
    network.drop(b"me")
    time.run()
    assert told == [1]
    with pytest.raises(PeerGone):
        router.send([b"me", b"x"])


def test_disconnection_is_told_after_the_last_message(time, network):
    events = []
    router = network.router(HERE)
    dealer = network.dealer(HERE, b"me", lambda: events.append("gone"))
    dealer.listen(events.append)
    time.run()
    network.connections(HERE)[0].back.faults.delay = 1.0
    send_all(router, numbered(3), [b"me"])
    router.close()
    time.run(2)
    assert events == [*numbered(3), "gone"]


def test_messages_wait_for_the_address_to_be_bound_again(time, network, met):
    router, dealer, _, at_dealer = met
    router.close()
    dealer.send([b"meanwhile"])
    time.run()
    successor, got = network.router(HERE), []
    successor.listen(got.append)
    time.run()
    assert got == [[b"me", b"meanwhile"]]
    successor.send([b"me", b"hello"])
    time.run()
    assert at_dealer == [[b"hello"]]


def test_a_client_that_comes_back_keeps_its_name(time, network, met):
    router, first, *_ = met
    second, got = network.dealer(HERE, b"me"), []
    second.listen(got.append)
    time.run()
    first.close()
    router.send([b"me", b"x"])
    time.run()
    assert got == [[b"x"]]


def test_an_address_is_bound_once(network):
    network.router(HERE)
    with pytest.raises(ClusterError, match="in use"):
        network.router(HERE)


def test_a_stalled_port_loses_nothing(time, met):
    _, dealer, at_router, _ = met
    router = met[0]
    router.stall()
    send_all(dealer, numbered(50))
    time.run(10)
    assert at_router == []
    router.resume()
    time.run()
    assert [message[1:] for message in at_router] == numbered(50)


def test_a_port_that_stalls_while_it_reads_stops_at_once(time, met):
    router, dealer, *_ = met
    got = []
    router.listen(lambda message: (got.append(message), router.stall()))
    send_all(dealer, numbered(3))
    time.run()
    assert len(got) == 1


def test_delay_keeps_the_order(time, network, met):
    _, dealer, at_router, _ = met
    network.connections(HERE)[0].out.faults.delay = 2.0
    send_all(dealer, numbered(5))
    time.run(1.9)
    assert at_router == []
    time.run(0.2)
    assert [message[1:] for message in at_router] == numbered(5)


def test_loss_duplicates_and_disorder_are_what_was_asked_for(time, network, met):
    _, dealer, at_router, _ = met
    faults = network.connections(HERE)[0].out.faults

    def arrived(count=400):
        at_router.clear()
        send_all(dealer, numbered(count))
        time.run()
        return [int(message[1]) for message in at_router]

    faults.loss = 0.5
    assert 100 < len(arrived()) < 300
    faults.loss, faults.duplicate = 0.0, 0.5
    assert 500 < len(arrived()) < 700
    faults.duplicate, faults.reorder = 0.0, 0.5
    numbers = arrived()
    assert sorted(numbers) == list(range(400))
    assert numbers != sorted(numbers)


def test_the_same_seed_makes_the_same_run():
    def run(seed):
        time = VirtualTime()
        network = MemoryNetwork(time, seed)
        got = []
        network.router(HERE).listen(got.append)
        dealer = network.dealer(HERE, b"me")
        time.run()
        faults = network.connections(HERE)[0].out.faults
        faults.loss = faults.duplicate = faults.reorder = 0.3
        send_all(dealer, numbered(100))
        time.run()
        return got

    assert run(1) == run(1) != run(2)


def test_a_handler_that_raises_does_not_stop_the_port(time, met):
    router, dealer, *_ = met
    got = []
    router.listen(lambda message: got.append(1 / int(message[1])))
    send_all(dealer, [[b"1"], [b"0"], [b"2"]])
    time.run()
    assert got == [1.0, 0.5]
    assert isinstance(time.errors[0]["exception"], ZeroDivisionError)


class Kernel:
    """A bound ROUTER that answers with its name, as a kernel's shell does."""

    def __init__(self, network, url, name):
        self.port, self.name, self.heard = network.router(url), name, []
        self.port.listen(self._answer)

    def _answer(self, frames):
        self.heard.append(frames)
        self.port.send([frames[0], self.name, *frames[1:]])


def test_an_engine_is_reached_by_its_routing_id(time, network):
    engines = MemoryTransport(network).engine_router(b"controller")
    got = []
    engines.listen(got.append)
    for number in range(3):
        engines.connect(b"e%d.1" % number, f"mem://{number}")
        engines.send([b"e%d.1" % number, b"early"])
    kernels = [Kernel(network, f"mem://{number}", b"k%d" % number) for number in range(3)]
    time.run()
    assert got == [[b"e%d.1" % number, b"k%d" % number, b"early"] for number in range(3)]
    assert [kernel.heard for kernel in kernels] == [[[b"controller", b"early"]]] * 3


def test_a_routing_id_is_refused_a_second_time(network):
    engines = MemoryTransport(network).engine_router(b"controller")
    engines.connect(b"e0.1", HERE)
    engines.disconnect(b"e0.1")
    with pytest.raises(AssertionError, match="used before"):
        engines.connect(b"e0.1", HERE)


def test_a_successor_hears_what_was_queued_unless_it_was_disconnected(time, network):
    engines = MemoryTransport(network).engine_router(b"controller")
    engines.connect(b"e0.1", HERE)
    engines.connect(b"e1.1", "mem://there")
    for life in (b"e0.1", b"e1.1"):
        engines.send([life, b"queued"])
    engines.disconnect(b"e0.1")
    engines.disconnect(b"e0.1")
    first, second = Kernel(network, HERE, b"k"), Kernel(network, "mem://there", b"k")
    engines.connect(b"e0.2", HERE)
    time.run()
    assert (first.heard, second.heard) == ([], [[b"controller", b"queued"]])
    with pytest.raises(PeerGone):
        engines.send([b"e0.1", b"x"])


def test_a_subscriber_gets_its_topics_and_the_publisher_hears_of_new_ones(time, network):
    topics = []
    publisher = network.pub(HERE, topics.append)
    transport = MemoryTransport(network)
    first, second = transport.connect_sub(HERE), transport.connect_sub(HERE)
    got = []
    first.listen(got.append)
    for port, topic in ((first, b""), (first, b"unique"), (second, b"")):
        port.subscribe(topic)
    time.run()
    assert topics == [b"", b"unique"]
    publisher.send([b"stream", b"1"])
    first.unsubscribe(b"")
    publisher.send([b"stream", b"2"])
    publisher.send([b"unique", b"3"])
    time.run()
    assert got == [[b"stream", b"1"], [b"unique", b"3"]]


def test_a_topic_is_new_again_when_nobody_is_left(time, network):
    topics = []
    network.pub(HERE, topics.append)
    transport = MemoryTransport(network)
    for _ in range(2):
        port = transport.connect_sub(HERE)
        port.subscribe(b"a")
        time.run()
        port.close()
    assert topics == [b"a", b"a"]


def test_closing_a_transport_closes_its_ports(time, network):
    transport = MemoryTransport(network)
    router = transport.bind_router(HERE, b"c")
    told = []
    network.dealer(HERE, b"me", lambda: told.append(1))
    time.run()
    transport.close()
    time.run()
    assert told == [1]
    with pytest.raises(PeerGone):
        router.send([b"me", b"x"])
    network.router(HERE)


async def test_it_runs_on_an_asyncio_loop():
    network = MemoryNetwork(asyncio.get_running_loop())
    kernel = Kernel(network, HERE, b"k")
    dealer = network.dealer(HERE, b"me")
    answered = asyncio.get_running_loop().create_future()
    dealer.listen(answered.set_result)
    network.connections(HERE)[0].back.faults.delay = 0.01
    dealer.send([b"hello"])
    assert await asyncio.wait_for(answered, 5) == [b"k", b"hello"]
    assert kernel.heard == [[b"me", b"hello"]]
