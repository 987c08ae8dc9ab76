"""Cancel and interrupt stop what they name and nothing else."""

from __future__ import annotations

from tests.waiting import eventually


async def test_cancel_interrupts_the_attempt_it_names_and_drops_what_waits(start):
    world = await start(1)
    client = await world.client()
    running = client.apply("stall", b"", targets=[0])
    waiting = client.apply("echo", b"", targets=[0])
    await eventually(lambda: world.kernels[0].running)
    tasks = [f"{running}.0", f"{waiting}.0"]
    answer = await client.ask("cancel", tasks=tasks)
    assert answer == {"status": "ok", "removed": 1, "interrupted": 1, "done": 0}
    assert world.kernels[0].interrupts == [f"{running}.0/0.1/1"]
    for task in tasks:
        reply = await client.reply(task)
        assert reply.ours["verdict"] == "cancelled"
        assert reply.content["ename"] == "TaskAborted"


async def test_cancelling_what_is_done_says_so(start):
    world = await start(1)
    client = await world.client()
    task = client.apply("echo", b"", any=None) + ".0"
    await client.reply(task)
    answer = await client.ask("cancel", tasks=[task])
    assert answer == {"status": "ok", "removed": 0, "interrupted": 0, "done": 1}
    assert world.kernels[0].interrupts == []


async def test_a_cancel_that_overtakes_its_request_still_stops_it(start):
    world = await start(1)
    client = await world.client()
    request = f"{client.session}-1000"
    answer = await client.ask("cancel", tasks=[f"{request}.1"])
    assert answer == {"status": "ok", "removed": 1, "interrupted": 0, "done": 0}
    client.send(
        "shell",
        "execute_request",
        {"code": "pass", "silent": False, "stop_on_error": False},
        metadata={"ipyviews": {"targets": [0, 0, 0]}},
        msg_id=request,
    )
    verdicts = [(await client.reply(f"{request}.{i}")).ours["verdict"] for i in range(3)]
    assert verdicts == ["replied", "cancelled", "replied"]


async def test_nobody_cancels_another_client_s_task(start):
    world = await start(1)
    owner, other = await world.client(), await world.client()
    task = owner.apply("stall", b"", any=None) + ".0"
    await eventually(lambda: world.kernels[0].running)
    answer = await other.ask("cancel", tasks=[task])
    assert (answer["removed"], answer["interrupted"]) == (0, 0)
    assert world.kernels[0].running


async def test_interrupt_stops_only_the_asking_client_s_work(start):
    world = await start(2)
    first, second = await world.client(), await world.client()
    mine = first.execute("stall", targets=[0]) + ".0"
    second.execute("stall", targets=[1])
    await eventually(lambda: world.kernels[0].running and world.kernels[1].running)
    assert (await first.ask("interrupt", engines=None))["interrupted"] == 1
    reply = await first.reply(mine)
    assert reply.content["ename"] == "KeyboardInterrupt"
    assert reply.ours["verdict"] == "replied"
    assert world.kernels[1].running


async def test_interrupt_may_name_engines(start):
    world = await start(2)
    client = await world.client()
    client.apply("stall", b"", targets=[0, 1])
    await eventually(lambda: world.kernels[0].running and world.kernels[1].running)
    assert (await client.ask("interrupt", engines=[1]))["interrupted"] == 1
    assert world.kernels[0].running
    assert not world.kernels[1].running


async def test_a_kernel_without_the_extension_is_interrupted_by_signal_and_woken(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "language", "bash"))
    client = await world.client()
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    seen = len(world.kernels[0].seen)
    await client.ask("cancel", tasks=[task])
    await client.reply(task)
    assert world.kernels[0].signals == [2]
    await eventually(lambda: len(world.kernels[0].seen) > seen)
    assert world.kernels[0].seen[-1][:2] == ("shell", "kernel_info_request")


async def test_a_kernel_that_wants_messages_is_interrupted_by_message(start):
    world = await start(1, lambda kernel: setattr(kernel.habits, "language", "bash"))
    world.kernels[0].interrupt_mode = "message"
    client = await world.client()
    task = client.execute("stall", targets=[0]) + ".0"
    await eventually(lambda: world.kernels[0].running)
    await client.ask("cancel", tasks=[task])
    await client.reply(task)
    channels = [channel for channel, kind, _ in world.kernels[0].seen if "interrupt" in kind]
    assert channels == ["control"]
