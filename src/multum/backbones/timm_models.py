"""Any network of the timm library, for comparisons and for users who have one already."""

import importlib

from torch import nn

from multum.core import MissingExtraError, did_you_mean, invalid


def timm_model(name: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """Build a network of timm.

    Args:
        name: What timm calls it, with or without the tag of its weights.
        num_classes: Classes to tell apart, at least 1.
        pretrained: Whether timm fetches its weights, from the network.

    Returns:
        The network; the scaling of its input stands in its `pretrained_cfg`.

    Raises:
        MissingExtraError: timm is not installed.
        UserError: timm does not know the name; fewer than 1 class.
    """
    if num_classes < 1:
        raise invalid("num_classes", "at least 1", num_classes)
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as missing:
        if missing.name != "timm":
            raise  # timm is there, something that it needs is not
        raise MissingExtraError(
            f"timm is needed for {name} and is not installed; pip install timm"
        ) from missing
    if not timm.is_model(name):
        close = did_you_mean(name, timm.list_models())
        remedy = close if close.startswith("did") else "timm.list_models() tells them"
        raise invalid("name", "a network that timm knows", name, remedy)
    model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
    assert isinstance(model, nn.Module)
    return model
