"""Fine-tunes GPT-2-family language models with TensorFlow and ships them as SavedModels."""

import os

# transformers' TensorFlow classes are Keras 2 classes; this must stand before anyone imports TensorFlow.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

__version__ = "0.1.0"
