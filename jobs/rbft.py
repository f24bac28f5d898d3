"""The whole job for `ray job submit --working-dir . -- python jobs/rbft.py --config jobs/configs/demo.yaml`."""

import argparse
import sys

try:
    from rbft_ray.core.errors import EXIT_CODES
    from rbft_ray.pipeline.job import guarded, run_job
    from rbft_ray.pipeline.settings import load_config
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {sys.executable} lacks {error.name}: a job runs with the `python` on the head's PATH; "
        "start the head from the project's environment (source .venv/bin/activate; ray start --head)"
    )


def main() -> int:
    codes = "; ".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"exit codes: {codes}")
    parser.add_argument("--config", required=True, help="YAML file, or 'demo'")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value over the file's")
    parser.add_argument("--dry-run", action="store_true", help="print steps, their state and resources; run nothing")
    arguments = parser.parse_args()
    return guarded(lambda: run_job(load_config(arguments.config, arguments.set), dry_run=arguments.dry_run))


if __name__ == "__main__":
    sys.exit(main())
