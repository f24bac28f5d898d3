"""An experiment for `ray job submit --working-dir . -- python jobs/experiment.py --protocol jobs/protocols/pilot.yaml`."""

import argparse
import sys

try:
    from rbft_ray.core.errors import EXIT_CODES
    from rbft_ray.pipeline.experiment import run_experiment
    from rbft_ray.pipeline.job import guarded
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {sys.executable} lacks {error.name}: a job runs with the `python` on the head's PATH; "
        "start the head from the project's environment (source .venv/bin/activate; ray start --head)"
    )


def main() -> int:
    codes = "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"exit codes: {codes}")
    parser.add_argument("--protocol", required=True, help="YAML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a value of the protocol, or of its config"
    )
    arguments = parser.parse_args()
    return guarded(lambda: run_experiment(arguments.protocol, arguments.set))


if __name__ == "__main__":
    sys.exit(main())
