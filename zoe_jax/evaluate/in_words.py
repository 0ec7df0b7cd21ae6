"""Rules, protocols and problems of an evaluation as sentences."""

from collections.abc import Mapping
from typing import Any

from zoe_jax.evaluate.validity import NYU_EIGEN_BOX_PX

RULES_IN_WORDS = {
    "released": "what the original's code does, its oddities included",
    "paper": "what the text of the paper says",
    "corrected": "the defects of the original mended",
}
PROTOCOLS_IN_WORDS = {
    "evaluate": "images squashed to the size of training, as behind the tables of the paper",
    "infer": "images padded by reflection and resized with their aspect ratio kept, as the original's users call it",
    "huggingface": "images prepared as transformers' processor does",
}
CROPS_IN_WORDS = {
    "none": "none",
    "garg": "Garg's box, in shares of the image",
    "kitti_eigen": "Eigen's box for KITTI, in shares of the image",
    "nyu_eigen": "Eigen's box, rows {} to {} and columns {} to {} whatever the size".format(
        *(edge - index % 2 for index, edge in enumerate(NYU_EIGEN_BOX_PX))
    ),
    "relative_nyu_eigen": "Eigen's box at the image's own scale",
}
PROBLEMS_IN_WORDS = {
    "unreadable": "Left out. What is stored of them is damaged.",
    "wrong scale": "Left out. Their depth is too great to be in metres.",
    "no truth": "Left out. Their owner publishes no depth for them.",
    "no valid pixel": "Left out. The rule leaves no pixel of their truth.",
    "prediction not finite": "They count; pixels that are nan count with the least depth of the rule.",
    "metric not finite": "They count, as in the original, so that the means are not finite either.",
}


def bracketed(words: Mapping[str, str], name: str) -> str:
    """The words of a name in brackets, to stand after it; nothing where there are none."""
    return f" ({words[name]})" if name in words else ""


def rule_in_words(rule: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Range of depth, crop, image and masks, of a Rule as `results.json` has it."""
    image = "as it is"
    if rule["image_size"]:
        height, width = rule["image_size"]
        image = f"resized to {width}x{height} before the model sees it"
    if rule["kb_crop"]:
        image = "cut to its lower middle, 1216x352, with the truth" + (f"; {image}" if rule["image_size"] else "")
    crop = CROPS_IN_WORDS[rule["crop"]]
    masks = "used, where there are any" if rule["use_mask"] else "not used"
    return f"{rule['min_depth_m']:g} to {rule['max_depth_m']:g} m", crop, image, masks


def rule_in_a_sentence(data_set: Mapping[str, Any]) -> str:
    """What `results.json` says of a data set."""
    depths, crop, image, masks = rule_in_words(data_set["rule"])
    return (
        f"{data_set['prepared']}, {data_set['split']}. Truth of {depths}; crop: {crop}; image: {image}; masks: {masks}."
    )
