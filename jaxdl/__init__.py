"""jaxdl: every family of deep learning, trained from one-page recipes by one compiled train_step."""
