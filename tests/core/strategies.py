"""Hypothesis strategies for what can happen to a controller."""

from hypothesis import strategies as st

from ipyviews.core.events import Kind, Status

#: Few of each, so that things meet.
ENGINES = st.integers(0, 3)
CLIENTS = st.sampled_from("abc")
KINDS = st.sampled_from(Kind)
STATUSES = st.sampled_from(Status)
#: Which of the things at hand.
PICKS = st.integers(0, 2**16)

#: What a task may ask for beyond its kind and place.
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "retries": st.integers(0, 2),
        "reruns": st.integers(0, 2),
        "timeout_s": st.sampled_from([0.0, 1.0, 5.0, -1.0]),
    },
)
#: How a dependency counts.
FLAGS = st.fixed_dictionaries(
    {"all": st.booleans()},
    optional={"failure": st.just(True), "success": st.booleans()},
).map(lambda flags: flags if flags.get("success", True) else flags | {"failure": True})
ALLOWED = st.none() | st.frozensets(st.integers(0, 5), max_size=3)
LOSSES = st.fixed_dictionaries({"restarting": st.booleans(), "self_inflicted": st.booleans()})
STEPS_S = st.sampled_from([0.0, 0.001, 0.025, 0.5, 1.0, 7.0, 100.0])
#: Calls in flight on an engine, and how long an engine says that one ran.
BUNDLES = st.sampled_from([1, 2, 5, None])
RUNS_S = st.sampled_from([None, 0.0, 0.0001, 0.003, 1.0])
