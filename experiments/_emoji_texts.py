"""Parts of the recipes on emoji with texts: pictures, their classifier and FID classifier."""

from fiddle.experimental.auto_config import auto_config

from jaxdl import Dataset
from jaxdl.data.image.unpaired import Styles
from jaxdl.models.convnet import ConvNet
from jaxdl.tasks.parts.fid import FIDClassifier


@auto_config
def emoji_pictures(split: str) -> Styles:
    """Returns the pictures of both styles at 32x32 with their categories."""
    return Styles(Dataset("emoji_texts", split), ("google", "twitter"), size=32, label="category")


@auto_config
def emoji_convnet() -> ConvNet:
    """Returns the network of cnn/emoji_categories."""
    return ConvNet(num_classes=8, channels=(32, 64, 128), depth=2, downsample="max", residual=True, dropout=0.2)


@auto_config
def emoji_fid_classifier() -> FIDClassifier:
    """Returns the FID classifier, whose weights come from a run of cnn/emoji_categories."""
    return FIDClassifier(emoji_convnet())
