import pytest

from ipyviews.errors import UsageError
from ipyviews_magics.targets import parse_targets

IDS = [0, 1, 2, 5]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("all", "all"),
        (" ALL ", "all"),
        ("0", 0),
        ("5", 5),
        ("-1", 5),
        ("[0,2]", [0, 2]),
        ("[2, 0]", [2, 0]),
        ("(0, 5,)", [0, 5]),
        ("0,2", [0, 2]),
        ("[1]", [1]),
        (":", [0, 1, 2, 5]),
        ("1:3", [1, 2]),
        ("::2", [0, 2]),
        ("-2:", [2, 5]),
        ("::-1", [5, 2, 1, 0]),
    ],
)
def test_each_form_names_its_engines(text, meant):
    assert parse_targets(text, IDS) == meant


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3", "There is no engine 3; there are engines 0, 1, 2, 5."),
        ("-5", "There is no engine -5"),
        ("[0,3]", "There is no engine 3"),
        ("9:", "leave no engine"),
        ("[0,0]", "name an engine twice"),
        ("", "not understood"),
        ("[]", "not understood"),
        ("[0", "not understood"),
        ("1:2:3:4", "not understood"),
        ("::0", "not understood"),
        ("__import__('os')", "not understood"),
        ("even", "not understood"),
    ],
)
def test_what_names_no_engine_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        parse_targets(text, IDS)


def test_without_engines_the_sentence_says_so():
    with pytest.raises(UsageError, match="there are no engines"):
        parse_targets("0", [])
