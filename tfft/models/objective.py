"""What a training descends besides the mean of -log p. Evaluation knows nothing of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The changes to the plain loss, all of them off.

    Attributes:
        label_smoothing: Share of the right answer's weight that all answers get, those of what is scored.
        class_weights: What an item of each class weighs, in the order of the classes; empty where all weigh 1.
        classifier_dropout: Rate on what a classifier judges a text by.
        language_modeling_weight: Share of the mean -log p of the texts' own next tokens that is added to a
            classifier's loss.

    Source:
        Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, section 7, for the smoothing;
        Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 3.2 (L3), for the
        texts.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    classifier_dropout: float = 0.0
    language_modeling_weight: float = 0.0


PLAIN_OBJECTIVE = Objective()
