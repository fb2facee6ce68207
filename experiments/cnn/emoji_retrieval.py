"""Retrieval across emoji vendors (Google to Twitter, 32x32): ConvNet embedding by contrastive learning.

Result: 0.531 test recall at 1, 1 seed, 5.7 min, 19 TFLOP on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/cnn/emoji_retrieval.py

Search by your own picture: python launch.py predict RUN picture.png --nearest

Queries are Google's pictures of held-out emoji, the gallery is all 1,909 emoji of Twitter. The metric is the share of
queries whose nearest picture is that of the same emoji. With 175 queries, differences below 0.05 are noise. Frozen
AlexNet features reach 0.543 (five nearest: 0.669; here 0.686), pixels 0.326, see benchmarks/embeddings.py.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.bank import WithBank
from jaxdl.data.image.items import ItemPairs, Items
from jaxdl.data.image.resize import RandomResizedCrop
from jaxdl.data.image.transforms import ColorJitter
from jaxdl.data.image.views import TwoViews
from jaxdl.models.convnet import ConvNet
from jaxdl.models.embedding import ImageEmbedding
from jaxdl.tasks.joint_embedding import JointEmbedding
from jaxdl.tasks.parts.embedding_scores import Retrieval
from jaxdl.tasks.parts.view_losses import NTXent
from jaxdl.training.optimizers import adamw

METRIC = "test/recall_at_1"


@auto_config
def emoji(split: str, style: str) -> Items:
    return Items(Dataset("emoji", split), Dataset("emoji", "train+validation+test"), style, size=32)


@auto_config
def search(split: str) -> WithBank:
    """Returns Google's pictures of a split as queries, with the pictures of all emoji by Twitter."""
    return WithBank(emoji(split, "google"), emoji("train+validation+test", "twitter"))


@auto_config
def experiment(steps: int = 700, seed: int = 0) -> Experiment:
    return Experiment(
        task=JointEmbedding(
            ImageEmbedding(
                ConvNet(num_classes=1, channels=(32, 64, 128), downsample="max", halve_first=True, residual=True),
                outputs=128,
                dropout=0.3,
            ),
            NTXent(temperature=0.1),
            Retrieval(ranks=(1, 5)),
        ),
        data=Data(
            train=ItemPairs(Dataset("emoji", "train"), "google", "twitter", size=32, mirrored=True),
            evals={"validation": search("validation")},
            test=search("test"),
            # Colours differ between vendors; directions do not, so views are not flipped, but further items are.
            augment=(TwoViews((RandomResizedCrop(32, scale=(0.6, 1.0)), ColorJitter(0.4, 0.4, 0.5))),),
            batch_size=128,
            eval_batch_size=300,
        ),
        optimizers={"train": adamw(learning_rate=2e-3, steps=steps, warmup=0.1, weight_decay=0.1)},
        ema=0.99,
        steps=steps,
        seed=seed,
        eval_every=steps // 3,
        keep=CheckpointPolicy(metric="validation/recall_at_1"),
    )
