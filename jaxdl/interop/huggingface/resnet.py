"""Initialization of a run from a ResNet in Hugging Face format."""

from dataclasses import dataclass

from jaxdl.interop.huggingface.transformers import initialized, read_model, required_folder
from jaxdl.training.state import TrainState


@dataclass(frozen=True)
class HuggingFaceWeights:
    """Initialization of a run from a Hugging Face ResNet, for `Experiment.start`.

    Attributes:
      folder: Folder with config.json and model.safetensors. "" marks a recipe's required argument.
      group: Parameter group to initialize, a `jaxdl.models.resnet.ResNet`.
      head: Whether to load the classifier. It is kept as initialized if False or if the number of classes differs.
    """

    folder: str
    group: str = "classifier"
    head: bool = True

    def load(self, state: TrainState) -> TrainState:
        """Returns the state with the weights, in its shardings; the moving average starts from them.

        Optimizer state and step are kept.

        Raises:
          UserError: The folder is missing or refused by `read_model`, or the model differs.
        """
        read = read_model(required_folder(self.folder, self.group, state))
        arrays = read.arrays
        bias = state.params[self.group].get("head", {}).get("bias")
        keep = not self.head or bias is None or bias.shape != arrays["head/bias"].shape
        if keep:
            arrays = {name: array for name, array in arrays.items() if not name.startswith("head/")}
        return initialized(state, self.group, arrays, ("head/",) if keep else (), str(self.folder))
