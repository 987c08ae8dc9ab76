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
        "timeout_s": st.sampled_from([0.0, 1.0, 5.0]),
    },
)
ALLOWED = st.none() | st.frozensets(st.integers(0, 5), max_size=3)
LOSSES = st.fixed_dictionaries({"restarting": st.booleans(), "self_inflicted": st.booleans()})
STEPS_S = st.sampled_from([0.0, 0.5, 1.0, 7.0, 100.0])
