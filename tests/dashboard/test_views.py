"""The logic of each page, without a browser."""

import os
from importlib import resources
from pathlib import Path

import pytest
from report.filled import LIMIT, SETTINGS, serial
from streamlit.testing.v1 import AppTest

from autopeft.dashboard.access import TOKEN
from autopeft.nouns import TrialKind
from autopeft.published import import_peft_comparison
from autopeft.store import Repository

VIEWS = ("studies", "new", "front", "anatomy", "why", "progress", "export", "compare")
OF_A_STUDY = ("front", "anatomy", "why", "progress", "export")


def opened(view: str, study: str | None = None) -> AppTest:
    script = resources.files("autopeft.dashboard") / "views" / f"{view}.py"
    page = AppTest.from_file(str(script), default_timeout=60)
    if study is not None:
        page.query_params["study"] = study
    page.run()
    assert not page.exception, page.exception
    return page


def texts(page: AppTest) -> str:
    found = [
        page.title,
        page.caption,
        page.markdown,
        page.info,
        page.error,
        page.warning,
        page.subheader,
        page.code,
    ]
    return "\n".join(str(one.value) for kind in found for one in kind)


@pytest.mark.parametrize("study", ["digits", "text", "three", "new"])
@pytest.mark.parametrize("view", OF_A_STUDY)
def test_every_page_of_every_kind_of_study(filled: Path, view: str, study: str) -> None:
    page = opened(view, study)
    assert page.title
    assert page.sidebar.selectbox[0].value == study


@pytest.mark.parametrize("view", VIEWS)
def test_without_a_database_each_page_says_what_to_do(place: Path, view: str) -> None:
    page = opened(view)
    if view == "new":
        assert "autopeft submit" in texts(page)
    else:
        assert "autopeft search --trials 12" in texts(page)
    assert not place.exists()


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "new"])
def test_without_a_study_each_page_says_what_to_do(place: Path, view: str) -> None:
    Repository.open(str(place)).close()
    assert "search" in texts(opened(view))


def test_studies_can_be_found(filled: Path) -> None:
    page = opened("studies")
    assert set(page.dataframe[0].value["study"]) == {"digits", "text", "three", "new"}
    page.text_input[0].set_value("digi").run()
    assert list(page.dataframe[0].value["study"]) == ["digits"]
    page.text_input[0].set_value(".*").run()  # no pattern, but a text
    assert len(page.dataframe[0].value) == 0


def test_a_study_says_where_it_stands(filled: Path) -> None:
    table = opened("studies").dataframe[0].value.set_index("study")
    assert table.loc["digits", "state"] == "running"
    assert table.loc["digits", "progress"] == pytest.approx(6 / 8)
    assert table.loc["digits", "front"] == 3
    assert list(table.loc["digits", "course"]) == [0.05, 0.1234]
    assert table.loc["text", "state"] == "finished"


def test_the_front_shows_the_knee_with_its_recipe(filled: Path) -> None:
    page = opened("front", "digits")
    assert "Trial 7, knee" in texts(page)
    table = page.dataframe[-1].value
    assert list(table["trial"]) == [6, 7]  # 8 fell off when it was trained anew
    next(button for button in page.button if button.label == "Write the recipe").click().run()
    assert "not at" in texts(page)  # its adapter's folder is not there, and the page says so


def test_limits_leave_out_what_is_outside(filled: Path) -> None:
    page = opened("front", "three")
    assert "6 of 6 complete trials" in texts(page)
    sliders = {slider.label: slider for slider in page.slider}
    low, high = sliders["accuracy"].value
    sliders["accuracy"].set_value((0.75, high)).run()
    assert "3 of 6 complete trials" in texts(page)
    assert low < 0.75


def test_a_study_none_of_whose_trials_is_complete(place: Path) -> None:
    with Repository.open(str(place)) as repository:
        study = repository.create_study("bad", SETTINGS, LIMIT, "autopeft")
        trial = repository.add_trial(study.id, TrialKind.SEARCH, serial(1), 128, 0)
        repository.start_trial(trial.id)
        assert "the front appears with the first complete one" in texts(opened("front", "bad"))
        repository.fail(trial.id, "out of memory")
    assert "Every trial of the search has failed" in texts(opened("front", "bad"))
    assert "out of memory" in texts(opened("progress", "bad"))


def test_two_configurations_beside_each_other(filled: Path) -> None:
    page = opened("anatomy", "digits")
    page.toggle(key="beside").set_value(True).run()
    assert not page.exception
    assert "2 places differ" in texts(page)
    table = page.dataframe[0].value
    assert "≠" in set(table["differs"])


def test_decisions_and_the_surrogate(filled: Path) -> None:
    page = opened("why", "digits")
    assert "Which decisions matter" in texts(page)
    assert "With ten complete trials" in texts(page)


def test_studies_are_compared_where_they_can_be(filled: Path) -> None:
    page = opened("compare")
    page.multiselect[0].set_value(["digits", "three"]).run()
    assert not page.exception
    page.multiselect[0].set_value(["digits", "text"]).run()
    assert "different metrics: accuracy, loss" in texts(page).replace("\\", "")


def test_a_search_is_put_into_the_queue(place: Path) -> None:
    page = opened("new")
    budget = next(one for one in page.text_input if one.label.startswith("Budget"))
    budget.set_value("nonsense").run()
    page.button[0].click().run()
    assert "nonsense" in page.error[0].value
    assert not place.exists()
    budget = next(one for one in page.text_input if one.label.startswith("Budget"))
    budget.set_value("1%").run()
    page.button[0].click().run()
    assert not page.exception
    assert "is in the queue" in page.success[0].value
    with Repository.open(str(place)) as repository:
        from autopeft.store import queue

        (job,) = queue.jobs(repository)
    assert "1%" in job.arguments


def test_hostile_texts_are_texts(place: Path) -> None:
    evil = "<script>alert(1)</script> [x](javascript:alert(1)) $e$ :material/home: **b**"
    with Repository.open(str(place)) as repository:
        settings = {**SETTINGS, "model": evil, "task": {"data": evil, "metric": "accuracy"}}
        study = repository.create_study("evil", settings, LIMIT, evil)
        trial = repository.add_trial(study.id, TrialKind.SEARCH, serial(1), 128, 0)
        repository.start_trial(trial.id)
        repository.fail(trial.id, evil)
    for view in ("front", "progress", "studies"):
        page = opened(view, "evil" if view != "studies" else None)
        shown = [
            one.value for kind in (page.title, page.caption, page.markdown, page.subheader) for one in kind
        ]
        shown += [one.label for one in page.expander]
        for text in shown:
            assert "<script>" not in text.replace("\\<", "")
            assert "[x](" not in text.replace("\\[", "")
            assert "**b**" not in text.replace("\\*", "")


def test_the_token_is_asked_for_on_every_page(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret-1")
    app = resources.files("autopeft.dashboard") / "app.py"
    page = AppTest.from_file(str(app), default_timeout=60).run()
    assert not page.dataframe
    page.text_input[0].set_value("wrong").run()
    assert "not the token" in page.error[0].value
    assert not page.dataframe
    page.text_input[0].set_value("secret-1").run()
    assert not page.exception
    assert page.dataframe
    by_address = AppTest.from_file(str(app), default_timeout=60)
    by_address.query_params["token"] = "secret-1"
    by_address.run()
    assert by_address.dataframe
    assert "token" not in by_address.query_params
    assert os.environ[TOKEN] == "secret-1"


def test_published_results_are_looked_at_like_a_search_s(place: Path, shared_data: Path) -> None:
    with Repository.open(str(place)) as repository:
        import_peft_comparison(repository, shared_data / "peft_method_comparison")
    page = opened("front", "peft-metamathqa")
    assert "63 complete" in texts(page)
    assert "no adapter was published" in texts(opened("export", "peft-metamathqa"))
    for view in VIEWS:
        opened(view, "peft-metamathqa" if view in OF_A_STUDY else None)


def test_no_folder_of_the_dashboard_is_served_by_itself() -> None:
    # Of a folder `pages` Streamlit serves every script, past the token.
    folder = Path(str(resources.files("autopeft.dashboard")))
    assert not (folder / "pages").exists()
