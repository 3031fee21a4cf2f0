"""The settings of generation: names, defaults, meanings and limits, each in this one place."""

import dataclasses
from dataclasses import dataclass

from tfft.config import check_limits, setting
from tfft.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How a prompt is continued. Every field is an option of the same name; the defaults take the likeliest token.

    Inside a graph a field may hold a scalar tensor of the same type instead, which nothing checks. `num_beams` and
    `no_repeat_ngram_size` may not: they decide what graph there is.

    Raises:
        UsageError: A number is outside what its field allows, or does nothing beside the others.
    """

    max_new_tokens: int = setting(128, "Tokens of a completion, at most.", least=1, most=2**31 - 1)
    min_new_tokens: int = setting(
        0, "Tokens before which nothing ends a completion; at a stop text it is cut all the same.", least=0
    )
    temperature: float = setting(0.0, "0 takes the likeliest token; above 0 one is drawn, at 1 as learned.", least=0)
    top_k: int = setting(0, "Draws from this many of the likeliest tokens; 0 from all.", least=0, most=2**31 - 1)
    top_p: float = setting(
        1.0, "Draws from the fewest of the likeliest tokens that have this probability together.", above=0, most=1
    )
    min_p: float = setting(
        0.0, "Draws from the tokens that have this share of the likeliest one's probability.", least=0, most=1
    )
    repetition_penalty: float = setting(
        1.0, "Above 1, makes the tokens of prompt and completion less likely to come again.", above=0
    )
    no_repeat_ngram_size: int = setting(0, "Tokens in a row of which none comes twice; 0 lets them.", least=0)
    num_beams: int = setting(1, "Continuations beam search follows side by side; 1 is no search.", least=1)
    length_penalty: float = setting(
        1.0, "Beam search divides a log-probability by the number of tokens to this power: above 0 favours long ones."
    )
    seed: int = setting(0, "Decides what is drawn, for each prompt by itself.", least=0, most=2**31 - 1)

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        for field in dataclasses.fields(self):
            check_limits(field, numbers.get(field.name))
        if numbers.get("min_new_tokens", 0) > numbers.get("max_new_tokens", 2**31):
            raise UsageError(
                "A completion cannot be longer than its longest. Expected --min-new-tokens of at most "
                f"--max-new-tokens. Received: --min-new-tokens={self.min_new_tokens} "
                f"--max-new-tokens={self.max_new_tokens}. Change one of the two."
            )
        self._check_drawing(numbers)

    def _check_drawing(self, numbers: dict[str, float]) -> None:
        if self.num_beams > 1 and numbers.get("temperature"):
            raise UsageError(
                "Beam search takes the likeliest text and draws nothing. Received: "
                f"--num-beams={self.num_beams} --temperature={self.temperature}. Leave one of the two out."
            )
        idle = [name for name, off in (("top_k", 0), ("top_p", 1), ("min_p", 0)) if numbers.get(name, off) != off]
        if idle and numbers.get("temperature") == 0:
            option = "--" + idle[0].replace("_", "-")
            raise UsageError(
                f"{option} says what tokens are drawn from, and none is drawn at temperature 0. Received: "
                f"{option}={numbers[idle[0]]} --temperature=0. Pass --temperature 1, or leave {option} out."
            )
