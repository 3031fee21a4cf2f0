"""Shows the environment a batch job runs in: `tfft doctor` as a script.

Example:
    python scripts/check_environment.py
"""

from tfft.commands.doctor import doctor

if __name__ == "__main__":
    doctor()
