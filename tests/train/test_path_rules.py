import jax
import pytest

from zoe_jax.errors import ZoeJaxError
from zoe_jax.train.path_rules import PathRuleError, assign, explain, paths, select

TREE = {
    "encoder": {"stage_0": {"attention": {"relative_position": 1, "kernel": 2}}, "cls_token": 3},
    "decoder": {"head": {"conv1": {"kernel": 4, "bias": 5}}},
    "metric_head": {"seed_bins": {"fc1": {"kernel": 6}}},
}


def test_a_path_is_the_names_joined_by_slashes_in_leaf_order():
    assert paths(TREE) == [
        "decoder/head/conv1/bias",
        "decoder/head/conv1/kernel",
        "encoder/cls_token",
        "encoder/stage_0/attention/kernel",
        "encoder/stage_0/attention/relative_position",
        "metric_head/seed_bins/fc1/kernel",
    ]


def test_paths_go_through_tuples_by_their_index():
    assert paths({"layers": ({"kernel": 0}, {"kernel": 1})}) == ["layers/0/kernel", "layers/1/kernel"]


def test_the_first_rule_that_matches_wins_and_the_rest_gets_the_default():
    rules = [(".*relative_position", "table"), ("encoder/.*", "encoder")]
    values = assign(rules, TREE, "rest", purpose="groups")
    assert values["encoder"] == {
        "stage_0": {"attention": {"relative_position": "table", "kernel": "encoder"}},
        "cls_token": "encoder",
    }
    assert values["decoder"]["head"]["conv1"] == {"kernel": "rest", "bias": "rest"}
    assert jax.tree.structure(values) == jax.tree.structure(TREE)


def test_a_rule_must_match_the_whole_path():
    # "head/.*" would otherwise take metric_head/... and decoder/head/... together
    assert select(["decoder/head/.*"], TREE, purpose="freeze")["metric_head"]["seed_bins"]["fc1"]["kernel"] is False
    with pytest.raises(PathRuleError, match=r"'head/\.\*' matches no parameter path"):
        select(["head/.*"], TREE, purpose="freeze")


def test_a_rule_that_matches_nothing_is_an_error_that_names_rule_purpose_and_a_path():
    with pytest.raises(ZoeJaxError, match=r"groups: 'decodr/\.\*' matches no parameter path; one is 'decoder/head"):
        assign([("decodr/.*", 1.0)], TREE, 2.0, purpose="groups")


def test_a_rule_that_earlier_rules_leave_nothing_to_is_an_error():
    with pytest.raises(PathRuleError, match="earlier rules decide all that 'encoder/cls_token' matches"):
        assign([("encoder/.*", 1.0), ("encoder/cls_token", 2.0)], TREE, 3.0, purpose="groups")


def test_selecting_patterns_may_overlap():
    chosen = select(["encoder/.*", "encoder/cls_token"], TREE, purpose="freeze")
    assert chosen["encoder"]["cls_token"] is True
    assert sum(jax.tree.leaves(chosen)) == 3


def test_no_patterns_select_nothing():
    assert not any(jax.tree.leaves(select([], TREE, purpose="freeze")))


def test_a_broken_expression_is_an_error_that_says_so():
    with pytest.raises(PathRuleError, match=r"sharding: '\(' is not a regular expression"):
        assign([("(", None)], TREE, None, purpose="sharding")


def test_rules_on_an_empty_tree_are_an_error():
    with pytest.raises(PathRuleError, match="the tree is empty"):
        assign([("encoder/.*", 1)], {}, 0, purpose="sharding")


def test_explain_names_what_each_rule_decides():
    decided = explain([(".*/bias", 0), ("encoder/.*", 1)], TREE, purpose="sharding")
    assert decided[".*/bias"] == ["decoder/head/conv1/bias"]
    assert len(decided["encoder/.*"]) == 3
    assert decided[None] == ["decoder/head/conv1/kernel", "metric_head/seed_bins/fc1/kernel"]
