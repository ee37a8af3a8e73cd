from homeground.base.errors import HomegroundError, RecipeError, UsageError


def test_message_place_and_hint_are_printed_in_that_order():
    error = HomegroundError("the file is torn", where="a.yaml:3", hint="write it again")
    assert str(error) == "the file is torn\nwhere: a.yaml:3\nhint: write it again"


def test_what_is_not_known_is_not_printed():
    assert str(HomegroundError("it failed")) == "it failed"


def test_json_shape_is_the_contract():
    error = HomegroundError("it failed", where="here")
    assert error.to_json() == {"error": "it failed", "where": "here", "hint": None}


def test_bad_usage_and_bad_recipes_exit_with_2_and_failures_with_1():
    assert (HomegroundError("x").exit_code, UsageError("x").exit_code, RecipeError("x").exit_code) == (1, 2, 2)
