"""Talks with a model, line by line of standard input for a batch job: `tfft chat` as a script.

Example:
    python scripts/chat_with_model.py runs/support --json < messages.txt
"""

from tfft.commands.chat import chat

if __name__ == "__main__":
    chat()
