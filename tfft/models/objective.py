"""What a training descends besides the mean of -log p. Evaluation knows nothing of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The changes to the plain loss, all of them off.

    Attributes:
        language_modeling_weight: Share of the mean -log p of the texts' own next tokens that is added to a
            classifier's loss.

    Source:
        Radford et al. 2018, Improving Language Understanding by Generative Pre-Training, section 3.2 (L3).
    """

    language_modeling_weight: float = 0.0


PLAIN_OBJECTIVE = Objective()
