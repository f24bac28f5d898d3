"""Errors whose message a user can act on, and the exit codes of the job."""


class RbftError(Exception):
    """A failure that the user can mend. The message is one line: what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(RbftError):
    """The configuration is refused; the message starts with the path of the key."""

    exit_code = 2


class ResourceError(RbftError):
    """The cluster has not what a step needs (CPUs, GPUs)."""

    exit_code = 3


class DataError(RbftError):
    """The input data cannot be used (no manifest, no usable row, an unknown schema version)."""

    exit_code = 4


class WorkerBroken(Exception):
    """A worker process cannot go on and must be replaced; its work is not at fault."""


class StorageError(RbftError):
    """A place cannot be read or written."""

    exit_code = 5


EXIT_CODES = {
    0: "the job is done (or --dry-run found all it needs)",
    1: "a step failed; the log named in the message has the details",
    ConfigError.exit_code: "the configuration or the command line is refused",
    ResourceError.exit_code: "the cluster has not the CPUs or GPUs that a step needs",
    DataError.exit_code: "the input data cannot be used",
    StorageError.exit_code: "a file or directory cannot be read or written",
}
