"""A person looks up the model: its page, its name in the registry, its versions."""

from __future__ import annotations

import pytest
from in_browser.chromium import Browser
from in_browser.review import MODEL, Review

pytestmark = pytest.mark.nightly


@pytest.fixture(autouse=True)
def undisturbed(browser: Browser, review: Review) -> None:
    browser.dismiss_assistant(review.server.uri)


def test_the_models_page_has_the_score_of_the_study_and_the_run_it_came_from(browser: Browser, review: Review) -> None:
    version = review.server.client.get_model_version(MODEL, "1")
    model_id = version.tags["gbtune.model_id"]
    shown = browser.open(review.page(f"experiments/{review.experiment}/models/{model_id}"), MODEL, "final", "log_loss")
    assert str(review.result.best_score)[:8] in shown
    browser.picture("model")


def test_the_registry_lists_the_versions_with_champion_and_challenger(browser: Browser, review: Review) -> None:
    shown = browser.open(review.page("models"), MODEL)
    assert "Version" in shown
    browser.open(review.page(f"models/{MODEL}"), "Version 1", "Version 2", "champion", "challenger")
    browser.picture("registry")


def test_the_champions_page_says_how_good_it_is(browser: Browser, review: Review) -> None:
    shown = browser.open(review.page(f"models/{MODEL}/versions/1"), "Version 1", "champion", "Description")
    assert review.said("score") in shown and review.said("gain") in shown


def test_the_challengers_page_says_why_it_is_no_champion(browser: Browser, review: Review) -> None:
    decided = review.later.promotion
    assert decided is not None and decided.decision == "kept champion", "six trials beat thirty: choose another seed"
    shown = browser.open(review.page(f"models/{MODEL}/versions/2"), "Version 2", "challenger", "Description")
    description = shown.partition("Description")[2].partition("gbtune.promotion")[0]
    assert decided.words in description, "in words, not only in tags"
    assert "kept champion" in shown and "gbtune.promotion.gain_se" in shown
    browser.picture("version")
