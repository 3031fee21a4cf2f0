"""Continues prompts, for a batch job: `tfft generate` as a script.

Example:
    python scripts/generate_text.py runs/stories --file prompts.txt --temperature 0.8 --top-p 0.95 --json
"""

from tfft.commands.generate import generate

if __name__ == "__main__":
    generate()
