"""Captioning of 64x64 emoji and stamps: ConvNet encoder, LSTM decoder with attention.

Result: 8.782 test bleu, 1 seed, 9.2 min on AMD EPYC (2 cores)
Run:    python launch.py --config=experiments/rnn/captions.py

Captions are decoded by beam search.
"""

from fiddle.experimental.auto_config import auto_config

from jaxdl import CheckpointPolicy, Data, Dataset, Experiment
from jaxdl.data.image.transforms import RandomAffine
from jaxdl.data.text.captions import Captioned
from jaxdl.data.text.tokenizers import Vocabulary, Words
from jaxdl.models.convnet import ConvNet
from jaxdl.models.layers.norms import group_norm
from jaxdl.models.rnn import LSTM
from jaxdl.models.seq2seq import AttentionDecoder, EncoderDecoder, ImageEncoder
from jaxdl.tasks.image_captioning import ImageCaptioning
from jaxdl.tasks.parts.pixels import Normalize
from jaxdl.training.optimizers import adamw

METRIC = "test/bleu"


@auto_config
def experiment(steps: int = 2400, features: int = 256, seed: int = 0) -> Experiment:
    vocabulary = Vocabulary(Words(2500), Dataset("captions", "train"), features=("caption",))
    return Experiment(
        task=ImageCaptioning(
            EncoderDecoder(
                ImageEncoder(
                    ConvNet(num_classes=1, channels=(32, 64, 128, 128), halve_first=True, norm=group_norm), features
                ),
                AttentionDecoder(vocabulary=2500, features=features, embedding=128, layers=1, cell=LSTM, dropout=0.2),
            ),
            normalize=Normalize(mean=0.75, std=0.35),
            beam=4,
        ),
        data=Data(
            train=Captioned(Dataset("captions", "train"), vocabulary, length=12),
            evals={"validation": Captioned(Dataset("captions", "validation"), vocabulary, length=34)},
            test=Captioned(Dataset("captions", "test"), vocabulary, length=34),
            augment=(RandomAffine(degrees=5, translate=2.0, scale=(0.95, 1.05)),),
            batch_size=64,
        ),
        optimizers={"train": adamw(learning_rate=3e-3, steps=steps, warmup=0.05, weight_decay=0.05, clip_norm=1.0)},
        ema=0.99,
        steps=steps,
        seed=seed,
        log_every=100,
        eval_every=800,
        save_every=800,
        keep=CheckpointPolicy(metric="validation/bleu"),
    )
