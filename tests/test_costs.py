"""Summary of the tests' costs."""

from types import SimpleNamespace

from costs import summary


def report(file, law, seconds):
    return SimpleNamespace(user_properties=[("cost", (file, law, seconds, 2 * seconds))])


def test_the_summary_ranks_files_laws_and_recipes_by_cost():
    laws = [report("laws.py", ("cnn", "ids"), 1.0), report("laws.py", ("gan", "ids"), 2.0)]
    reports = [*laws, report("laws.py", ("gan", "pmap"), 4.0), report("slow.py", None, 9.0)]
    assert summary([*reports, SimpleNamespace(user_properties=[])]) == [
        "16 s in 2 files, and wall seconds",
        "   9.0   18.0  slow.py",
        "   7.0   14.0  laws.py",
        "laws: 7 s in 2 recipes: pmap 4, ids 3",
        "   6.0  gan",
        "   1.0  cnn",
    ]


def test_a_run_without_laws_has_files_only():
    assert summary([report("fast.py", None, 1.0)]) == [
        "1 s in 1 files, and wall seconds",
        "   1.0    2.0  fast.py",
    ]
