"""Summary of the laws' costs."""

from types import SimpleNamespace

from costs import summary


def report(recipe, law, seconds):
    return SimpleNamespace(user_properties=[("cost of a law", (recipe, law, seconds))])


def test_the_summary_ranks_laws_and_recipes_by_cost():
    reports = [report("cnn", "ids", 1.0), report("gan", "ids", 2.0), report("gan", "pmap", 4.0)]
    assert summary([*reports, SimpleNamespace(user_properties=[])]) == [
        "7 s in 2 recipes: pmap 4, ids 3",
        "   6.0  gan",
        "   1.0  cnn",
    ]


def test_a_run_without_laws_has_no_summary():
    assert summary([]) == []
