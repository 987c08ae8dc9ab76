"""The transition table, its drawing and the stories."""

from pathlib import Path

import pytest

from ipyviews.core.tasks import TRANSITIONS, Story, TaskState, diagram
from tests.core.desk import Desk

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"


def test_a_task_can_be_finished_from_every_other_state_and_leaves_it_never():
    to_done = {source for source, to in TRANSITIONS if to is TaskState.DONE}
    assert to_done == set(TaskState) - {TaskState.DONE}
    assert TaskState.DONE not in {source for source, _ in TRANSITIONS}


def test_an_illegal_move_is_refused_with_the_story_of_the_task():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    task = desk.state.tasks["r.0"]
    with pytest.raises(AssertionError, match=r"r\.0 may not go from running to waiting.*ready"):
        desk.state._move(task, TaskState.WAITING)
    assert task.state is TaskState.RUNNING


def test_a_story_is_told_in_order_also_of_a_finished_task():
    desk = Desk(engines=1)
    desk.submit("r.0", 0)
    desk.reply("r.0", after=1.0)
    assert desk.state.story("r.0") == ["0.000000 ready", "0.000000 running", "1.000000 done"]


def test_stories_take_bounded_memory():
    desk = Desk(engines=1)
    story = Story(length=2)
    desk.submit("r.0", 0)
    task = desk.state.tasks["r.0"]
    for state in (TaskState.READY, TaskState.RUNNING, TaskState.DONE):
        story.move(task, state, 0.0)
    assert len(story.of("r.0")) == 2


def test_the_diagram_shows_every_move_of_the_table():
    arrows = [line.split(":")[0].split() for line in diagram().splitlines()[2:-1]]
    assert [(source, to) for source, _, to in arrows] == list(TRANSITIONS)


def test_the_design_document_holds_the_diagram_of_the_table():
    assert diagram() in DESIGN.read_text()
